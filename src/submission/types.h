// Whether what a client sent has the types that it should have, before anything is read of it.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "resources/describe.h"

namespace turnout::submission {

// Problems are added to the list that it is given; absent and null is always right. `place` is
// where `part` lies below the body's properties: "", or "trial.".
class Types {
public:
    Types(const Json& part, std::vector<Error>& problems, std::string place = "")
        : part_(part), problems_(problems), place_(std::move(place)), before_(problems.size()) {}

    // What the description says. Places that are, or begin with, one of `own` have rules of their
    // own, which say more than a type does: those come first.
    void of(const resources::Description& description, std::span<const std::string_view> own);
    // Once those rules have been asked: what they did not refuse.
    void refuse_the_rest();
    void texts(std::initializer_list<std::string_view> members);
    // Objects of objects.
    void objects(std::initializer_list<std::string_view> members);

    bool good() const { return problems_.size() == before_; }

private:
    Error refusal(const std::string& place, std::string_view wanted, const Json& found) const;

    const Json& part_;
    std::vector<Error>& problems_;
    std::string place_;
    std::size_t before_;
    std::vector<Error> rest_;
};

}  // namespace turnout::submission

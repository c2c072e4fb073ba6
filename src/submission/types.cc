#include "submission/types.h"

#include <algorithm>

#include "resources/rest_types.h"
#include "submission/refusal.h"

namespace turnout::submission {

Error Types::refusal(const std::string& place, std::string_view wanted, const Json& found) const {
    return not_as_expected("InvalidArgument", place_ + place, wanted, found).error();
}

void Types::of(const resources::Description& description, std::span<const std::string_view> own) {
    for (const resources::WrongType& wrong : resources::wrong_types(description, part_)) {
        const bool later = std::ranges::any_of(own, [&](std::string_view place) {
            return wrong.place == place || (place.ends_with('.') && wrong.place.starts_with(place));
        });
        (later ? rest_ : problems_).push_back(refusal(wrong.place, wrong.wanted, *wrong.found));
    }
}

void Types::refuse_the_rest() {
    for (Error& error : rest_)
        if (std::ranges::none_of(problems_, [&](const Error& problem) {
                return error.subject.starts_with(problem.subject);
            }))
            problems_.push_back(std::move(error));
    rest_.clear();
}

void Types::texts(std::initializer_list<std::string_view> members) {
    for (const std::string_view member : members)
        if (const Json& value = part_.at(member); !value.is_null() && !value.is_string())
            problems_.push_back(refusal(std::string(member), "a text", value));
}

void Types::objects(std::initializer_list<std::string_view> members) {
    for (const std::string_view member : members) {
        const Json& value = part_.at(member);
        if (!value.is_null() && !value.is_object())
            problems_.push_back(refusal(std::string(member), "an object", value));
        for (const auto& [name, each] : value.members())
            if (!each.is_null() && !each.is_object())
                problems_.push_back(
                    refusal(std::string(member) + "." + name.substr(0, 64), "an object", each));
    }
}

}  // namespace turnout::submission

// A value that cannot be printed, compared by accident or serialised.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace turnout {

class Secret {
public:
    Secret() = default;
    explicit Secret(std::string value) : value_(std::move(value)) {}
    // The one way to the text; grep for it to see who reads secrets.
    const std::string& reveal() const { return value_; }
    bool empty() const { return value_.empty(); }
    // Constant-time comparison.
    bool matches(std::string_view candidate) const {
        unsigned char different = value_.size() == candidate.size() ? 0 : 1;
        for (std::size_t i = 0; i < candidate.size(); ++i)
            different |=
                static_cast<unsigned char>((i < value_.size() ? value_[i] : '\0') ^ candidate[i]);
        return different == 0;
    }

private:
    std::string value_;
};

}  // namespace turnout

// How what is wrong in the definition of a job is said: with the place below its "properties".
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace turnout::submission {

inline Failure refuse(std::string reason, std::string message, std::string field) {
    return fail(Code::InvalidArgument, std::move(reason), std::move(message),
                "properties." + std::move(field));
}

// What a look-up found missing is here a mistake in the request.
inline Failure refuse(const Error& why, std::string reason, std::string field) {
    if (why.code != Code::NotFound && why.code != Code::InvalidArgument) return Failure(why);
    return refuse(why.code == Code::NotFound ? std::move(reason) : why.reason, why.message,
                  std::move(field));
}

// "resources.instanceCount: expected a whole number from 1 to 1,000, found 0"; `place` is below the
// body's properties.
inline Failure not_as_expected(std::string reason, const std::string& place,
                               std::string_view expected, const Json& found) {
    std::string text = found.is_null() ? "nothing" : found.dump();
    if (text.size() > 80) text = text.substr(0, 77) + "...";
    return refuse(std::move(reason),
                  place + ": expected " + std::string(expected) + ", found " + text, place);
}

// Of a text where a secret would be told to others.
inline Failure no_secrets_here(std::string_view what, std::string_view field) {
    return refuse("SecretInText",
                  std::string(what) +
                      " cannot have a secret in it, since it is shown and stored: give it as an "
                      "environment variable, environment_variables: {NAME: \"${{secrets.NAME}}\"}, "
                      "and use $NAME",
                  std::string(field));
}

}  // namespace turnout::submission

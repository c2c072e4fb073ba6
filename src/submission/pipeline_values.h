// What a step of a pipeline takes and gives: what "${{parent.…}}" stands for, and whether it is
// what the step's component declares. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace turnout::submission {

struct StepValue {
    enum class Kind {
        Absent,   // an optional input that nobody gives
        Literal,  // a text, number or boolean
        Data,     // named by its uri
        Output,   // of a step
        Unknown,  // of a component that could not be asked for
    } kind = Kind::Absent;
    std::string literal;
    std::string type;  // of data, and of an output: "uri_folder"
    std::string mode;  // as REST spells it; "" if it is not said
    std::string uri;
    std::int64_t step = 0;
    std::string output;
};

// A "${{…}}": what is in it. InvalidArgument if one is not closed.
struct Binding {
    std::size_t begin = 0, end = 0;  // in the text
    std::string inside;
};
Result<std::vector<Binding>> bindings_in(std::string_view text);

// "ro_mount" or "ReadOnlyMount" -> "ReadOnlyMount"; what is unknown stays as it is.
std::string rest_mode(std::string_view said);

inline bool is_literal_type(std::string_view type) {
    return type == "string" || type == "number" || type == "integer" || type == "boolean";
}

// The first of these members that is there; null if none is.
const Json& first_of(const Json& part, std::initializer_list<std::string_view> names);

// A text with literals in the places of its bindings; nothing: that was refused.
using Fill =
    std::function<std::optional<std::string>(const std::string& text, const std::string& place)>;
// What a step says of resources, limits, variables …, over what its component says, as the
// definition of a command job has it (pipeline_settings.cc). `of_spec` and `place`: where both
// stand, for `fill`.
Json step_settings(const Json& spec, const Json& said, const std::string& of_spec,
                   const std::string& place, const Fill& fill);

// Whether an input that is declared so takes that value. `what`: "input 'epochs'".
Result<void> check_value(const std::string& what, const Json& declared, const StepValue& value,
                         const std::string& place);

}  // namespace turnout::submission

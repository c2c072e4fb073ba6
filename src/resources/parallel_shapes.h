// A step of a pipeline of type parallel, or such a component: its YAML, and its REST. Private to
// resources/.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "resources/describe.h"

namespace turnout::resources {

// What it has that others do not.
const std::vector<std::string>& parallel_keys();
// By its type, or by its task if it says none.
bool is_parallel(const Json& step);

// `whole`: nothing else says what is missing.
void check_parallel(Reading& reading, const std::string& pointer, const Json& value, bool whole);
void check_parallel_component(Reading& reading, const std::string& pointer, const Json& value);

// Those keys, into what stands for the step or component.
void parallel_to_rest(const YamlDocument& document, const std::string& pointer, const Json& step,
                      const Scope& scope, Json& rest);
Json parallel_component_to_rest(const YamlDocument& document, const std::string& pointer,
                                const Json& value, const Scope& scope);
// The component of a step that has none: what it says itself.
Json parallel_in_place(const YamlDocument& document, const std::string& pointer, const Json& step,
                       const Scope& scope);

}  // namespace turnout::resources

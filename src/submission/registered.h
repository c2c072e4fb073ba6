// What is checked of an environment or a component when it is registered, and what nodes are told
// of an environment.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "protocol/agent_protocol.h"
#include "submission/reference.h"

namespace turnout::submission {

// The name under which clients register an environment that a job defines in place.
inline constexpr std::string_view kAnonymousEnvironment = "CliV2AnonymousEnvironment";

// Of an environment that is registered under that name.
Result<void> check_environment(const std::string& name, const Json& properties);
// Of one that is built from a Dockerfile, where that pool has no container engine.
Failure no_engine_for(const std::string& shown, const std::string& pool);
// What nodes are told of a registered one; `shown` names it.
Result<agent_protocol::TaskEnvironment> environment_of(const std::string& shown,
                                                       const Json& properties);
// A curated one; refused with what is known instead where there is none of that name or version.
Result<agent_protocol::TaskEnvironment> curated(const Reference& reference);
// That name is kept for curated ones.
bool is_reserved(std::string_view name);

// Of a component that is registered: its `componentSpec`. Types that do not run here yet are taken
// as they are.
Result<void> check_component(const Json& properties);
// The same of one that a step of a pipeline has in it; `place` is below the body's properties.
Result<void> check_inline_component(const Json& component, const std::string& place);

}  // namespace turnout::submission

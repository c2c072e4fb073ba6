// The form in which the definitions of two jobs are compared.
#include <algorithm>

#include "api/arm/job_resolution.h"
#include "base/text.h"
#include "model/compute.h"
#include "submission/draft.h"

namespace turnout::api::arm {
namespace {

void prune(Json& json) {
    if (json.is_array()) {
        for (Json& item : json.items()) prune(item);
        return;
    }
    if (!json.is_object()) return;
    for (auto& [name, value] : json.members()) prune(value);
    std::erase_if(json.members(), [](const Json::Member& member) {
        const Json& value = member.second;
        return value.is_null() || (value.is_object() && value.members().empty()) ||
               (value.is_array() && value.items().empty());
    });
}

}  // namespace

Result<Json> job_definition(const Json& properties, const Workspace& workspace) {
    Json definition = properties;
    for (const std::string_view member :
         {"displayName", "description", "tags", "properties", "isArchived", "status", "services",
          "parameters", "creationContext", "error", "computeId"})
        definition.erase(member);
    std::string compute =
        TURNOUT_TRY(submission::compute_named(properties.at("computeId").as_string(), workspace));
    if (equal_ignoring_case(compute, kContainerInstance)) compute = kContainerInstance;
    if (compute != submission::kServerless) definition.set("computeId", compute);
    if (Json* resources = definition.find("resources");
        resources && resources->at("instanceCount").as_int() == 1)
        resources->erase("instanceCount");
    if (Json* outputs = definition.find("outputs")) outputs->erase("default");
    if (definition.at("experimentName").as_view().empty())
        definition.set("experimentName", "Default");
    prune(definition);
    return definition;
}

}  // namespace turnout::api::arm

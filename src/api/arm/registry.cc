// The registry `azureml`: the curated environments, read-only.
#include "api/arm/registry.h"

#include "api/arm/resource.h"

namespace turnout::api::arm {
namespace {

constexpr std::string_view kType = "registries/environments";

std::string curated_id(const environment::Curated& curated) {
    return "azureml://registries/azureml/environments/" + std::string(curated.name);
}

}  // namespace

Json curated_container_body(const environment::Curated& curated, const std::string& id,
                            std::string_view type) {
    return envelope(id, curated.name, type,
                    Json::object({
                        {"description", curated.description},
                        {"tags", Json::object()},
                        {"properties", Json::object()},
                        {"isArchived", false},
                        {"latestVersion", std::to_string(curated.versions)},
                        {"nextVersion", std::to_string(curated.versions + 1)},
                        {"provisioningState", "Succeeded"},
                    }));
}

Json curated_version_body(const environment::Curated& curated, int version, const std::string& id,
                          std::string_view type) {
    std::string conda = "dependencies:\n- python\n- pip\n- pip:\n";
    for (const std::string& requirement : curated.requirements)
        conda += "  - " + requirement + "\n";
    const std::string number = std::to_string(version);
    Json properties = Json::object({
        {"description", std::string(curated.description) +
                            (curated.notice.empty() ? "" : " " + std::string(curated.notice))},
        {"tags", Json::object()},
        {"properties", Json::object()},
        {"isArchived", false},
        {"isAnonymous", false},
        {"environmentType", "Curated"},
        {"image", curated.image},
        {"condaFile", conda},
        {"osType", "Linux"},
        {"provisioningState", "Succeeded"},
    });
    return envelope(id + "/versions/" + number, number, std::string(type) + "/versions",
                    std::move(properties));
}

namespace {

Json container_body(const environment::Curated& curated) {
    return curated_container_body(curated, curated_id(curated), kType);
}
Json version_body(const environment::Curated& curated, int version) {
    return curated_version_body(curated, version, curated_id(curated), kType);
}

Result<void> check_registry(const Call& call) {
    if (equal_ignoring_case(call.param("registry"), "azureml")) return {};
    return not_found("registry '" + call.param("registry") +
                         "' does not exist: there is 'azureml' with the curated environments",
                     "registry");
}

Result<const environment::Curated*> find(const Call& call) {
    TURNOUT_TRY(check_registry(call));
    const std::string name = asset_name(call, "name");
    if (const auto* found = environment::find_curated(name)) return found;
    std::vector<std::string> names;
    for (const auto& curated : environment::curated_environments())
        names.emplace_back(curated.name);
    return not_found(
        "registry 'azureml' has no environment '" + name + "'" + did_you_mean(name, names), "name");
}

Answer list_environments(Services&, Call& call) {
    TURNOUT_CO_TRY_VOID(check_registry(call));
    const auto all = environment::curated_environments();
    co_return page_of(
        call, all.size(), [&](std::size_t i) { return hex16(i); },
        [&](std::size_t i) { return container_body(all[i]); });
}

Answer get_environment(Services&, Call& call) {
    TURNOUT_CO_TRY(const auto* curated, find(call));
    co_return json_response(200, container_body(*curated));
}

Answer list_versions(Services&, Call& call) {
    TURNOUT_CO_TRY(const auto* curated, find(call));
    const auto count = static_cast<std::size_t>(curated->versions);
    co_return page_of(
        call, count, [](std::size_t i) { return hex16(i); },
        [&](std::size_t i) { return version_body(*curated, static_cast<int>(count - i)); });
}

Answer get_version(Services&, Call& call) {
    TURNOUT_CO_TRY(const auto* curated, find(call));
    for (int version = 1; version <= curated->versions; ++version)
        if (std::to_string(version) == call.param("version"))
            co_return json_response(200, version_body(*curated, version));
    co_return not_found("environment '" + std::string(curated->name) + "' has no version '" +
                            call.param("version") + "'; the newest is '" +
                            std::to_string(curated->versions) + "'",
                        "version");
}

}  // namespace

void add_registry_routes(Router& router, Services& services) {
    const std::string base =
        "/mferp/managementfrontend/subscriptions/{sub}/resourceGroups/{rg}/providers/" +
        std::string(kProvider) + "/registries/{registry}/environments";
    row(router, services, "GET", base, Access::AnyRun, list_environments);
    row(router, services, "GET", base + "/{name}", Access::AnyRun, get_environment);
    row(router, services, "GET", base + "/{name}/versions", Access::AnyRun, list_versions);
    row(router, services, "GET", base + "/{name}/versions/{version}", Access::AnyRun, get_version);
}

}  // namespace turnout::api::arm

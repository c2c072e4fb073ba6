// What is particular about some kinds of document: what else is looked at when one comes in, and
// what is added when one is shown.
#include "api/arm/asset_hooks.h"

#include <algorithm>
#include <array>

#include "api/data_uri.h"
#include "api/upkeep/needs.h"
#include "api/upkeep/removal.h"
#include "control/jobs.h"
#include "environment/curated.h"
#include "environment/definition.h"
#include "resources/documents.h"
#include "submission/reference.h"
#include "submission/registered.h"

namespace turnout::api::arm {
namespace {

using submission::blob_of_url;
using submission::parse_reference;
using submission::Reference;

struct Hooks {
    std::string_view path;  // of the kind
    // Looks at a new definition, may bring it into the form in which it is kept.
    Result<void> (*check)(Services& services, const Workspace& workspace, const std::string& name,
                          Json& properties);
    // Adds what the server says to an answer.
    void (*complete)(const Call& call, Json& properties);
};

Failure missing(std::string_view what, std::string field) {
    return invalid(std::string(what), "properties." + std::move(field));
}

// ---- environments

// Kept without its origin, as codes are. The SDK forms the place of an upload from the account's
// host and the container, without the path of the account: "https://host/{container}/…".
void mend_context(const Workspace& workspace, Json& properties) {
    const std::string uri = properties.at("build").at("contextUri").as_string();
    const std::size_t scheme = uri.find("://");
    const std::size_t path =
        scheme == std::string::npos ? std::string::npos : uri.find('/', scheme + 3);
    if (path == std::string::npos) return;
    auto blobs = blob_of_url(uri);
    if (!blobs) blobs = blob_of_url("/blob" + uri.substr(path));
    if (blobs && workspace_of_container(blobs->container) == workspace.id)
        properties["build"].set("contextUri",
                                "/blob/" + blobs->container + "/" + blobs->prefix + "/");
}

Result<void> check_environment(Services&, const Workspace& workspace, const std::string& name,
                               Json& properties) {
    mend_context(workspace, properties);
    return submission::check_environment(name, properties);
}

void complete_environment(const Call& call, Json& properties) {
    if (const auto blobs = blob_of_url(properties.at("build").at("contextUri").as_view()))
        properties["build"].set("contextUri", call.plain_origin + "/blob/" + blobs->container +
                                                  "/" + percent_encode(blobs->prefix, "/") + "/");
    // What its conda file comes to, for a client that prepares it on its own machine.
    environment::Definition definition;
    definition.conda_file = properties.at("condaFile").as_string();
    if (const auto made = environment::resolve(definition); made && !made->hash.empty()) {
        Json requirements = Json::array();
        for (const std::string& line : made->requirements) requirements.push(line);
        properties.set("resolved", Json::object({{"python", made->python_version},
                                                 {"requirements", std::move(requirements)},
                                                 {"hash", made->hash}}));
    }
    properties.set("environmentType", "UserCreated");
    if (!properties.at("osType").is_string()) properties.set("osType", "Linux");
    properties.set("provisioningState", "Succeeded");
}

// ---- data and models

// What a job made is kept as the place where it is: clients read no other form.
Result<void> locate_output(Services& services, const Workspace& workspace,
                           const Reference& reference, Json& properties, const std::string& field) {
    const auto output =
        TURNOUT_TRY(uri_of_output(services, workspace, reference.job, reference.output));
    if (!output) {
        const bool known =
            TURNOUT_TRY(read_job(services.store, workspace.id, reference.job)).has_value();
        return missing("'" + reference.text + "': job '" + reference.job + "' " +
                           (known ? "has no output '" + reference.output + "'" : "does not exist"),
                       field);
    }
    properties.set(field, output->uri + reference.path);
    return {};
}

Result<void> check_location(Services& services, const Workspace& workspace, Json& properties,
                            const std::string& field) {
    const std::string uri = properties.at(field).as_string();
    const Reference reference = TURNOUT_TRY(parse_reference(uri, workspace));
    if (reference.form == Reference::Form::JobOutput) {
        TURNOUT_TRY(upkeep::check_place_stays(services, workspace, uri));
        TURNOUT_TRY(locate_output(services, workspace, reference, properties, field));
    }
    if (reference.form == Reference::Form::Local)
        return missing("'" + uri +
                           "' is a path of the client's machine: clients upload such files and "
                           "name them azureml://datastores/…",
                       field);
    if (reference.form == Reference::Form::Path) {
        std::vector<std::string> names;
        for (auto& [name, other] : TURNOUT_TRY(services.assets.list_datastores(workspace.id)))
            names.push_back(name);
        if (std::ranges::find(names, reference.datastore) == names.end())
            return missing("datastore '" + reference.datastore + "' does not exist" +
                               did_you_mean(reference.datastore, names),
                           field);
    }
    return upkeep::check_place_stays(services, workspace, properties.at(field).as_view());
}

// A file has it `uri_folder` if it says nothing; a client of the API says what it means.
Result<void> check_data(Services&, const Workspace&, const std::string&, Json& properties) {
    if (properties.at("dataType").as_view().empty())
        return missing("dataType: expected uri_file, uri_folder or mltable, found nothing",
                       "dataType");
    properties.set("dataType", to_lower(properties.at("dataType").as_view()));
    return {};
}

void complete_model(const Call&, Json& properties) {
    if (!properties.at("flavors").is_object()) properties.set("flavors", Json::object());
    if (!properties.at("modelType").is_string()) properties.set("modelType", "custom_model");
}

// ---- components

constexpr std::string_view kEnvironmentOfSpec = "componentSpec.environment";
constexpr std::string_view kCodeOfSpec = "componentSpec.code";

// What a component names is there when it is registered.
Result<void> check_environment_is_there(Services& services, const Workspace& workspace,
                                        const std::string& text) {
    const std::string field(kEnvironmentOfSpec);
    const Reference reference = TURNOUT_TRY(parse_reference(text, workspace));
    const auto refuse_missing = [&](const std::string& words) {
        return fail(Code::InvalidArgument, "EnvironmentNotFound", words, "properties." + field);
    };
    const bool of_registry = reference.form == Reference::Form::Registry &&
                             equal_ignoring_case(reference.registry, "azureml") &&
                             reference.kind == "environments";
    const bool named = reference.form == Reference::Form::Asset &&
                       (reference.kind.empty() || reference.kind == "environments");
    if (!of_registry && !named)
        return refuse_missing("'" + text.substr(0, 300) +
                              "' is not an environment: use azureml:NAME:VERSION or "
                              "azureml:NAME@latest");
    if (named && !submission::is_reserved(reference.name)) {
        if (TURNOUT_TRY(services.assets.resolve(workspace.id, "environments", reference.name,
                                                reference.version)))
            return {};
        const auto container = TURNOUT_TRY(
            services.assets.find_container(workspace.id, "environments", reference.name));
        if (container)
            return refuse_missing("environment '" + reference.name + "' has no version '" +
                                  reference.version + "'; the newest is '" +
                                  container->latest_version + "'");
        if (!environment::find_curated(reference.name) &&
            environment::check_curated(reference.name)) {
            std::vector<std::string> names;
            for (const AssetContainer& other :
                 TURNOUT_TRY(services.assets.list_containers(workspace.id, "environments")))
                names.push_back(other.name);
            for (const auto& curated : environment::curated_environments())
                names.emplace_back(curated.name);
            return refuse_missing("environment '" + reference.name + "' does not exist" +
                                  did_you_mean(reference.name, names));
        }
    }
    if (const auto curated = submission::curated(reference); !curated)
        return refuse_missing(curated.error().message);
    return {};
}

Result<void> check_code_is_there(Services& services, const Workspace& workspace,
                                 const std::string& text) {
    const auto reference = parse_reference(text, workspace);
    if (reference && reference->form == Reference::Form::Asset &&
        (reference->kind.empty() || reference->kind == "codes") &&
        TURNOUT_TRY(
            services.assets.resolve(workspace.id, "codes", reference->name, reference->version)))
        return {};
    return fail(Code::InvalidArgument, "CodeNotFound",
                "code '" + text.substr(0, 300) + "' does not exist in this workspace: upload it",
                "properties." + std::string(kCodeOfSpec));
}

Result<void> check_component(Services& services, const Workspace& workspace, const std::string&,
                             Json& properties) {
    TURNOUT_TRY(submission::check_component(properties));
    const Json& component = properties.at("componentSpec");
    if (component.at("type").as_view() != "command") return {};  // kept, and not run yet
    const std::string environment = component.at("environment").as_string();
    if (!environment.empty())
        TURNOUT_TRY(check_environment_is_there(services, workspace, environment));
    const std::string code = component.at("code").as_string();
    if (!code.empty()) TURNOUT_TRY(check_code_is_there(services, workspace, code));
    return {};
}

// ---- codes: the URI is kept without its origin, since ports and hosts change

Result<void> check_code(Services&, const Workspace& workspace, const std::string&,
                        Json& properties) {
    const std::string uri = properties.at("codeUri").as_string();
    const auto blobs = blob_of_url(uri);
    if (!blobs || workspace_of_container(blobs->container) != workspace.id)
        return missing("codeUri must be the place that startPendingUpload gave out", "codeUri");
    std::string path = "/blob/" + blobs->container;
    if (!blobs->prefix.empty()) path += "/" + blobs->prefix;
    properties.set("codeUri", path);
    return {};
}

void complete_code(const Call& call, Json& properties) {
    const auto blobs = blob_of_url(properties.at("codeUri").as_view());
    if (!blobs) return;
    std::string uri = call.plain_origin + "/blob/" + blobs->container;
    if (!blobs->prefix.empty()) uri += "/" + percent_encode(blobs->prefix, "/");
    properties.set("codeUri", uri);
}

constexpr std::array<Hooks, 5> kHooks = {{
    {"environments", check_environment, complete_environment},
    {"data", check_data, nullptr},
    {"models", nullptr, complete_model},
    {"components", check_component, nullptr},
    {"codes", check_code, complete_code},
}};

const Hooks* hooks_of(const resources::DocumentKind& kind) {
    const auto found = std::ranges::find(kHooks, kind.path, &Hooks::path);
    return found == kHooks.end() ? nullptr : &*found;
}

}  // namespace

Result<void> check_definition(Services& services, const Workspace& workspace,
                              const resources::DocumentKind& kind, const std::string& name,
                              Json& properties) {
    const Json document = Json::object({{"properties", properties}});
    TURNOUT_TRY(resources::check_rest(resources::any_document(), document));
    // One that is kept as its author wrote it has its own words (`check_component`).
    if (kind.description != nullptr && kind.definition.empty())
        TURNOUT_TRY(resources::check_rest(kind.description(), document));
    if (!kind.location.empty()) {
        const std::string field(kind.location);
        if (properties.at(field).as_view().empty())
            return missing(field + ": expected the URI of its files, found nothing", field);
        TURNOUT_TRY(check_location(services, workspace, properties, field));
    }
    if (const Hooks* hooks = hooks_of(kind); hooks != nullptr && hooks->check != nullptr)
        return hooks->check(services, workspace, name, properties);
    return {};
}

void complete(const Call& call, const resources::DocumentKind& kind, Json& properties) {
    // A code's properties are what its author said of it, and may be nothing.
    if (kind.description != nullptr && kind.job_member.empty())
        for (const std::string_view member : {"tags", "properties"})
            if (!properties.at(member).is_object()) properties.set(member, Json::object());
    if (const Hooks* hooks = hooks_of(kind); hooks != nullptr && hooks->complete != nullptr)
        hooks->complete(call, properties);
}

}  // namespace turnout::api::arm

#include "api/arm/job_resolution.h"

#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include "api/arm/job_limits.h"
#include "api/arm/job_placement.h"
#include "api/arm/reference.h"
#include "api/arm/resource.h"
#include "api/data_uri.h"
#include "base/hash.h"
#include "blob/blobs.h"
#include "control/jobs.h"
#include "environment/curated.h"
#include "environment/definition.h"
#include "model/compute.h"
#include "model/sweep.h"

namespace turnout::api::arm {
namespace {

using agent_protocol::BlobFolder;
using agent_protocol::TaskEnvironment;
using agent_protocol::TaskInput;
using agent_protocol::TaskOutput;
using agent_protocol::TaskSpec;

constexpr std::string_view kServerless = "serverless";
constexpr std::size_t kMaxCommand = 256 << 10;
constexpr std::size_t kMaxPorts = 500;  // inputs, outputs, environment variables: each

Failure refuse(std::string reason, std::string message, std::string field) {
    return fail(Code::InvalidArgument, std::move(reason), std::move(message),
                "properties." + std::move(field));
}
// What a look-up found missing is here a mistake in the request.
Failure refuse(const Error& why, std::string reason, std::string field) {
    if (why.code != Code::NotFound && why.code != Code::InvalidArgument) return Failure(why);
    return refuse(why.code == Code::NotFound ? std::move(reason) : why.reason, why.message,
                  std::move(field));
}

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

bool is_port_name(std::string_view name) {
    return !name.empty() && name.size() <= 255 && !(name.front() >= '0' && name.front() <= '9') &&
           name.front() != '-' && std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-';
           });
}

// What one resolution looks at.
struct Context {
    Services& services;
    const Call& call;
    const Workspace& workspace;
    const std::string& job;
};

std::vector<std::string> names_of(const Json& object) {
    std::vector<std::string> names;
    for (const auto& [name, value] : object.members()) names.push_back(name);
    return names;
}

// ---- the command

// Calls `found` with the place and text of every "${{ … }}".
Result<void> each_reference(std::string_view text,
                            const std::function<Result<void>(std::string_view inside)>& found) {
    for (std::size_t at = text.find("${{"); at != std::string_view::npos;
         at = text.find("${{", at)) {
        const std::size_t end = text.find("}}", at);
        if (end == std::string_view::npos)
            return refuse("InvalidReference", "the command has '${{' without '}}'", "command");
        TURNOUT_TRY(found(trim(text.substr(at + 3, end - at - 3))));
        at = end + 2;
    }
    return {};
}

// "inputs.x" -> the name, checked against what is declared.
Result<void> check_reference(std::string_view inside, const Json& properties) {
    for (const auto& [group, member] :
         {std::pair<std::string_view, std::string_view>{"inputs", "inputs"},
          {"outputs", "outputs"},
          {"search_space", "searchSpace"}}) {
        if (!inside.starts_with(group) || inside.size() <= group.size() ||
            inside[group.size()] != '.')
            continue;
        if (group == "search_space" && !properties.has(member)) continue;  // no sweep
        const std::string name(inside.substr(group.size() + 1));
        const Json& declared = properties.at(member);
        if (declared.has(name)) return {};
        const auto names = names_of(declared);
        std::string known =
            names.empty() ? "the job has no " + std::string(group) : "it has " + join(names, ", ");
        return refuse("InvalidReference",
                      "the command uses ${{" + std::string(inside) + "}}, which is not declared" +
                          did_you_mean(name, names) + " (" + known + ")",
                      "command");
    }
    return refuse("InvalidReference",
                  "the command uses ${{" + std::string(inside.substr(0, 100)) +
                      "}}: only ${{inputs.NAME}} and ${{outputs.NAME}} are known",
                  "command");
}

// "$[[ … ]]" stands for its inside if all that it refers to was given, else for nothing.
Result<std::string> expand_optional(std::string_view command, const Json& properties) {
    std::string expanded;
    while (true) {
        const std::size_t at = command.find("$[[");
        expanded += command.substr(0, at);
        if (at == std::string_view::npos) return expanded;
        const std::size_t end = command.find("]]", at);
        if (end == std::string_view::npos)
            return refuse("InvalidReference", "the command has '$[[' without ']]'", "command");
        const std::string_view inside = command.substr(at + 3, end - at - 3);
        bool given = true;
        TURNOUT_TRY(each_reference(inside, [&](std::string_view name) -> Result<void> {
            if (!check_reference(name, properties)) given = false;
            return {};
        }));
        if (given) expanded += inside;
        command.remove_prefix(end + 2);
    }
}

Result<std::string> read_command(const Json& properties) {
    const std::string command = properties.at("command").as_string();
    if (trim(command).empty())
        return refuse("MissingCommand", "a command job needs a command", "command");
    if (command.size() > kMaxCommand)
        return refuse("CommandTooLong", "the command is longer than 256 KiB", "command");
    if (command.find('\0') != std::string::npos)
        return refuse("InvalidCommand", "the command has a NUL character", "command");
    std::string expanded = TURNOUT_TRY(expand_optional(command, properties));
    TURNOUT_TRY(each_reference(
        expanded, [&](std::string_view inside) { return check_reference(inside, properties); }));
    return expanded;
}

// ---- places of data

struct Place {
    std::optional<BlobFolder> blobs;
    std::optional<std::string> local;
    std::string uri;
};

Result<std::string> container_of(const Context& context, const std::string& datastore,
                                 const std::string& field) {
    const auto found =
        TURNOUT_TRY(context.services.assets.find_datastore(context.workspace.id, datastore));
    if (found) return found->at("containerName").as_string();
    std::vector<std::string> names;
    for (auto& [name, properties] :
         TURNOUT_TRY(context.services.assets.list_datastores(context.workspace.id)))
        names.push_back(name);
    return refuse("DatastoreNotFound",
                  "datastore '" + datastore + "' does not exist" + did_you_mean(datastore, names),
                  field);
}

// Whether that blob, or anything beneath that folder, exists; and which of the two it is.
enum class Found { Nothing, File, Folder };
Result<Found> look(const Context& context, const std::string& container, const std::string& path) {
    if (!path.empty() && TURNOUT_TRY(context.services.blobs.head(container, path)).has_value())
        return Found::File;
    const auto list = TURNOUT_TRY(
        context.services.blobs.list(container, path.empty() ? "" : path + "/", "", "", 1));
    return list.blobs.empty() ? Found::Nothing : Found::Folder;
}

Result<Place> place_in(const Context& context, const std::string& container,
                       const std::string& path, std::string uri, std::string_view type,
                       const std::string& what, const std::string& field) {
    const Found found = TURNOUT_TRY(look(context, container, path));
    if (found == Found::Nothing) return refuse("InputNotFound", what + ": nothing is there", field);
    if (found == Found::Folder && type == "uri_file")
        return refuse("InputTypeMismatch",
                      what + " is a folder: give the input the type uri_folder", field);
    if (found == Found::File && type == "uri_folder")
        return refuse("InputTypeMismatch", what + " is a file: give the input the type uri_file",
                      field);
    Place place;
    const bool folder = found == Found::Folder;
    place.blobs = BlobFolder{container, folder && !path.empty() ? path + "/" : path};
    place.uri = std::move(uri);
    return place;
}

Result<JobRecord> job_named(const Context& context, const std::string& name,
                            const std::string& field) {
    auto job = TURNOUT_TRY(read_job(context.services.store, context.workspace.id, name));
    if (!job) return refuse("JobNotFound", "job '" + name + "' does not exist", field);
    if (job->record.type != JobType::Sweep) return std::move(job->record);
    // The outputs of a sweep are those of its best trial.
    if (job->record.sweep.best < 0)
        return refuse("OutputNotFound", "sweep '" + name + "' has no best trial yet", field);
    return job_named(context, trial_name(name, job->record.sweep.best), field);
}

Result<Place> place_of(const Context& context, const Reference& reference, std::string_view type,
                       std::string_view mode, const std::string& field, int depth);

Result<Place> place_of_output(const Context& context, const Reference& reference,
                              std::string_view type, const std::string& field) {
    const JobRecord job = TURNOUT_TRY(job_named(context, reference.job, field));
    const TaskSpec task = TURNOUT_TRY(read_task(context.services.store, job));
    std::string container, base;
    const auto output = std::ranges::find(task.outputs, reference.output, &TaskOutput::name);
    if (output != task.outputs.end()) {
        container = output->target.container;
        base = output->target.prefix;
    } else if (reference.output == "artifacts" || reference.output == "default") {
        container = task.artifacts.container;
        base = task.artifacts.prefix;
    } else {
        std::vector<std::string> names;
        for (const TaskOutput& other : task.outputs) names.push_back(other.name);
        names.emplace_back("artifacts");
        return refuse("OutputNotFound",
                      "job '" + reference.job + "' has no output '" + reference.output + "'" +
                          did_you_mean(reference.output, names),
                      field);
    }
    while (base.ends_with('/')) base.pop_back();
    std::string path = base;
    if (!reference.path.empty()) path += "/" + reference.path;
    const Found found = TURNOUT_TRY(look(context, container, path));
    if (found == Found::Nothing && !is_terminal(job.status))
        return refuse("InputNotFound",
                      "job '" + reference.job + "' has not ended (it is " +
                          std::string(name_of(job.status)) +
                          ") and its output is not there yet: wait for it",
                      field);
    return place_in(context, container, path, reference.text, type, "'" + reference.text + "'",
                    field);
}

Result<Place> place_of_asset(const Context& context, const Reference& reference,
                             std::string_view type, std::string_view mode, const std::string& field,
                             int depth) {
    std::string kind = reference.kind;
    if (kind.empty())
        kind = type == "mlflow_model" || type == "custom_model" || type == "triton_model" ? "models"
                                                                                          : "data";
    if (kind != "data" && kind != "models")
        return refuse("InvalidInput", "'" + reference.text + "' is neither data nor a model",
                      field);
    auto asset = TURNOUT_TRY(context.services.assets.resolve(context.workspace.id, kind,
                                                             reference.name, reference.version));
    if (!asset) {
        std::vector<std::string> names;
        for (const auto& container :
             TURNOUT_TRY(context.services.assets.list_containers(context.workspace.id, kind)))
            names.push_back(container.name);
        const bool known = std::ranges::find(names, reference.name) != names.end();
        std::string message = (kind == "data" ? "data asset '" : "model '") + reference.name + "' ";
        message += known ? "has no version '" + reference.version + "'"
                         : "does not exist" + did_you_mean(reference.name, names);
        return refuse(kind == "data" ? "DataNotFound" : "ModelNotFound", message, field);
    }
    const std::string of_asset = asset->properties.at("dataType").as_string();
    if (kind == "data" && !of_asset.empty() && of_asset != type &&
        !(of_asset == "mltable" && type == "uri_folder"))
        return refuse("InputTypeMismatch",
                      "data asset '" + reference.name + ":" + asset->version + "' is of type " +
                          of_asset + ", the input says " + std::string(type),
                      field);
    const std::string uri =
        asset->properties.at(kind == "data" ? "dataUri" : "modelUri").as_string();
    const auto inner = parse_reference(uri, context.workspace);
    if (!inner) return refuse(inner.error(), "InvalidInput", field);
    return place_of(context, *inner, type, mode, field, depth + 1);
}

Result<Place> place_of(const Context& context, const Reference& reference, std::string_view type,
                       std::string_view mode, const std::string& field, int depth) {
    if (depth > 4)
        return refuse("InvalidInput",
                      "'" + reference.text + "' leads from asset to asset without end", field);
    switch (reference.form) {
        case Reference::Form::Path: {
            const std::string container =
                TURNOUT_TRY(container_of(context, reference.datastore, field));
            return place_in(context, container, reference.path,
                            workspace_uri(context.workspace) + "/datastores/" +
                                reference.datastore + "/paths/" + reference.path,
                            type, "'" + reference.text + "'", field);
        }
        case Reference::Form::JobOutput: return place_of_output(context, reference, type, field);
        case Reference::Form::Asset:
            return place_of_asset(context, reference, type, mode, field, depth);
        case Reference::Form::Registry:
            return refuse("RegistryNotFound",
                          "registry '" + reference.registry +
                              "' has no data: only the curated environments of 'azureml' are there",
                          field);
        case Reference::Form::Url: {
            const auto blobs = blob_of_url(reference.text);
            if (blobs && workspace_of_container(blobs->container) == context.workspace.id)
                return place_in(context, blobs->container, blobs->prefix, reference.text, type,
                                "'" + reference.text + "'", field);
            if (mode != "direct")
                return refuse("InvalidInput",
                              "'" + reference.text.substr(0, 300) +
                                  "' is outside of this server: it can only be handed over as it "
                                  "is, with mode direct",
                              field);
            Place place;
            place.uri = reference.text;
            return place;
        }
        case Reference::Form::Local: {
            std::string path =
                reference.text.starts_with("file://") ? reference.text.substr(7) : reference.text;
            if (mode != "direct" || !path.starts_with('/') || !context.call.request.peer.loopback)
                return refuse("InvalidInput",
                              "'" + reference.text.substr(0, 300) +
                                  "' is a path of the client's machine: upload it, or on this "
                                  "machine give its absolute path with mode direct",
                              field);
            Place place;
            place.local = path;
            place.uri = path;
            return place;
        }
    }
    return internal("unknown form of reference");
}

// ---- inputs and outputs

Result<std::string> input_mode(const std::string& name, const Json& input) {
    const std::string mode = input.at("mode").as_string();
    if (mode.empty() || mode == "ReadOnlyMount") return std::string("ro_mount");
    if (mode == "Download") return std::string("download");
    if (mode == "Direct") return std::string("direct");
    const std::string field = "inputs." + name + ".mode";
    if (mode == "ReadWriteMount")
        return refuse("InvalidMode",
                      "input '" + name + "' cannot be written: use ro_mount or download", field);
    if (mode == "EvalMount" || mode == "EvalDownload")
        return refuse("InvalidMode",
                      "mode " + mode + " of input '" + name +
                          "' does not work yet: use ro_mount, download or direct",
                      field);
    const std::array<std::string, 3> modes = {"ReadOnlyMount", "Download", "Direct"};
    return refuse("InvalidMode",
                  "input '" + name + "' has the unknown mode '" + mode.substr(0, 40) + "'" +
                      did_you_mean(mode, modes),
                  field);
}

Result<void> check_type(const std::string& name, const std::string& type,
                        const std::string& field) {
    const std::array<std::string, 6> types = {"uri_file",     "uri_folder",   "mltable",
                                              "mlflow_model", "custom_model", "triton_model"};
    if (std::ranges::find(types, type) != types.end()) return {};
    return refuse("InvalidType",
                  "'" + name + "' has the unknown type '" + type.substr(0, 40) + "'" +
                      did_you_mean(type, types),
                  field);
}

std::string literal_text(const Json& value) {
    if (value.is_string()) return value.as_string();
    if (value.is_bool()) return value.as_bool() ? "True" : "False";  // as the SDK writes them
    return value.dump();
}

Result<std::vector<TaskInput>> read_inputs(const Context& context, const Json& inputs) {
    std::vector<TaskInput> read;
    if (inputs.members().size() > kMaxPorts)
        return refuse("TooManyInputs", "a job has at most 500 inputs", "inputs");
    for (const auto& [name, input] : inputs.members()) {
        const std::string field = "inputs." + name;
        if (!is_port_name(name))
            return refuse("InvalidName",
                          "input name '" + name.substr(0, 64) +
                              "' must be letters, digits, '_' and '-', and not begin with a digit",
                          "inputs");
        TaskInput one;
        one.name = name;
        one.type = to_lower(input.at("jobInputType").as_view());
        if (one.type == "literal" || (one.type.empty() && input.has("value"))) {
            one.type = "literal";
            const Json& value = input.at("value");
            if (value.is_object() || value.is_array())
                return refuse(
                    "InvalidInput",
                    "the literal input '" + name + "' must be text, a number or a boolean",
                    field + ".value");
            if (value.is_null())
                return refuse("InvalidInput", "the literal input '" + name + "' has no value",
                              field + ".value");
            one.literal = literal_text(value);
            read.push_back(std::move(one));
            continue;
        }
        TURNOUT_TRY(check_type(name, one.type, field + ".jobInputType"));
        one.mode = TURNOUT_TRY(input_mode(name, input));
        const std::string uri = input.at("uri").as_string();
        if (uri.empty())
            return refuse("InvalidInput", "input '" + name + "' has no uri", field + ".uri");
        const auto reference = parse_reference(uri, context.workspace);
        if (!reference) return refuse(reference.error(), "InvalidInput", field + ".uri");
        Place place =
            TURNOUT_TRY(place_of(context, *reference, one.type, one.mode, field + ".uri", 0));
        one.blobs = std::move(place.blobs);
        one.local_path = std::move(place.local);
        one.uri = std::move(place.uri);
        read.push_back(std::move(one));
    }
    return read;
}

Result<BlobFolder> output_target(const Context& context, const std::string& name,
                                 const Json& output, const std::string& type) {
    const bool file = type == "uri_file";
    std::string uri = output.at("uri").as_string();
    if (uri.empty())
        return BlobFolder{blobstore_container(context.workspace.id),
                          "azureml/" + context.job + "/" + name + (file ? "" : "/")};
    const std::string field = "outputs." + name + ".uri";
    replace_all(uri, "${{name}}", context.job);
    replace_all(uri, "${{output_name}}", name);
    replace_all(uri, "${{default_datastore}}", kBlobStore);
    if (uri.find("${{") != std::string::npos)
        return refuse("InvalidReference",
                      "output '" + name +
                          "' has a '${{…}}' in its path that is not known: use ${{name}} and "
                          "${{output_name}}",
                      field);
    const auto reference = parse_reference(uri, context.workspace);
    if (!reference) return refuse(reference.error(), "InvalidOutput", field);
    if (reference->form != Reference::Form::Path)
        return refuse("InvalidOutput",
                      "output '" + name +
                          "' must go to a datastore: azureml://datastores/NAME/paths/PATH, not '" +
                          uri.substr(0, 300) + "'",
                      field);
    const std::string container = TURNOUT_TRY(container_of(context, reference->datastore, field));
    if (reference->path.empty()) return BlobFolder{container, ""};  // a file: by the output's name
    return BlobFolder{container, reference->path + (file ? "" : "/")};
}

Result<std::vector<TaskOutput>> read_outputs(const Context& context, const Json& outputs) {
    std::vector<TaskOutput> read;
    if (outputs.members().size() > kMaxPorts)
        return refuse("TooManyOutputs", "a job has at most 500 outputs", "outputs");
    for (const auto& [name, output] : outputs.members()) {
        const std::string field = "outputs." + name;
        if (!is_port_name(name))
            return refuse("InvalidName",
                          "output name '" + name.substr(0, 64) +
                              "' must be letters, digits, '_' and '-', and not begin with a digit",
                          "outputs");
        TaskOutput one;
        one.name = name;
        one.type = output.at("jobOutputType").as_string("uri_folder");
        TURNOUT_TRY(check_type(name, one.type, field + ".jobOutputType"));
        const std::string mode = output.at("mode").as_string("ReadWriteMount");
        if (mode == "ReadWriteMount") {
            one.mode = "rw_mount";
        } else if (mode == "Upload") {
            one.mode = "upload";
        } else {
            return refuse("InvalidMode",
                          "output '" + name + "' has mode '" + mode.substr(0, 40) +
                              "': use rw_mount or upload",
                          field + ".mode");
        }
        if (!output.at("assetName").as_view().empty() ||
            !output.at("assetVersion").as_view().empty())
            return refuse(
                "OutputRegistrationNotSupported",
                "output '" + name +
                    "' cannot be registered as an asset by the job yet: leave its name and version "
                    "out, and create the asset from azureml://jobs/JOB/outputs/" +
                    name,
                field + ".assetName");
        one.target = TURNOUT_TRY(output_target(context, name, output, one.type));
        read.push_back(std::move(one));
    }
    return read;
}

// ---- code and environment

Result<void> read_code(const Context& context, const Json& properties, TaskSpec& task) {
    const std::string id = properties.at("codeId").as_string();
    if (id.empty()) return {};
    const auto reference = parse_reference(id, context.workspace);
    if (!reference || reference->form != Reference::Form::Asset ||
        (!reference->kind.empty() && reference->kind != "codes"))
        return refuse("CodeNotFound",
                      "codeId '" + id.substr(0, 300) +
                          "' is not a code asset of this workspace: …/codes/NAME/versions/VERSION",
                      "codeId");
    const auto code = TURNOUT_TRY(context.services.assets.resolve(
        context.workspace.id, "codes", reference->name, reference->version));
    if (!code)
        return refuse("CodeNotFound",
                      "code '" + reference->name + "' version '" + reference->version +
                          "' does not exist: upload it again",
                      "codeId");
    auto blobs = blob_of_url(code->properties.at("codeUri").as_view());
    if (!blobs)
        return refuse(
            "CodeNotFound",
            "code '" + reference->name + "' has no place in the blob service: upload it again",
            "codeId");
    const Found found = TURNOUT_TRY(look(context, blobs->container, blobs->prefix));
    if (found == Found::Nothing)
        return refuse(
            "CodeNotFound",
            "the files of code '" + reference->name + "' are not there: upload them again",
            "codeId");
    if (found == Found::Folder && !blobs->prefix.empty()) blobs->prefix += "/";
    // What identifies the snapshot on a node: the upload itself, since a hash that a client claims
    // must not let one snapshot stand for another.
    task.code_hash = to_hex(sha256(blobs->container + "/" + blobs->prefix));
    task.code = std::move(*blobs);
    return {};
}

// What an unknown environment may have been meant to be, given the workspace's own.
std::string instead_of(const std::string& name, std::vector<std::string> own) {
    std::vector<std::string> curated;
    for (const auto& each : environment::curated_environments()) curated.emplace_back(each.name);
    std::vector<std::string> all = own;
    all.insert(all.end(), curated.begin(), curated.end());
    if (const std::string meant = did_you_mean(name, all); !meant.empty()) return meant;
    if (name.starts_with("AzureML-")) return "; the curated ones are:\n  " + join(curated, "\n  ");
    constexpr std::size_t few = 5;
    if (own.size() > few) own.resize(few);
    return (own.empty() ? "" : "; there are " + join(own, ", ")) +
           std::string(
               ": register it with `turnout environment create`, or name a curated one such as "
               "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest");
}

Result<TaskEnvironment> environment_of_asset(const Context& context, const Reference& reference) {
    const auto asset = TURNOUT_TRY(context.services.assets.resolve(
        context.workspace.id, "environments", reference.name, reference.version));
    if (!asset) {
        std::vector<std::string> names;
        for (const auto& container : TURNOUT_TRY(
                 context.services.assets.list_containers(context.workspace.id, "environments")))
            if (container.name != "CliV2AnonymousEnvironment") names.push_back(container.name);
        const bool known = std::ranges::find(names, reference.name) != names.end();
        const std::string words =
            known ? "has no version '" + reference.version + "'"
                  : "does not exist" + instead_of(reference.name, std::move(names));
        return refuse("EnvironmentNotFound", "environment '" + reference.name + "' " + words,
                      "environmentId");
    }
    const Json& properties = asset->properties;
    const bool anonymous = reference.name == "CliV2AnonymousEnvironment";
    const std::string shown =
        anonymous ? "inline environment" : reference.name + ":" + asset->version;
    if (properties.at("build").is_object())
        return refuse("BuildContextNotSupported",
                      "environment '" + shown +
                          "' is built from a Dockerfile, which does not work yet: use a conda file "
                          "or a curated environment",
                      "environmentId");
    std::string interpreter = properties.at("properties").at("turnout.interpreter").as_string();
    if (interpreter.empty())
        interpreter = properties.at("tags").at("turnout.interpreter").as_string();
    if (!interpreter.empty()) return environment::user_managed(shown, interpreter);
    environment::Definition definition;
    definition.name = shown;
    definition.image = properties.at("image").as_string();
    definition.conda_file = properties.at("condaFile").as_string();
    auto resolved = environment::resolve(definition);
    if (!resolved) return refuse(resolved.error(), "InvalidEnvironment", "environmentId");
    return resolved;
}

Result<TaskEnvironment> curated(const Reference& reference) {
    auto resolved = environment::resolve_curated(reference.name, reference.version);
    if (!resolved) return refuse(resolved.error(), "EnvironmentNotFound", "environmentId");
    return resolved;
}

Result<TaskEnvironment> read_environment(const Context& context, const Json& properties) {
    std::string id = properties.at("environmentId").as_string();
    if (id.empty())
        return refuse(
            "MissingEnvironment",
            "a command job needs an environment: a curated name such as "
            "'azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest', or one of your own",
            "environmentId");
    if (id.find('/') == std::string::npos && !id.starts_with("azureml:")) id = "azureml:" + id;
    const auto reference = parse_reference(id, context.workspace);
    if (!reference) return refuse(reference.error(), "EnvironmentNotFound", "environmentId");
    switch (reference->form) {
        case Reference::Form::Registry:
            if (!equal_ignoring_case(reference->registry, "azureml") ||
                (reference->kind != "environments"))
                return refuse(
                    "EnvironmentNotFound",
                    "registry '" + reference->registry +
                        "' is not known: there is 'azureml' with the curated environments",
                    "environmentId");
            return curated(*reference);
        case Reference::Form::Asset: {
            if (!reference->kind.empty() && reference->kind != "environments")
                return refuse("EnvironmentNotFound",
                              "'" + id.substr(0, 300) + "' is not an environment", "environmentId");
            const auto own = TURNOUT_TRY(context.services.assets.find_container(
                context.workspace.id, "environments", reference->name));
            if (!own && environment::find_curated(reference->name)) return curated(*reference);
            return environment_of_asset(context, *reference);
        }
        case Reference::Form::Path:
        case Reference::Form::JobOutput:
        case Reference::Form::Url:
        case Reference::Form::Local: break;
    }
    return refuse("EnvironmentNotFound",
                  "'" + id.substr(0, 300) +
                      "' is not an environment: use azureml:NAME:VERSION or azureml:NAME@latest",
                  "environmentId");
}

// ---- where and how long

void limit_to(const Services& services, const VmSize& size, TaskSpec& task) {
    const ServerInfo::Pool& pool = services.info.pool;
    const double memory =
        pool.memory_gb > 0 ? std::min(size.memory_gb, pool.memory_gb) : size.memory_gb;
    const int cores = pool.cores > 0 ? std::min(size.cores, pool.cores) : size.cores;
    task.memory_limit_bytes = static_cast<std::int64_t>(memory * 1024 * 1024 * 1024);
    task.cpu_limit_millicores = cores * 1000;
}

// Parsed anew only when its row has changed: nearly all jobs name the same few. Null: there is
// none; valid until the next call.
Result<const Compute*> find_compute(Services& services, const std::string& key) {
    const auto record = TURNOUT_TRY(services.store.get(Table::Compute, key));
    if (!record) return nullptr;
    if (const auto* known = services.computes.find(key); known && known->first == record->revision)
        return &known->second;
    const Json document = TURNOUT_TRY(parse_json(record->value));
    services.computes.put(key, {record->revision, TURNOUT_TRY(compute_from_json(document))});
    return &services.computes.find(key)->second;
}

Result<void> read_compute(const Context& context, const std::string& compute, const Json& resources,
                          TaskSpec& task) {
    if (compute != kServerless) {
        const Compute* found =
            TURNOUT_TRY(find_compute(context.services, context.workspace.id + "/" + compute));
        if (found) {
            if (found->deleting)
                return refuse("ComputeNotFound",
                              "compute '" + compute + "' is being deleted: choose another",
                              "computeId");
            if (const VmSize* size = find_vm_size(found->vm_size))
                limit_to(context.services, *size, task);
            TURNOUT_TRY(check_instance_type(resources, compute, found->vm_size));
            return check_node_count(task.node_count, compute, found->max_nodes,
                                    context.services.info.pool.slots);
        }
        std::vector<std::string> names;
        for (const Record& other : TURNOUT_TRY(context.services.store.scan(
                 Table::Compute, with_prefix(context.workspace.id + "/", 1000))))
            names.push_back(other.key.substr(context.workspace.id.size() + 1));
        std::erase(names, kServerless);
        std::string known = names.empty() ? "the workspace has none yet: create an AmlCompute, or "
                                            "leave the compute out to run on this machine"
                                          : "there is " + join(names, ", ");
        if (const std::string meant = did_you_mean(compute, names); !meant.empty())
            known = meant;
        else
            known = " (" + known + ")";
        return refuse("ComputeNotFound", "compute '" + compute + "' does not exist" + known,
                      "computeId");
    }
    TURNOUT_TRY(check_node_count(task.node_count, compute, 0, context.services.info.pool.slots));
    const std::string wanted = resources.at("instanceType").as_string();
    if (wanted.empty()) return {};
    const VmSize* size = find_vm_size(wanted);
    if (!size) {
        std::vector<std::string> names;
        for (const VmSize& other : vm_sizes()) names.push_back(other.name);
        return refuse("InvalidVmSize",
                      "instance type '" + wanted.substr(0, 64) + "' is not known" +
                          did_you_mean(wanted, names),
                      "resources.instanceType");
    }
    if (size->gpus > context.services.info.pool.gpus)
        return refuse("GpuNotAvailable",
                      "instance type '" + wanted +
                          "' has a GPU and this machine has none: choose a size without",
                      "resources.instanceType");
    limit_to(context.services, *size, task);
    return {};
}

Result<void> check_runs_here(const Json& properties) {
    const std::string type = properties.at("jobType").as_string();
    if (!equal_ignoring_case(type, "Command"))
        return refuse("JobTypeNotSupported",
                      (type.empty() ? std::string("the job has no jobType")
                                    : "jobs of type '" + type.substr(0, 40) + "' do not run yet") +
                          ": this server runs jobs of type 'Command' and 'Sweep'",
                      "jobType");
    if (!properties.at("componentId").as_view().empty())
        return refuse("ComponentNotSupported",
                      "a job cannot be made of a component yet: give its command, code and "
                      "environment themselves",
                      "componentId");
    return {};
}

// What was asked for and is not there yet, but changes nothing of what the job computes.
void add_notices(const Json& properties, TaskSpec& task) {
    for (const auto& [name, service] : properties.at("services").members()) {
        const std::string kind = service.at("jobServiceType").as_string(name);
        if (service.is_null() || kind == "Studio" || kind == "Tracking" || kind == "Local")
            continue;
        task.environment.notices.push_back("the interactive service '" + name.substr(0, 64) +
                                           "' (" + kind.substr(0, 40) +
                                           ") has no effect yet: the job runs without it");
    }
}

Result<void> read_variables(const Context& context, const Json& properties, const JobMeta& meta,
                            TaskSpec& task) {
    const Json& wanted = properties.at("environmentVariables");
    if (wanted.members().size() > kMaxPorts)
        return refuse("TooManyVariables", "a job has at most 500 environment variables",
                      "environmentVariables");
    const Workspace& workspace = context.workspace;
    const auto set = [&](std::string name, std::string value) {
        task.variables.emplace_back(std::move(name), std::move(value));
    };
    set("AZUREML_RUN_ID", context.job);
    set("AZUREML_ROOT_RUN_ID", context.job);
    set("AZUREML_JOB_NAME", context.job);
    set("AZUREML_EXPERIMENT_NAME", meta.experiment);
    set("AZUREML_RUN_DISPLAY_NAME", meta.display_name);
    set("AZUREML_ARM_SUBSCRIPTION", workspace.subscription);
    set("AZUREML_ARM_RESOURCEGROUP", workspace.resource_group);
    set("AZUREML_ARM_WORKSPACE_NAME", workspace.name);
    set("AZUREML_ARM_PROJECT_NAME", meta.experiment);
    set("AZUREML_WORKSPACE_ID", workspace.guid);
    set("AZUREML_WORKSPACE_SCOPE", workspace_path(workspace));
    for (const auto& [name, value] : wanted.members()) {
        if (name.empty() || name.size() > 1024 || name.find('=') != std::string::npos ||
            name.find('\0') != std::string::npos)
            return refuse("InvalidVariable",
                          "'" + name.substr(0, 64) + "' is not a name of an environment variable",
                          "environmentVariables");
        if (value.is_null())
            return refuse(
                "InvalidVariable",
                "the environment variable '" + name + "' has no value: \"\" is an empty one",
                "environmentVariables." + name);
        const std::string text = literal_text(value);
        if (value.is_object() || value.is_array() || text.find('\0') != std::string::npos)
            return refuse("InvalidVariable", "the environment variable '" + name + "' must be text",
                          "environmentVariables." + name);
        set(name, text);
    }
    return {};
}

}  // namespace

Result<std::string> job_compute(const Json& properties, const Workspace& workspace) {
    const std::string id = properties.at("computeId").as_string();
    if (id.empty() || id == "local" || id == "azureml:local") return std::string(kServerless);
    auto name = resource_name(id, "computes", workspace);
    if (!name) return refuse("ComputeNotFound", name.error().message, "computeId");
    return name;
}

Result<Json> job_definition(const Json& properties, const Workspace& workspace) {
    Json definition = properties;
    for (const std::string_view member :
         {"displayName", "description", "tags", "properties", "isArchived", "status", "services",
          "parameters", "creationContext", "error", "computeId"})
        definition.erase(member);
    const std::string compute = TURNOUT_TRY(job_compute(properties, workspace));
    if (compute != kServerless) definition.set("computeId", compute);
    if (Json* resources = definition.find("resources");
        resources && resources->at("instanceCount").as_int() == 1)
        resources->erase("instanceCount");
    if (Json* outputs = definition.find("outputs")) outputs->erase("default");
    if (definition.at("experimentName").as_view().empty())
        definition.set("experimentName", "Default");
    prune(definition);
    return definition;
}

bool is_own_property(std::string_view name, JobType type) {
    if (name.starts_with("turnout.")) return true;
    return type == JobType::Sweep &&
           (name == "best_child_run_id" || name == "score" || name == "best_metric_status" ||
            name == "best_data_container_id");
}

JobMeta job_meta(const Json& properties, std::string_view name) {
    JobMeta meta;
    meta.display_name = properties.at("displayName").as_string();
    if (meta.display_name.empty()) meta.display_name = name;
    meta.experiment = properties.at("experimentName").as_string();
    if (meta.experiment.empty()) meta.experiment = "Default";
    meta.description = properties.at("description").as_string();
    meta.archived = properties.at("isArchived").as_bool();
    if (properties.at("tags").is_object()) meta.tags = properties.at("tags");
    const JobType type = equal_ignoring_case(properties.at("jobType").as_view(), "sweep")
                             ? JobType::Sweep
                             : JobType::Command;
    for (const auto& [key, value] : properties.at("properties").members())
        if (!is_own_property(key, type) && !value.is_null()) meta.properties.set(key, value);
    return meta;
}

Result<JobSubmission> resolve_job(Services& services, const Call& call, const Workspace& workspace,
                                  const std::string& name, const Json& properties) {
    if (equal_ignoring_case(properties.at("jobType").as_view(), "Sweep"))
        return resolve_sweep(services, call, workspace, name, properties);
    TURNOUT_TRY(check_runs_here(properties));
    const Context context{services, call, workspace, name};
    JobSubmission job;
    job.workspace = workspace.id;
    job.name = name;
    job.definition = TURNOUT_TRY(job_definition(properties, workspace));
    job.meta = job_meta(properties, name);
    job.compute = TURNOUT_TRY(job_compute(properties, workspace));
    job.principal = call.principal.name;

    TaskSpec& task = job.task;
    task.command = TURNOUT_TRY(read_command(properties));
    TURNOUT_TRY(read_processes(properties.at("resources"), properties.at("distribution"), task));
    TURNOUT_TRY(read_compute(context, job.compute, properties.at("resources"), task));
    job.priority = TURNOUT_TRY(read_priority(properties.at("queueSettings")));
    task.environment = TURNOUT_TRY(read_environment(context, properties));
    add_notices(properties, task);
    TURNOUT_TRY(read_code(context, properties, task));
    task.inputs = TURNOUT_TRY(read_inputs(context, properties.at("inputs")));
    task.outputs = TURNOUT_TRY(read_outputs(context, properties.at("outputs")));
    TURNOUT_TRY(read_variables(context, properties, job.meta, task));
    TURNOUT_TRY(check_limits(task));
    if (const Json& timeout = properties.at("limits").at("timeout"); !timeout.is_null()) {
        const auto span = parse_duration(timeout.as_view());
        if (!span || *span <= 0s)
            return refuse(
                "InvalidTimeout",
                "limits.timeout must be a duration longer than nothing, such as PT1H, not '" +
                    literal_text(timeout).substr(0, 40) + "'",
                "limits.timeout");
        task.timeout = *span;
    }
    task.artifacts = {artifact_container(workspace.id), "ExperimentRun/dcid." + name + "/"};
    task.mlflow_path = "/mlflow/v2.0" + workspace_path(workspace);
    return job;
}

}  // namespace turnout::api::arm

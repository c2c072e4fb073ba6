// Where the data of a job's inputs lies, and where that of its outputs goes.
#include <algorithm>

#include "api/arm/job_lookup.h"
#include "api/arm/resource.h"
#include "api/data_uri.h"
#include "api/upkeep/removal.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/jobs.h"
#include "submission/refusal.h"

namespace turnout::api::arm {
namespace {

using agent_protocol::BlobFolder;
using agent_protocol::TaskInput;
using agent_protocol::TaskOutput;
using agent_protocol::TaskSpec;
using submission::parse_reference;
using submission::Reference;
using submission::refuse;

struct InPlace {
    std::optional<BlobFolder> blobs;
    std::optional<std::string> local;
    std::string uri;
    bool fetch = false;
};

Result<std::string> container_of(const Lookup& lookup, const std::string& datastore,
                                 const std::string& field) {
    const auto found =
        TURNOUT_TRY(lookup.services.assets.find_datastore(lookup.workspace.id, datastore));
    if (found) return found->at("containerName").as_string();
    std::vector<std::string> names;
    for (auto& [name, properties] :
         TURNOUT_TRY(lookup.services.assets.list_datastores(lookup.workspace.id)))
        names.push_back(name);
    return refuse("DatastoreNotFound",
                  "datastore '" + datastore + "' does not exist" + did_you_mean(datastore, names),
                  field);
}

Result<InPlace> place_in(const Lookup& lookup, const std::string& container,
                         const std::string& path, std::string uri, std::string_view type,
                         const std::string& what, const std::string& field) {
    const Found found = TURNOUT_TRY(look(lookup, container, path));
    if (found == Found::Nothing) return refuse("InputNotFound", what + ": nothing is there", field);
    TURNOUT_TRY(upkeep::check_place_stays(lookup.services, lookup.workspace.id, container, path));
    if (found == Found::Folder && type == "uri_file")
        return refuse("InputTypeMismatch",
                      what + " is a folder: give the input the type uri_folder", field);
    if (found == Found::File && type == "uri_folder")
        return refuse("InputTypeMismatch", what + " is a file: give the input the type uri_file",
                      field);
    InPlace place;
    const bool folder = found == Found::Folder;
    place.blobs = BlobFolder{container, folder && !path.empty() ? path + "/" : path};
    place.uri = std::move(uri);
    return place;
}

// Whose output it is; `output`: what it is called there.
Result<JobRecord> job_named(const Lookup& lookup, const std::string& name, std::string& output,
                            const std::string& field) {
    auto job = TURNOUT_TRY(read_job(lookup.services.store, lookup.workspace.id, name));
    if (!job) return refuse("JobNotFound", "job '" + name + "' does not exist", field);
    const JobKind& kind = kind_of(job->record.type);
    // The outputs of a group are those of its children.
    if (const auto giver = giver_of(job->record, output)) {
        output = giver->output;
        return job_named(lookup, giver->job, output, field);
    }
    if (kind.group && job->record.plan.is_null())
        return refuse("OutputNotFound",
                      std::string(kind.noun) + " '" + name + "' has no best " +
                          std::string(kind.child) + " yet",
                      field);
    return std::move(job->record);
}

// "p_0" and "p_12"
bool is_of_same_group(std::string_view child, std::string_view other) {
    const std::size_t bar = child.rfind('_');
    return bar != std::string_view::npos && bar == other.rfind('_') &&
           child.substr(0, bar) == other.substr(0, bar);
}

Result<InPlace> place_of(const Lookup& lookup, const Reference& reference, std::string_view type,
                         std::string_view mode, const std::string& field, int depth);

Result<InPlace> place_of_output(const Lookup& lookup, const Reference& reference,
                                std::string_view type, const std::string& field) {
    std::string name = reference.output;
    const JobRecord job = TURNOUT_TRY(job_named(lookup, reference.job, name, field));
    const TaskSpec task = TURNOUT_TRY(read_task(lookup.services.store, job));
    std::string container, base;
    const auto output = std::ranges::find(task.outputs, name, &TaskOutput::name);
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
    const Found found = TURNOUT_TRY(look(lookup, container, path));
    if (found == Found::Nothing && !is_terminal(job.status))
        return refuse("InputNotFound",
                      "job '" + reference.job + "' has not ended (it is " +
                          std::string(name_of(job.status)) +
                          ") and its output is not there yet: wait for it",
                      field);
    return place_in(lookup, container, path, reference.text, type, "'" + reference.text + "'",
                    field);
}

Result<InPlace> place_of_asset(const Lookup& lookup, const Reference& reference,
                               std::string_view type, std::string_view mode,
                               const std::string& field, int depth) {
    const std::string kind = submission::asset_kind(reference, type);
    if (kind != "data" && kind != "models")
        return refuse("InvalidInput", "'" + reference.text + "' is neither data nor a model",
                      field);
    auto asset = TURNOUT_TRY(lookup.services.assets.resolve(lookup.workspace.id, kind,
                                                            reference.name, reference.version));
    if (!asset) {
        std::vector<std::string> names;
        for (const auto& container :
             TURNOUT_TRY(lookup.services.assets.list_containers(lookup.workspace.id, kind)))
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
    const auto inner = parse_reference(uri, lookup.workspace);
    if (!inner) return refuse(inner.error(), "InvalidInput", field);
    return place_of(lookup, *inner, type, mode, field, depth + 1);
}

Result<InPlace> place_of(const Lookup& lookup, const Reference& reference, std::string_view type,
                         std::string_view mode, const std::string& field, int depth) {
    if (depth > 4)
        return refuse("InvalidInput",
                      "'" + reference.text + "' leads from asset to asset without end", field);
    switch (reference.form) {
        case Reference::Form::Path: {
            const std::string container =
                TURNOUT_TRY(container_of(lookup, reference.datastore, field));
            return place_in(lookup, container, reference.path,
                            workspace_uri(lookup.workspace) + "/datastores/" + reference.datastore +
                                "/paths/" + reference.path,
                            type, "'" + reference.text + "'", field);
        }
        case Reference::Form::JobOutput: return place_of_output(lookup, reference, type, field);
        case Reference::Form::Asset:
            return place_of_asset(lookup, reference, type, mode, field, depth);
        case Reference::Form::Registry:
            return refuse("RegistryNotFound",
                          "registry '" + reference.registry +
                              "' has no data: only the curated environments of 'azureml' are there",
                          field);
        case Reference::Form::Url: {
            const auto blobs = submission::blob_of_url(reference.text);
            if (blobs && workspace_of_container(blobs->container) == lookup.workspace.id)
                return place_in(lookup, blobs->container, blobs->prefix, reference.text, type,
                                "'" + reference.text + "'", field);
            InPlace place;
            place.uri = reference.text;
            place.fetch = mode != "direct";
            if (place.fetch) TURNOUT_TRY(submission::check_source(reference.text, type, field));
            return place;
        }
        case Reference::Form::Local: {
            const std::string path(submission::local_path(reference));
            if (mode != "direct" || !path.starts_with('/') || !lookup.call.request.peer.loopback)
                return refuse(submission::not_reached(reference), "InvalidInput", field);
            InPlace place;
            place.local = path;
            place.uri = path;
            return place;
        }
    }
    return internal("unknown form of reference");
}

}  // namespace

Result<Found> look(const Lookup& lookup, const std::string& container, const std::string& path) {
    if (!path.empty() && TURNOUT_TRY(lookup.services.blobs.head(container, path)).has_value())
        return Found::File;
    const auto list = TURNOUT_TRY(
        lookup.services.blobs.list(container, path.empty() ? "" : path + "/", "", "", 1));
    return list.blobs.empty() ? Found::Nothing : Found::Folder;
}

Result<void> place_inputs(const Lookup& lookup, submission::Draft& draft) {
    for (std::size_t i = 0; i < draft.inputs.size(); ++i) {
        if (!draft.inputs[i]) continue;  // a literal
        if (lookup.outputs_to_come && draft.inputs[i]->form == Reference::Form::JobOutput &&
            is_of_same_group(draft.inputs[i]->job, lookup.job))
            continue;
        TaskInput& input = draft.task.inputs[i];
        InPlace place = TURNOUT_TRY(place_of(lookup, *draft.inputs[i], input.type, input.mode,
                                             "inputs." + input.name + ".uri", 0));
        input.blobs = std::move(place.blobs);
        input.local_path = std::move(place.local);
        input.uri = std::move(place.uri);
        input.fetch = place.fetch;
    }
    return {};
}

Result<void> place_outputs(const Lookup& lookup, submission::Draft& draft) {
    for (std::size_t i = 0; i < draft.outputs.size(); ++i) {
        TaskOutput& output = draft.task.outputs[i];
        const std::string end = output.type == "uri_file" ? "" : "/";
        const auto& target = draft.outputs[i];
        if (!target) {
            output.target = {blobstore_container(lookup.workspace.id),
                             "azureml/" + lookup.job + "/" + output.name + end};
            continue;
        }
        const std::string container =
            TURNOUT_TRY(container_of(lookup, target->datastore, "outputs." + output.name + ".uri"));
        // At the root of a datastore a file has the output's name.
        output.target = {container, target->path.empty() ? "" : target->path + end};
    }
    return {};
}

}  // namespace turnout::api::arm

#include "submission/reference.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "resources/documents.h"

namespace turnout::submission {
namespace {

// Takes the next part of a path; "" at its end.
std::string_view next_part(std::string_view& rest) {
    while (rest.starts_with('/')) rest.remove_prefix(1);
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    return part;
}

bool take(std::string_view& rest, std::string_view word) {
    std::string_view copy = rest;
    if (!equal_ignoring_case(next_part(copy), word)) return false;
    rest = copy;
    return true;
}

Failure unreadable(std::string_view text) {
    return invalid(
        "'" + std::string(text.substr(0, 300)) +
        "' cannot be read: use azureml://datastores/NAME/paths/PATH, azureml:NAME:VERSION, "
        "azureml:NAME@latest, azureml://jobs/JOB/outputs/NAME or an ARM id");
}

// "…" without '/' at its ends, checked; "" stays "".
Result<std::string> checked_path(std::string_view path) {
    while (path.starts_with('/')) path.remove_prefix(1);
    while (path.ends_with('/')) path.remove_suffix(1);
    if (path == ".") path = {};
    if (path.starts_with("./")) path.remove_prefix(2);
    if (path.empty()) return std::string();
    return checked_relative_path(path, "path");
}

Failure elsewhere(std::string_view text, const Workspace& here) {
    return invalid("'" + std::string(text.substr(0, 300)) + "' is in another workspace than '" +
                   here.name + "': only this one is reached");
}

// An own name that is not known may be any.
bool may_be(std::string_view name, std::string_view own) {
    return own.empty() || equal_ignoring_case(name, own);
}

// After "/subscriptions/": "S/resourceGroups/R[/providers/P]/workspaces/W/", which must be this
// one.
Result<void> take_workspace(std::string_view& rest, std::string_view text, const Workspace& here) {
    const std::string_view subscription = next_part(rest);
    if (!take(rest, "resourceGroups")) return unreadable(text);
    const std::string_view group = next_part(rest);
    if (take(rest, "providers")) next_part(rest);
    if (!take(rest, "workspaces")) return unreadable(text);
    const std::string_view name = next_part(rest);
    if (!may_be(subscription, here.subscription) || !may_be(group, here.resource_group) ||
        !may_be(name, here.name))
        return elsewhere(text, here);
    return {};
}

Result<void> check_words(const Reference& reference, std::string_view text) {
    if (reference.name.empty() || reference.version.empty()) return unreadable(text);
    return {};
}

// "datastores/…", "jobs/…", "data/…": what follows a workspace or "azureml://".
Result<Reference> parse_inside(std::string_view rest, Reference reference) {
    const std::string text = reference.text;
    if (take(rest, "datastores")) {
        reference.form = Reference::Form::Path;
        reference.datastore = next_part(rest);
        if (reference.datastore.empty() || (!rest.empty() && !take(rest, "paths")))
            return unreadable(text);
        reference.path = TURNOUT_TRY(checked_path(rest));
        return reference;
    }
    if (take(rest, "jobs")) {
        reference.form = Reference::Form::JobOutput;
        reference.job = next_part(rest);
        if (!take(rest, "outputs")) return unreadable(text);
        reference.output = next_part(rest);
        // Of a run's artifacts Azure's own examples leave "paths/" out.
        const bool bare = reference.output == "artifacts";
        if (reference.job.empty() || reference.output.empty() ||
            (!rest.empty() && !take(rest, "paths") && !bare))
            return unreadable(text);
        reference.path = TURNOUT_TRY(checked_path(rest));
        return reference;
    }
    reference.form = Reference::Form::Asset;
    reference.kind = to_lower(next_part(rest));
    const resources::DocumentKind* const kind = resources::kind_of_path(reference.kind);
    if (kind == nullptr || kind->keys != resources::DocumentKind::Keys::Versioned)
        return unreadable(text);
    std::string_view name = next_part(rest);
    if (name.starts_with("azureml:"))
        name.remove_prefix(8);  // the SDK leaves it there when it resolves a label
    reference.name = name;
    if (take(rest, "versions")) {
        reference.version = next_part(rest);
    } else if (take(rest, "labels")) {
        reference.version = next_part(rest);
        if (reference.version != "latest")
            return invalid("'" + text + "' has a label other than 'latest'");
    }
    if (!rest.empty()) return unreadable(text);
    TURNOUT_TRY(check_words(reference, text));
    return reference;
}

bool has_scheme(std::string_view text) {
    const std::size_t colon = text.find("://");
    return colon != std::string_view::npos && colon > 1 &&
           std::ranges::all_of(text.substr(0, colon), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '+' || c == '-' || c == '.';
           });
}

}  // namespace

Result<Reference> parse_reference(std::string_view text, const Workspace& here) {
    Reference reference;
    reference.text = text;
    if (text.empty()) return invalid("the reference is empty");
    if (text.size() > 4096) return invalid("the reference is too long");
    std::string_view rest = text;
    if (rest.starts_with("azureml:/subscriptions/")) rest.remove_prefix(8);
    if (rest.starts_with("/subscriptions/")) {
        next_part(rest);
        TURNOUT_TRY(take_workspace(rest, text, here));
        return parse_inside(rest, std::move(reference));
    }
    if (rest.starts_with("azureml://")) {
        rest.remove_prefix(10);
        if (take(rest, "subscriptions")) {
            TURNOUT_TRY(take_workspace(rest, text, here));
            return parse_inside(rest, std::move(reference));
        }
        if (take(rest, "locations")) {  // "locations/L/workspaces/GUID/…", the form of asset ids
            next_part(rest);
            if (!take(rest, "workspaces")) return unreadable(text);
            if (!may_be(next_part(rest), here.guid)) return elsewhere(text, here);
            return parse_inside(rest, std::move(reference));
        }
        if (take(rest, "registries")) {
            reference.registry = next_part(rest);
            Reference inside = TURNOUT_TRY(parse_inside(rest, std::move(reference)));
            if (inside.form != Reference::Form::Asset) return unreadable(text);
            inside.form = Reference::Form::Registry;
            return inside;
        }
        return parse_inside(rest, std::move(reference));
    }
    if (rest.starts_with("azureml:")) {
        rest.remove_prefix(8);
        reference.form = Reference::Form::Asset;
        const std::size_t at = rest.rfind('@');
        const std::size_t colon = rest.rfind(':');
        const std::size_t cut = at != std::string_view::npos ? at : colon;
        if (cut == std::string_view::npos)
            return invalid("'" + std::string(text) +
                           "' needs a version: azureml:NAME:VERSION or azureml:NAME@latest");
        reference.name = rest.substr(0, cut);
        reference.version = rest.substr(cut + 1);
        if (cut == at && reference.version != "latest")
            return invalid("'" + std::string(text) + "' has a label other than 'latest'");
        TURNOUT_TRY(check_words(reference, text));
        return reference;
    }
    if (rest.starts_with("runs:/")) {  // as MLflow names what a run logged
        rest.remove_prefix(6);
        reference.form = Reference::Form::JobOutput;
        reference.job = next_part(rest);
        reference.output = "artifacts";
        if (reference.job.empty()) return unreadable(text);
        reference.path = TURNOUT_TRY(checked_path(rest));
        return reference;
    }
    if (has_scheme(rest) && !rest.starts_with("file:")) {
        reference.form = Reference::Form::Url;
        return reference;
    }
    reference.form = Reference::Form::Local;
    return reference;
}

std::string_view local_path(const Reference& reference) {
    std::string_view path = reference.text;
    if (path.starts_with("file://")) path.remove_prefix(7);
    return path;
}

Error not_reached(const Reference& reference) {
    return fail(Code::InvalidArgument, "InvalidInput",
                "'" + reference.text.substr(0, 300) +
                    "' is a path of the client's machine: upload it, or on this machine give its "
                    "absolute path with mode direct")
        .error();
}

Result<std::string> resource_name(std::string_view id, std::string_view type,
                                  const Workspace& here) {
    std::string_view rest = id;
    if (rest.starts_with("azureml:")) rest.remove_prefix(8);
    std::string_view name = rest;
    if (rest.starts_with("/subscriptions/")) {
        next_part(rest);
        TURNOUT_TRY(take_workspace(rest, id, here));
        if (!take(rest, type))
            return invalid("'" + std::string(id.substr(0, 300)) + "' is not one of the " +
                           std::string(type));
        name = next_part(rest);
        if (!rest.empty()) return unreadable(id);
    }
    if (name.empty() || name.find('/') != std::string_view::npos)
        return invalid("'" + std::string(id.substr(0, 300)) +
                       "' is not the name or the ARM id of one of the " + std::string(type));
    return std::string(name);
}

std::optional<agent_protocol::BlobFolder> blob_of_url(std::string_view url) {
    if (const std::size_t query = url.find('?'); query != std::string_view::npos)
        url = url.substr(0, query);
    if (const std::size_t scheme = url.find("://"); scheme != std::string_view::npos) {
        const std::size_t slash = url.find('/', scheme + 3);
        if (slash == std::string_view::npos) return std::nullopt;
        url.remove_prefix(slash);
    }
    if (!url.starts_with('/')) return std::nullopt;
    if (!take(url, "blob") && !take(url, "store.blob.store.turnout")) return std::nullopt;
    const auto container = percent_decode(next_part(url));
    const auto prefix = percent_decode(url);
    if (!container || !prefix || container->empty()) return std::nullopt;
    std::string name = *prefix;
    while (name.ends_with('/')) name.pop_back();
    if (!name.empty() && !checked_relative_path(name, "path")) return std::nullopt;
    return agent_protocol::BlobFolder{*container, name};
}

}  // namespace turnout::submission

// The verbs of every kind of document, with versions or without: what differs is in their rows
// (resources/documents.h).
#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"
#include "resources/documents.h"

namespace turnout::cli {

namespace {

using resources::DocumentKind;

// What a verb begins with: which kind the command is about, and the server.
struct Opened {
    Context& context;
    client::Api& api;
    const DocumentKind& kind;

    const Arguments& args() const { return context.args(); }
    bool has_versions() const { return kind.keys == DocumentKind::Keys::Versioned; }
    std::string word() const { return std::string(kind.word); }

    Result<std::string> name() const {
        std::string name = TURNOUT_TRY(context.name());
        if (name.starts_with("azureml:")) name.erase(0, 8);
        return name;
    }
    std::string path() const { return api.in_workspace("/" + std::string(kind.path)); }
    std::string path_of(const std::string& name) const {
        return path() + "/" + percent_encode(name);
    }
    // Of one version; of the whole document if that is "".
    std::string path_of(const std::string& name, const std::string& version) const {
        return path_of(name) + (version.empty() ? "" : "/versions/" + percent_encode(version));
    }
    int show(const Json& rest) const {
        return context.show(resources::to_entity(kind.description(), rest), rest);
    }
};

int with_server(Context& context, Result<int> (*verb)(const Opened& at)) {
    const DocumentKind* const kind = resources::kind_of_word(context.args().command->words[0]);
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<int> done = verb({context, **opened, *kind});
    return done ? *done : context.fail(done.error());
}

Result<void> check_label(const Opened& at) {
    const std::string label = at.args().get("--label");
    if (label.empty() || label == "latest") return {};
    return invalid("the only label is 'latest', not '" + label + "'", "--label");
}

// The version asked for by -v or -l, or the newest.
Result<Json> find_version(const Opened& at, const std::string& name) {
    const std::string version = at.args().get("--version");
    if (!version.empty()) return at.api.get(at.path_of(name, version));
    TURNOUT_TRY(check_label(at));
    const Json versions = TURNOUT_TRY(
        at.api.list(at.path_of(name) + "/versions?%24orderBy=createdtime%20desc&%24top=1", 1));
    if (versions.items().empty()) return not_found(at.word() + " '" + name + "' has no version");
    return versions.items()[0];
}

// The one that -v or -l names; "" if neither is given: all of it is meant.
Result<std::string> version_meant(const Opened& at, const std::string& name) {
    if (!at.args().has("--label")) return at.args().get("--version");
    return TURNOUT_TRY(find_version(at, name)).at("name").as_string();
}

Result<Json> create_version(const Opened& at, Loaded& loaded, const std::string& name) {
    TURNOUT_TRY(prepare(at.context, loaded));
    std::string version = loaded.document.text("/version", loaded.document.value.at("version"));
    const bool chosen = version.empty();
    if (chosen) {
        const Result<Json> container = at.api.get(at.path_of(name));
        if (!container && container.error().code != Code::NotFound) return container;
        version = container ? container->at("properties").at("nextVersion").as_string("1") : "1";
    }
    loaded.document.value.set("version", version);  // as text, as it was written
    Result<Json> made = at.api.put(at.path_of(name, version),
                                   resources::to_rest(*loaded.description, loaded.document, "",
                                                      {at.api.settings().workspace_path()}));
    if (!made && made.error().code == Code::Conflict && !chosen)
        made.error().message +=
            " (raise `version` in the file, or leave it out for the next free one)";
    return made;
}

}  // namespace

int asset_create(Context& context) {
    // What is wrong in the file is said before a server is looked for.
    Result<Loaded> loaded = load(context, context.args().command->words[0]);
    if (!loaded) return context.fail(loaded.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Opened at{context, **opened, *resources::kind_of_word(context.args().command->words[0])};
    const std::string name = loaded->document.text("/name", loaded->document.value.at("name"));
    Result<Json> made = Json();
    if (at.has_versions()) {
        made = create_version(at, *loaded, name);
    } else {
        Json rest = resources::to_rest(*loaded->description, loaded->document, "",
                                       {at.api.settings().workspace_path()});
        rest.erase("name");
        made = at.api.put(at.path_of(name), rest);
    }
    if (made) return at.show(*made);
    // What the server refuses is shown where it was written.
    Error error = made.error();
    const std::string definition = "properties." + std::string(at.kind.definition) + ".";
    if (error.subject.starts_with(definition))
        error.subject = "properties." + error.subject.substr(definition.size());
    return context.fail(
        resources::in_words_of(*loaded->description, loaded->document, std::move(error)));
}

namespace {
Result<int> list_documents(const Opened& at) {
    const std::string view = at.args().has("--archived-only")      ? "ArchivedOnly"
                             : at.args().has("--include-archived") ? "All"
                                                                   : "ActiveOnly";
    const std::string name = at.args().get("--name");
    const Json items =
        TURNOUT_TRY(at.api.list((name.empty() ? at.path() : at.path_of(name) + "/versions") +
                                (at.has_versions() ? "?listViewType=" + view : "")));
    std::size_t limit = SIZE_MAX;
    if (at.args().has("--max-results"))
        limit = static_cast<std::size_t>(
            std::max<std::int64_t>(1, yaml_scalar(at.args().get("--max-results")).as_int(1)));
    Json entities = Json::array();
    for (const Json& item : items.items())
        if (entities.items().size() < limit)
            entities.push(resources::to_entity(at.kind.description(), item));
    return at.context.show(entities, items,
                           at.has_versions()
                               ? std::vector<std::string>{"name", "version", "latest_version",
                                                          "type", "path", "image", "description"}
                               : std::vector<std::string>{"name", "type", "account_name",
                                                          "container_name", "is_default"});
}

Result<int> show_document(const Opened& at) {
    const std::string name = TURNOUT_TRY(at.name());
    return at.show(
        TURNOUT_TRY(at.has_versions() ? find_version(at, name) : at.api.get(at.path_of(name))));
}

Result<int> set_archived(const Opened& at, bool archived) {
    const std::string name = TURNOUT_TRY(at.name());
    const std::string version = TURNOUT_TRY(version_meant(at, name));
    TURNOUT_TRY(
        at.api.patch(at.path_of(name, version),
                     Json::object({{"properties", Json::object({{"isArchived", archived}})}})));
    at.context.note(at.word() + " " + name + (archived ? " is archived" : " is restored"));
    return 0;
}

Result<int> archive_document(const Opened& at) {
    return set_archived(at, true);
}
Result<int> restore_document(const Opened& at) {
    return set_archived(at, false);
}

// What `--set` may change: REST's member to its change.
Result<Json> changes_of(const Opened& at, const YamlDocument& document, const Json& tags,
                        bool of_all) {
    // Such a kind says it once more in its definition.
    const bool twice = !of_all && !at.kind.definition.empty();
    const bool staged = !of_all && at.kind.description().find("stage") != nullptr;
    Json changes = Json::object();
    for (const auto& [key, value] : document.value.members()) {
        const auto refuse = [](const std::string& where, const std::string& why) {
            return fail(Code::InvalidArgument, "ValidationError", "--set " + where + ": " + why,
                        where);
        };
        Json change;
        if (key == "tags") {
            if (!value.is_object()) return refuse(key, resources::expected("a mapping", value));
            Json texts = Json::object();
            for (const auto& [tag, text] : value.members()) {
                if (text.is_object() || text.is_array())
                    return refuse("tags." + tag, resources::expected("a text", text));
                if (!text.is_null()) texts.set(tag, document.text(pointer_to("/tags", tag), text));
            }
            change = tags.changes_to(texts);  // others may be changing other tags
        } else if (key == "description" || (key == "display_name" && twice) ||
                   (key == "stage" && staged)) {
            if (value.is_object() || value.is_array())
                return refuse(key, resources::expected("a text", value));
            if (!value.is_null()) change = document.text("/" + key, value);
        } else {
            return refuse(key, "of a " + at.word() + (of_all ? "" : " version") +
                                   " only description" + (twice ? ", display_name" : "") +
                                   " and tags can change");
        }
        if (twice)
            resources::set_path(changes, std::string(at.kind.definition) + "." + key, change);
        if (key != "display_name") changes.set(key, std::move(change));
    }
    return changes;
}

Result<int> update_document(const Opened& at) {
    const std::string name = TURNOUT_TRY(at.name());
    if (!at.args().has("--set"))
        return fail(Code::InvalidArgument, "Usage",
                    "what to change? give --set, such as --set description=words or "
                    "--set tags.kind=test",
                    "--set");
    const bool of_all = !at.args().has("--version") && !at.args().has("--label");
    const Json found = TURNOUT_TRY(of_all ? at.api.get(at.path_of(name)) : find_version(at, name));
    YamlDocument document;
    document.file = at.word() + " " + name;
    const Json& tags = found.at("properties").at("tags");
    document.value = Json::object({{"tags", tags}});
    for (const std::string& assignment : at.args().all("--set"))
        TURNOUT_TRY(apply_set(document, assignment));
    Json changes = TURNOUT_TRY(changes_of(at, document, tags, of_all));
    return at.show(
        TURNOUT_TRY(at.api.patch(at.path_of(name, of_all ? "" : found.at("name").as_string()),
                                 Json::object({{"properties", std::move(changes)}}))));
}

Result<int> delete_document(const Opened& at) {
    const std::string name = TURNOUT_TRY(at.name());
    const std::string version = at.has_versions() ? at.args().get("--version") : "";
    const std::string path = at.path_of(name, version);
    std::string what = at.word() + " " + name;
    if (!version.empty()) {
        what += " version " + version;
    } else if (at.has_versions()) {
        const std::size_t count =
            TURNOUT_TRY(at.api.list(path + "/versions?listViewType=All")).items().size();
        what += " with " + std::to_string(count) + " version" + (count == 1 ? "" : "s");
    }
    TURNOUT_TRY(at.api.get(path));
    TURNOUT_TRY(at.api.send("DELETE", path));
    at.context.note(what + " is deleted");
    return 0;
}

// To FOLDER/NAME, where the SDK puts it too; a folder keeps its own name beneath that.
Result<int> download_document(const Opened& at) {
    const std::string name = TURNOUT_TRY(at.name());
    const Json version = TURNOUT_TRY(find_version(at, name));
    const std::string uri = version.at("properties").at(at.kind.location).as_string();
    const auto place = datastore_path(uri);
    if (!place)
        return fail(Code::FailedPrecondition, "NotInADatastore",
                    at.word() + " '" + name + "' is at " + uri +
                        ", not in a datastore: fetch it from there",
                    "path");
    auto [store, path] = *place;
    while (path.ends_with('/')) path.pop_back();
    const std::string last = path.substr(path.rfind('/') + 1);
    const std::string checked = TURNOUT_TRY(checked_relative_path(name, "name"));
    const std::string root =
        client::absolute_path(at.args().get("--download-path", ".")) + "/" + checked;
    // One blob of that name is a file, else it is a folder.
    const client::BlobPlace blobs = TURNOUT_TRY(at.api.datastore(store));
    bool file = false;
    for (const client::RemoteFile& one : TURNOUT_TRY(at.api.list_blobs(blobs, path)))
        file = file || one.name == path;
    const std::string folder =
        file || last.empty() ? root : root + "/" + TURNOUT_TRY(checked_relative_path(last, "name"));
    const std::size_t count = TURNOUT_TRY(fetch_folder(at.context, at.api, store,
                                                       file || path.empty() ? path : path + "/",
                                                       folder, "downloading " + name));
    if (count == 0)
        return not_found(at.word() + " '" + name + "' version '" + version.at("name").as_string() +
                         "' has no files any more at " + uri);
    at.context.note(std::to_string(count) + " file" + (count == 1 ? "" : "s") + " to " + folder);
    return 0;
}
}  // namespace

int asset_list(Context& context) {
    return with_server(context, list_documents);
}
int asset_show(Context& context) {
    return with_server(context, show_document);
}
int asset_archive(Context& context) {
    return with_server(context, archive_document);
}
int asset_restore(Context& context) {
    return with_server(context, restore_document);
}
int asset_update(Context& context) {
    return with_server(context, update_document);
}
int asset_delete(Context& context) {
    return with_server(context, delete_document);
}
int asset_download(Context& context) {
    return with_server(context, download_document);
}

}  // namespace turnout::cli

#include "cli/context.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "base/hash.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/query.h"
#include "client/files.h"
#include "io/posix/asio_loop.h"

namespace turnout::cli {

Context::Context(Arguments arguments, const ServerCommands& hooks,
                 const std::vector<Command>& commands)
    : args_(std::move(arguments)),
      hooks_(hooks),
      commands_(commands),
      terminal_(::isatty(1) == 1),
      error_terminal_(::isatty(2) == 1),
      screen_(screen_of(1)),
      error_screen_(screen_of(2)) {}

Result<client::Settings> Context::settings() const {
    client::Settings settings = TURNOUT_TRY(client::load_settings(args_.get("--data")));
    const auto choose = [&](std::string& value, const char* option, const char* variable) {
        if (args_.has(option))
            value = args_.get(option);
        else if (const std::string named = client::environment_variable(variable);
                 !named.empty() && !args_.has("--data"))
            value = named;  // of the server that `turnout env` was asked about
    };
    choose(settings.subscription_id, "--subscription", "TURNOUT_SUBSCRIPTION");
    choose(settings.resource_group, "--resource-group", "TURNOUT_RESOURCE_GROUP");
    choose(settings.workspace_name, "--workspace-name", "TURNOUT_WORKSPACE");
    return settings;
}

Result<std::vector<std::string>> Context::names() const {
    const std::vector<std::string>& words = args_.command->words;
    const std::string what = words[0] == "drill"  ? "job"
                             : words[0] == "data" ? "data asset"
                                                  : words[0];
    std::vector<std::string> names;
    for (const std::string& name : args_.all("--name")) {
        if (name.find('/') != std::string::npos)
            return invalid(what + " '" + name + "': expected a name, which has no '/'", "--name");
        if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end())
            names.push_back(name);
    }
    if (names.empty())
        return invalid("which " + what + "? give its name: `turnout " + join(words, " ") + " NAME`",
                       "--name");
    return names;
}

Result<std::string> Context::name() const {
    std::vector<std::string> all = TURNOUT_TRY(names());
    return std::move(all.back());
}

Result<void> Context::agreed(const std::string& would, const std::string& question,
                             const std::string& instead) {
    if (args_.has("--yes")) return {};
    if (::isatty(0) != 1)
        return turnout::fail(
            Code::FailedPrecondition, "NotAgreed",
            would + ": give --yes if that is meant" + (instead.empty() ? "" : "; " + instead));
    end_status();
    std::fprintf(stderr, "%s%s. %s (yes/no) ", harmless(would).c_str(),
                 instead.empty() ? "" : ("; " + instead).c_str(), question.c_str());
    std::string answer;
    if (!std::getline(std::cin, answer)) std::fputs("\n", stderr);
    if (const std::string_view said = trim(answer); said == "yes" || said == "y") return {};
    return turnout::fail(Code::Canceled, "NotDone", "nothing was done");
}

Result<client::Api*> Context::api() {
    if (!api_) {
        client::Settings chosen = TURNOUT_TRY(settings());
        api_ = TURNOUT_TRY(client::Api::open(std::move(chosen)));
    }
    return api_.get();
}

void Context::out(std::string_view text) {
    print(text);
}

void Context::note(std::string_view text) {
    end_status();
    std::fprintf(stderr, "%s\n", harmless_lines(text).c_str());
}

void Context::status(const std::string& text) {
    if (text == last_status_) return;
    last_status_ = text;
    if (!error_terminal_) return;
    std::fprintf(stderr, "\r\x1b[K%s",
                 shortened(harmless(text), error_screen_.columns - 1).c_str());
    std::fflush(stderr);
}

void Context::end_status() {
    if (!last_status_.empty() && error_terminal_) std::fprintf(stderr, "\r\x1b[K");
    last_status_.clear();
}

client::Progress Context::bar(const std::string& what) {
    if (!error_terminal_) return {};
    struct Bar {
        PosixClock clock{};
        turnout::Progress progress{};
        Span drawn{};
    };
    return [this, what, bar = std::make_shared<Bar>()](
               std::uint64_t done, std::uint64_t total) {  // shared by the copies of the function
        const Span now = bar->clock.since_boot();
        bar->progress.note(now, done);
        if (done != total && now - bar->drawn < 100ms) return;
        bar->drawn = now;
        const std::uint64_t full = 10;
        const std::uint64_t filled = total == 0 ? full : done * full / total;
        status(what + " [" + std::string(filled, '#') + std::string(full - filled, '.') + "] " +
               bar->progress.words(total));
    };
}

namespace {
// Nothing was found: null, or a list of nothing.
bool found_nothing(const Json& value) {
    if (value.is_null()) return true;
    return value.is_array() &&
           std::all_of(value.items().begin(), value.items().end(), found_nothing);
}
}  // namespace

int Context::show(const Json& entity, const Json& rest, const std::vector<std::string>& columns) {
    end_status();
    const Result<Format> how = parse_format(args_.get("--output"), terminal_);
    if (!how) return fail(how.error());
    if (!args_.has("--query")) {
        show_text(format(entity, *how, columns, screen_));
        // A person would wait for more.
        if (answers_a_person() && entity.is_array() && entity.items().empty()) note("none");
        return 0;
    }
    Result<Json> answer = query(args_.get("--query"), entity);
    if (!answer) return fail(answer.error());
    if (found_nothing(*answer) && !rest.is_null())
        if (Result<Json> other = query(args_.get("--query"), rest); other && !found_nothing(*other))
            answer = std::move(other);
    show_text(format(*answer, *how, {}, screen_));
    return 0;
}

// JSON and the like have what others wrote as it is: a file gets that, a terminal is not steered by
// it.
void Context::show_text(const std::string& text) {
    if (!terminal_) return out(text);
    TerminalText shown;
    out(shown.show(text) + shown.end());
}

Result<Format> Context::output_format() const {
    return parse_format(args_.get("--output"), terminal_);
}

int Context::fail(const Error& error) {
    end_status();
    std::fputs(error_text(error).c_str(), stderr);
    return exit_code_of(error.code);
}

std::vector<Option> options_of(const resources::Description& description) {
    std::vector<Option> options;
    for (const resources::Field& field : description.fields) {
        if (field.kind == resources::Kind::Object)
            for (Option& option : options_of(*field.object)) options.push_back(std::move(option));
        if (field.flag.empty()) continue;
        const std::string brief = field.flag == "--name"            ? "-n"
                                  : field.flag == "--endpoint-name" ? "-e"
                                  : field.flag == "--version"       ? "-v"
                                  : field.flag == "--path"          ? "-p"
                                  : field.flag == "--type"          ? "-t"
                                  : field.flag == "--location"      ? "-l"
                                  : field.flag == "--image"         ? "-i"
                                  : field.flag == "--conda-file"    ? "-c"
                                  : field.flag == "--description"   ? "-d"
                                                                    : "";
        std::vector<std::string> values;
        for (const resources::Choice& choice : field.choices)
            if (choice.refused.empty()) values.push_back(choice.yaml);
        options.push_back({field.flag, brief, "VALUE", field.help, false, std::move(values)});
    }
    return options;
}

namespace {
// a.b[0].c, and a.0 as az writes it. Names of tags and properties may hold points themselves.
std::vector<std::string> parts_of_key(const std::string& path) {
    for (const std::string_view group : {"tags", "properties"})
        if (path.starts_with(group) && path.size() > group.size() + 1 && path[group.size()] == '.')
            return {std::string(group), path.substr(group.size() + 1)};
    std::vector<std::string> parts;
    std::string part;
    for (const char c : path) {
        if (c == '.' || c == '[' || c == ']') {
            if (!part.empty()) parts.push_back(std::exchange(part, {}));
        } else {
            part += c;
        }
    }
    if (!part.empty()) parts.push_back(part);
    return parts;
}
}  // namespace

Result<void> apply_set(YamlDocument& document, const std::string& assignment) {
    const std::size_t equals = assignment.find('=');
    const auto refuse = [&](const std::string& why) {
        return invalid("--set " + assignment + ": " + why, "--set");
    };
    if (equals == std::string::npos || equals == 0)
        return refuse("expected KEY=VALUE, such as resources.shm_size=2g");
    std::string value_text = assignment.substr(equals + 1);
    Json value;
    std::map<std::string, std::string> written;
    if (!value_text.empty() && (value_text[0] == '{' || value_text[0] == '[' ||
                                value_text[0] == '"' || value_text[0] == '\'')) {
        Result<YamlDocument> parsed = parse_yaml(value_text, "--set");
        if (!parsed) return refuse(parsed.error().message);
        value = std::move(parsed->value);
        written = std::move(parsed->written);
    } else {
        value = yaml_scalar(value_text);
        if (!value.is_string() && !value.is_null()) written.emplace("", value_text);
    }
    const std::string path = assignment.substr(0, equals);
    const std::vector<std::string> parts = parts_of_key(path);
    if (parts.empty()) return refuse("expected a key before '='");
    Json* here = &document.value;
    std::string pointer;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const bool last = i + 1 == parts.size();
        const std::string& key = parts[i];
        pointer = pointer_to(pointer, key);
        if (here->is_array()) {
            const Json number = yaml_scalar(key);
            const std::size_t size = here->items().size();
            if (!number.is_int() || number.as_int() < 0 ||
                static_cast<std::size_t>(number.as_int()) > size)
                return refuse("'" + key + "' is not an index of a list of " + std::to_string(size));
            const std::size_t index = static_cast<std::size_t>(number.as_int());
            if (index == size) here->push(Json());
            here = &here->items()[index];
        } else {
            if (here->is_null()) *here = Json::object();
            if (!here->is_object())
                return refuse("'" + dotted(parent_of(pointer)) + "' is " + here->dump() +
                              ", which has no '" + key + "'");
            here = &(*here)[key];
        }
        if (last) *here = value;
    }
    const auto erase_beneath = [&](auto& map) {
        for (auto it = map.lower_bound(pointer); it != map.end() && it->first.starts_with(pointer);)
            it = it->first.size() == pointer.size() || it->first[pointer.size()] == '/'
                     ? map.erase(it)
                     : std::next(it);
    };
    erase_beneath(document.written);
    erase_beneath(document.marks);
    erase_beneath(document.overrides);
    for (const auto& [beneath, text] : written)
        document.written.insert_or_assign(pointer + beneath, text);
    document.overrides.insert_or_assign(pointer, "--set " + path);
    return {};
}

namespace {
// A job's folder stands for its job.yml.
Result<std::string> file_within(const std::string& path, std::string_view kind) {
    const auto is = client::local_files("/").kind;
    if (is(path) == resources::PathKind::Absent && path.find_first_of("./") == std::string::npos)
        return not_found("there is no file or folder '" + path +
                             "' here (a name goes after an option: `-n " + path + "`)",
                         path);
    if (is(path) != resources::PathKind::Folder) return path;
    if (kind != "job") return invalid("'" + path + "' is a folder: expected a YAML file", path);
    const std::string folder = path.ends_with('/') ? path : path + "/";
    for (const char* const name : {"job.yml", "job.yaml"})
        if (is(folder + name) != resources::PathKind::Absent) return folder + name;
    return not_found("the folder '" + path + "' has no job.yml", path);
}
}  // namespace

Result<Loaded> load(Context& context, std::string_view kind) {
    Loaded loaded;
    std::string folder = client::current_folder();
    const Arguments& args = context.args();
    if (args.has("--file")) {
        std::string file = args.get("--file");
        std::string text;
        if (file == "-") {
            text.assign(std::istreambuf_iterator<char>(std::cin), {});
        } else {
            file = TURNOUT_TRY(file_within(file, kind));
            text = TURNOUT_TRY(client::read_file(file));
            folder = client::folder_of(client::absolute_path(file));
        }
        loaded.document = TURNOUT_TRY(parse_yaml(text, file == "-" ? "stdin" : file));
    } else {
        loaded.document.file = "the command line";
        loaded.document.value = Json::object();
    }
    YamlDocument& document = loaded.document;
    // `object`: the key of the mapping that it is in, "" for none.
    const auto put = [&](const std::string& object, const std::string& key, const std::string& text,
                         const std::string& option) {
        const std::string within = object.empty() ? "" : pointer_to("", object);
        const std::string pointer = pointer_to(within, key);
        if (document.value.is_null()) document.value = Json::object();
        if (!document.value.is_object()) return;
        Json& into = object.empty() ? document.value : document.value[object];
        if (into.is_null()) into = Json::object();
        if (!into.is_object()) return;
        Json value = yaml_scalar(text);
        // Paths on the command line begin where the user is.
        const bool path = key == "path" || key == "conda_file" || key == "ssh_private_key_file";
        if (path && !resources::is_remote_path(text) && !text.starts_with("azureml:"))
            value = Json(client::absolute_path(text));
        document.written.erase(pointer);
        if (!value.is_string()) document.written.insert_or_assign(pointer, text);
        into.set(key, std::move(value));
        document.marks.erase(pointer);
        document.overrides.insert_or_assign(pointer, option);
    };
    // `--type` decides which description it is, so flags come first.
    for (const resources::Description* description : resources::all_descriptions()) {
        if (description->kind != kind) continue;
        for (const resources::Field& field : description->fields) {
            if (!field.flag.empty() && args.has(field.flag))
                put("", field.yaml, args.get(field.flag), field.flag);
            if (field.kind != resources::Kind::Object) continue;
            for (const resources::Field& inner : field.object->fields)
                if (!inner.flag.empty() && args.has(inner.flag))
                    put(field.yaml, inner.yaml, args.get(inner.flag), inner.flag);
        }
    }
    for (const std::string& assignment : args.all("--set"))
        if (Result<void> applied = apply_set(document, assignment); !applied)
            return Failure(applied.error());
    if (!args.has("--file") && document.value.members().empty())
        return invalid("what to create? give a YAML file with -f FILE" +
                           std::string(kind == "job" ? "" : ", or options (see --help)"),
                       "--file");
    if (!args.has("--file") && kind == "compute" && !document.value.has("type"))
        put("", "type", args.command->words[1] == "attach" ? "virtualmachine" : "amlcompute",
            "--type");
    return checked(std::move(document), kind, folder);
}

Result<Loaded> checked(YamlDocument document, std::string_view kind, const std::string& folder) {
    Loaded loaded;
    loaded.document = std::move(document);
    loaded.description = TURNOUT_TRY(resources::description_for(kind, loaded.document));
    const resources::LocalFiles files = client::local_files(folder);
    resources::Reading reading(loaded.document, files);
    resources::check(*loaded.description, reading);
    if (Result<void> good = resources::result_of(reading); !good) return Failure(good.error());
    loaded.local = std::move(reading.local);
    loaded.references = std::move(reading.references);
    loaded.inline_environments = std::move(reading.inline_environments);
    loaded.inline_models = std::move(reading.inline_models);
    return loaded;
}

Result<void> prepare(Context& context, Loaded& loaded) {
    client::Api& api = *TURNOUT_TRY(context.api());
    Json& value = loaded.document.value;
    for (const resources::LocalPath& local : loaded.local) {
        const std::string what = "uploading " + client::base_name(local.path);
        bool uploaded = false;
        std::string where;
        switch (local.role) {
            case resources::LocalPath::Role::Code:
                where = TURNOUT_TRY(api.upload_code(local.path, context.bar(what), uploaded));
                break;
            case resources::LocalPath::Role::BuildContext:
                where = TURNOUT_TRY(api.upload_context(local.path, context.bar(what), uploaded));
                break;
            default:
                where = TURNOUT_TRY(api.upload_data(local.path, context.bar(what), uploaded));
                break;
        }
        context.end_status();
        context.note((uploaded ? "uploaded " : "unchanged ") + client::base_name(local.path));
        *part_at(value, local.pointer) = Json(where);
    }
    for (const resources::Reference& reference : loaded.references) {
        const resources::AssetName name = TURNOUT_TRY(resources::parse_asset_name(reference.text));
        // Curated environments' labels are the server's to resolve.
        if (name.label.empty() ||
            (reference.kind == "environments" && name.name.starts_with("AzureML-")))
            continue;
        if (name.label != "latest")
            return invalid(loaded.document.place(reference.pointer) + ": " +
                           dotted(reference.pointer) + ": the only label is 'latest', found '" +
                           name.label + "'");
        const Result<Json> versions = api.list(
            api.in_workspace(
                "/" + reference.kind + "/" + percent_encode(name.name) +
                "/versions?listViewType=ActiveOnly&%24orderBy=createdtime%20desc&%24top=1"),
            1);
        if (!versions || versions->items().empty()) {
            if (!versions && versions.error().code != Code::NotFound)
                return Failure(versions.error());
            // The server knows the curated ones too, and names what there is.
            if (reference.kind == "environments") continue;
            return not_found(loaded.document.place(reference.pointer) + ": " +
                             (versions ? dotted(reference.pointer) + ": every version of '" +
                                             name.name + "' is archived"
                                       : versions.error().message));
        }
        *part_at(value, reference.pointer) = versions->items()[0].at("id");
    }
    const resources::Scope scope{api.settings().workspace_path()};
    for (const std::string& pointer : loaded.inline_environments) {
        Json body = resources::to_rest(resources::environment(), loaded.document, pointer, scope);
        resources::set_path(body, "properties.isAnonymous", true);
        const std::string version = to_hex(sha256(body.dump()));
        const Json made = TURNOUT_TRY(api.put(
            api.in_workspace("/environments/CliV2AnonymousEnvironment/versions/" + version), body));
        *part_at(value, pointer) = made.at("id");
    }
    // As the SDK does: a model that is defined in place is registered without a name.
    for (const std::string& pointer : loaded.inline_models) {
        Json body = resources::to_rest(resources::model_asset(), loaded.document, pointer, scope);
        resources::set_path(body, "properties.isAnonymous", true);
        const std::string name = "anonymous-" + to_hex(sha256(body.dump())).substr(0, 32);
        const Json made =
            TURNOUT_TRY(api.put(api.in_workspace("/models/" + name + "/versions/1"), body));
        *part_at(value, pointer) = made.at("id");
    }
    return {};
}

}  // namespace turnout::cli

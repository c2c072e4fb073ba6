#include "agent/work.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "agent/cache.h"
#include "agent/launch.h"
#include "agent/layer.h"
#include "agent/prefill.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"

namespace turnout::agent {
namespace {

using agent_protocol::BlobFolder;
using agent_protocol::TaskInput;
using agent_protocol::TaskOutput;

constexpr std::size_t kParallel = 8;
constexpr std::string_view kShell = "/bin/bash";
constexpr std::size_t kMaxOutputs = 200'000;
constexpr int kTriesFullDisk = 12;  // a minute
constexpr std::string_view kUnreadable = "OutputUnreadable";

std::string without_slash(std::string text) {
    while (text.ends_with('/')) text.pop_back();
    return text;
}

Failure not_wanted() {
    return fail(Code::Canceled, "Canceled", "no longer wanted");
}

std::string building_name(const Work& work, std::string_view what) {
    return "building-" + std::to_string(getpid()) + "-" + attempt_folder_name(work.id) + "-" +
           std::string(what);
}

Task<Result<void>> copy_in_pool(Loop& loop, std::string from, std::string to, bool folder) {
    auto result = std::make_shared<Result<void>>();  // shared with the pool's thread
    std::function<void()> copy = [=] {
        *result = folder ? copy_tree(from, to) : copy_file(from, to);
    };
    co_await blocking(loop, std::move(copy));
    co_return *result;
}

bool is_folder(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// One try to have the input's blobs as files; the path that the command gets.
Task<Result<std::string>> fetch_blobs(Server& server, std::string cache, WorkPtr work,
                                      TaskInput input) {
    const BlobFolder& from = *input.blobs;
    TURNOUT_CO_TRY(auto blobs,
                   co_await server.list(from.container, from.prefix, work->task.run_token));
    if (blobs.empty())
        co_return not_found("input '" + input.name + "' has no data: there is nothing in '" +
                                from.container + "/" + from.prefix + "'",
                            input.name);
    std::sort(blobs.begin(), blobs.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    std::string definition = from.container + "\n" + from.prefix + "\n";
    for (const auto& blob : blobs)
        definition += blob.name + "\n" + blob.etag + "\n" + std::to_string(blob.size) + "\n";
    std::string folder = cache + "/inputs/" + to_hex(sha256(definition));
    std::string prefix = without_slash(from.prefix);
    bool single = blobs.size() == 1 && blobs[0].name == prefix;
    if (!is_cached(folder)) {
        std::string building = cache + "/inputs/" + building_name(*work, input.name.substr(0, 64));
        remove_tree(building);
        TURNOUT_CO_TRY_VOID(make_folders(building, 0755));
        std::vector<Task<Result<void>>> fetches;
        for (const auto& blob : blobs) {
            std::string relative = blob.name == prefix
                                       ? prefix.substr(prefix.rfind('/') + 1)
                                       : blob.name.substr(prefix.empty() ? 0 : prefix.size() + 1);
            if (relative.empty() || relative.ends_with('/'))
                continue;  // a marker of an empty folder
            fetches.push_back(server.get_blob(from.container, blob.name, building, relative,
                                              work->task.run_token));
        }
        TURNOUT_CO_TRY_VOID(co_await in_parallel(std::move(fetches), kParallel));
        make_read_only(building);
        chmod(building.c_str(), 0755);  // until it is renamed
        TURNOUT_CO_TRY_VOID(put_in_cache(building, folder));
        chmod(folder.c_str(), 0555);
    }
    co_return single ? folder + "/" + prefix.substr(prefix.rfind('/') + 1) : folder;
}

Task<Result<std::string>> fetch_input(Server& server, std::string cache, WorkPtr work,
                                      TaskInput input) {
    if (input.type == "literal") co_return input.literal;
    if (input.mode == "direct" && !input.local_path) co_return input.uri;
    bool copy =
        input.mode == "download" || input.mode == "rw_mount" || input.mode == "eval_download";
    std::string source;
    if (input.local_path) {
        source = *input.local_path;
        if (!exists(source))
            co_return not_found(
                "input '" + input.name + "' does not exist on this node: '" + source + "'",
                input.name);
        if (input.mode == "rw_mount") copy = false;
    } else if (input.blobs) {
        TURNOUT_CO_TRY(source, co_await fetch_blobs(server, cache, work, input));
        // The cache's permissions keep a task from changing what others read, but they do not bind
        // root.
        if (geteuid() == 0) copy = true;
    } else {
        co_return input.uri.empty()
            ? Result<std::string>(
                  Failure(not_found("input '" + input.name + "' has no data", input.name).error()))
            : Result<std::string>(input.uri);
    }
    if (!copy) co_return source;
    if (!work->wanted) co_return not_wanted();
    std::string folder = work->folder + "/inputs/" + input.name;
    remove_tree(folder);
    bool whole = is_folder(source);
    TURNOUT_CO_TRY_VOID(make_folders(whole ? folder : folder + "/", 0755));
    std::string target = whole ? folder : folder + "/" + source.substr(source.rfind('/') + 1);
    TURNOUT_CO_TRY_VOID(co_await copy_in_pool(server.loop(), source, target, whole));
    co_return target;
}

struct Upload {
    std::string path, container, blob;
    FileEntry file;
};

// What is in the folders of the attempt's outputs, by folder.
struct Listing {
    std::vector<FileEntry> files;
    LeftOut left;
};
using Listings = std::map<std::string, Listing>;

std::vector<std::string> folders_of_outputs(const Work& work) {
    std::vector<std::string> folders;
    if (!work.task.artifacts.container.empty())
        for (const char* name : {"/outputs", "/logs"}) folders.push_back(work.work() + name);
    for (const auto& output : work.task.outputs)
        if (!output.target.container.empty()) folders.push_back(output_path(work, output));
    return folders;
}

// Files of the attempt that are not uploaded as they are now.
std::vector<Upload> changes(Work& work, Listings& listings) {
    std::vector<Upload> uploads;
    if (!std::exchange(work.remembered, true)) remember_prefilled(work);
    work.left_out.clear();
    // What can be uploaded of a folder; the rest is noted.
    auto files_of = [&](const std::string& folder) {
        auto& [files, left] = listings[folder];
        for (const auto& link : left.links) work.left_out.insert(folder + "/" + link);
        if (left.more) work.left_out.insert(folder + "/...");
        return std::exchange(files, {});
    };
    auto add = [&](const std::string& path, const std::string& container, const std::string& blob,
                   const FileEntry& file) {
        // A name that is no path for the server cannot be a blob, and a terabyte of holes is none
        // of bytes.
        if (file.sparse || !checked_relative_path(blob, "name of an output")) {
            work.left_out.insert(path);
            return;
        }
        auto known = work.uploaded.find(path);
        if (known != work.uploaded.end() && known->second.size == file.size &&
            known->second.modified_ns == file.modified_ns && known->second.inode == file.inode)
            return;
        uploads.push_back({path, container, blob, file});
    };
    if (!work.task.artifacts.container.empty())
        for (std::string name : {"outputs", "logs"}) {
            std::string folder = work.work() + "/" + name;
            for (const auto& file : files_of(folder))
                add(folder + "/" + file.path, work.task.artifacts.container,
                    joined(work.task.artifacts.prefix, name + "/" + file.path), file);
        }
    for (const auto& output : work.task.outputs) {
        if (output.target.container.empty()) continue;
        std::string path = output_path(work, output);
        struct stat st;
        if (lstat(path.c_str(), &st) != 0) {
            if (work.finishing) work.left_out.insert(path);
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            for (const auto& file : files_of(path))
                add(path + "/" + file.path, output.target.container,
                    joined(output.target.prefix, file.path), file);
        } else if (S_ISREG(st.st_mode)) {
            FileEntry file{output.name, static_cast<std::uint64_t>(st.st_size),
                           std::int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec,
                           st.st_ino,
                           is_sparse(static_cast<std::uint64_t>(st.st_size),
                                     static_cast<std::uint64_t>(st.st_blocks))};
            add(path, output.target.container, blob_of_file(output), file);
        }
    }
    return uploads;
}

// See Server::put_blob.
std::string writer_of(const Work& work) {
    return work.task.node_count > 1
               ? percent_encode(task_name(work.id), "/") + "/" + std::to_string(work.task.rank)
               : "";
}

Task<Result<void>> upload_one(Server& server, WorkPtr work, Upload upload) {
    if (!work->wanted) co_return not_wanted();
    auto put = co_await server.put_blob(upload.container, upload.blob, upload.path, work->folder,
                                        upload.file.size, work->task.run_token, writer_of(*work));
    if (put) {
        work->uploaded[upload.path] = upload.file;
    } else if (put.error().reason == "FileError" && put.error().code == Code::NotFound) {
        work->left_out.insert(upload.path);  // removed meanwhile
        co_return Result<void>();
    } else if (put.error().reason == "FileError" && put.error().code == Code::PermissionDenied) {
        const std::string name =
            upload.path.substr(std::min(upload.path.size(), work->folder.size() + 1));
        co_return fail(Code::InvalidArgument, std::string(kUnreadable),
                       "'" + name + "' cannot be read: the command took the permission away", name);
    }
    co_return put;
}

// Names what was left out, so that nobody looks for it in vain. The command is over: its log has
// ended.
Task<Result<void>> tell_left_out(Server& server, WorkPtr work) {
    constexpr std::size_t kTold = 1000;
    if (work->left_out.empty() || work->task.artifacts.container.empty()) co_return Result<void>();
    std::string text =
        "Not uploaded: links to folders or to what is not the job's own, files of a gigabyte and "
        "more that are nearly all holes, "
        "what was not there (any more), and names with backslashes, "
        "control characters or bytes that are not UTF-8. A name that ends in /... is a folder of "
        "which not\n"
        "everything was uploaded: it has more than " +
        std::to_string(kMaxOutputs) + " files, or some that cannot be read.\n";
    std::size_t told = 0;
    for (const std::string& path : work->left_out) {
        if (told++ == kTold) break;
        std::string name = path.substr(std::min(path.size(), work->folder.size() + 1));
        for (char& c : name)
            if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f)
                c = '?';
        text += name + "\n";
    }
    if (work->left_out.size() > kTold)
        text += "and " + std::to_string(work->left_out.size() - kTold) + " more\n";
    std::string path = work->folder + "/not_uploaded.txt";
    remove_tree(path + ".new");  // the command could have put a link there
    TURNOUT_CO_TRY_VOID(write_file(path, text));
    co_return co_await server.put_blob(
        work->task.artifacts.container,
        joined(work->task.artifacts.prefix, "system_logs/not_uploaded.txt"), path, work->folder,
        text.size(), work->task.run_token, writer_of(*work));
}

// A variable that cannot reach a process as it is would be a surprise later.
// Environment variables as a list of NAME=value. There are some tens, and each task has a list of
// its own: a list that is searched costs less than a tree that is built.
class Variables {
public:
    explicit Variables(std::vector<std::string>& list) : list_(list) {}
    // What cannot be a variable is left out.
    void set(std::string_view name, std::string_view value) {
        if (name.empty() ||
            name.find_first_of(std::string_view("=\0", 2)) != std::string_view::npos ||
            value.find('\0') != std::string_view::npos)
            return;
        std::string* item = find(name);
        if (!item) item = &list_.emplace_back();
        item->clear();
        item->reserve(name.size() + 1 + value.size());
        item->append(name).append(1, '=').append(value);
    }
    // Valid until the next `set`.
    std::optional<std::string_view> get(std::string_view name) const {
        const std::string* item = find(name);
        if (!item) return std::nullopt;
        return std::string_view(*item).substr(name.size() + 1);
    }

private:
    std::string* find(std::string_view name) const {
        for (std::string& item : list_)
            if (item.size() > name.size() && item[name.size()] == '=' && item.starts_with(name))
                return &item;
        return nullptr;
    }
    std::vector<std::string>& list_;
};

// A folder with `python` and `python3` that lead to an interpreter that the user named.
std::string folder_for(const AgentSettings& settings, const std::string& interpreter) {
    std::string folder =
        settings.folder + "/interpreters/" + to_hex(sha256(interpreter)).substr(0, 12);
    if (exists(folder + "/python")) return folder;
    if (!make_folders(folder, 0755)) return "";
    for (const char* name : {"/python3", "/python"})
        if (symlink(interpreter.c_str(), (folder + name).c_str()) != 0 && errno != EEXIST)
            return "";
    return folder;
}

}  // namespace

std::string output_path(const Work& work, const TaskOutput& output) {
    return work.folder + "/named/" + output.name;
}

std::string joined(const std::string& prefix, const std::string& name) {
    std::string base = without_slash(prefix);
    return base.empty() ? name : base + "/" + name;
}

std::string blob_of_file(const TaskOutput& output) {
    const std::string& prefix = output.target.prefix;
    return prefix.empty() || prefix.ends_with('/') ? joined(prefix, output.name) : prefix;
}

bool allowed_variable(std::string_view name) {
    static constexpr std::array kExact = {"PATH",
                                          "HOME",
                                          "USER",
                                          "LOGNAME",
                                          "LANG",
                                          "LANGUAGE",
                                          "TZ",
                                          "SHELL",
                                          "http_proxy",
                                          "https_proxy",
                                          "no_proxy",
                                          "all_proxy",
                                          "HTTP_PROXY",
                                          "HTTPS_PROXY",
                                          "NO_PROXY",
                                          "ALL_PROXY",
                                          "SSL_CERT_FILE",
                                          "SSL_CERT_DIR",
                                          "REQUESTS_CA_BUNDLE",
                                          "CURL_CA_BUNDLE",
                                          "TURNOUT_UV"};
    for (const char* exact : kExact)
        if (name == exact) return true;
    return name.starts_with("LC_") || name.starts_with("PIP_") || name.starts_with("UV_");
}

std::string attempt_folder_name(const AttemptId& id) {
    bool plain = id.job.size() <= 100 && !id.job.empty() && id.job[0] != '.' &&
                 id.job.find_first_not_of(
                     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
                     std::string::npos;
    std::string name = plain ? id.job : to_hex(sha256(id.job)).substr(0, 32);
    return name + "." + to_hex(sha256(id.workspace)).substr(0, 6) + "." +
           std::to_string(id.attempt);
}

Task<Result<void>> fetch_snapshot(Server& server, const AgentSettings& settings, WorkPtr work) {
    if (!work->own) {
        // What an earlier, interrupted try left is not trusted. Its build log stays: it is shipped.
        for (const char* name : {"/work", "/inputs", "/named", "/tmp", "/values.json"})
            remove_tree(work->folder + name);
        TURNOUT_CO_TRY_VOID(make_folders(work->work(), 0755));
    }
    if (!work->task.code) co_return Result<void>();
    BlobFolder code = *work->task.code;
    const std::string& hash = work->task.code_hash;
    bool cacheable = !hash.empty() && hash.find('/') == std::string::npos && hash[0] != '.';
    std::string kept = settings.cache + "/snapshots/" + hash;
    Backoff backoff(server.loop(), 100ms, 10s);
    while (!cacheable || !is_cached(kept)) {
        if (!work->wanted) co_return not_wanted();
        std::string target = cacheable
                                 ? settings.cache + "/snapshots/" + building_name(*work, "code")
                                 : work->work();
        remove_tree(target);
        TURNOUT_CO_TRY_VOID(make_folders(target, 0755));
        auto got =
            co_await server.get_tar(code.container, code.prefix, target, work->task.run_token);
        if (got && !cacheable) co_return got;
        if (got) {
            TURNOUT_CO_TRY_VOID(put_in_cache(target, kept));
            break;
        }
        remove_tree(target);
        if (got.error().code != Code::Unavailable) {
            Error error = got.error();
            error.message = "the code snapshot could not be fetched: " + error.message;
            co_return Failure(std::move(error));
        }
        co_await backoff.wait();
    }
    if (!work->wanted) co_return not_wanted();
    co_return co_await copy_in_pool(server.loop(), kept, work->work(), true);
}

Task<Result<void>> fetch_inputs(Server& server, const AgentSettings& settings, WorkPtr work) {
    if (work->task.prefill_outputs) {
        Backoff again(server.loop(), 100ms, 10s);
        for (;;) {
            auto prefilled = co_await prefill_outputs(server, work);
            if (prefilled) break;
            if (prefilled.error().code != Code::Unavailable) {
                Error error = prefilled.error();
                error.message =
                    "the outputs of the earlier attempt could not be fetched: " + error.message;
                co_return Failure(std::move(error));
            }
            if (!work->wanted) co_return not_wanted();
            co_await again.wait();
        }
    }
    Substitutions values;
    for (std::size_t i = 0; i < work->task.inputs.size(); ++i) {
        TaskInput input = work->task.inputs[i];
        if (!checked_relative_path(input.name, "input") ||
            input.name.find('/') != std::string::npos)
            co_return invalid("'" + input.name + "' cannot be the name of an input", input.name);
        Backoff backoff(server.loop(), 100ms, 10s);
        for (;;) {
            if (!work->wanted) co_return not_wanted();
            auto value = co_await fetch_input(server, settings.cache, work, input);
            if (value) {
                values.inputs[input.name] = std::move(*value);
                break;
            }
            if (value.error().code != Code::Unavailable) {
                Error error = value.error();
                if (error.message.find("'" + input.name + "'") == std::string::npos)
                    error.message = "input '" + input.name + "': " + error.message;
                co_return Failure(std::move(error));
            }
            co_await backoff.wait();
        }
    }
    if (!values.inputs.empty()) {
        Json inputs = Json::object();
        for (const auto& [name, value] : values.inputs) inputs.set(name, value);
        TURNOUT_CO_TRY_VOID(write_file(work->folder + "/values.json", inputs.dump()));
    }
    work->values = std::move(values);
    work->values_known = true;
    // A placeholder without a value is told before the command is begun.
    TURNOUT_CO_TRY_VOID(find_values(settings, *work));
    auto command = invocation(work->task.command, work->values, kShell);
    if (!command) co_return Failure(command.error());
    co_return Result<void>();
}

Result<void> find_values(const AgentSettings&, Work& work) {
    if (!work.values_known) {
        if (auto text = read_file(work.folder + "/values.json"))
            for (const auto& [name, value] : TURNOUT_TRY(parse_json(*text)).members())
                work.values.inputs[name] = value.as_string();
        work.values_known = true;
    }
    for (const auto& output : work.task.outputs) {
        if (!checked_relative_path(output.name, "output") ||
            output.name.find('/') != std::string::npos)
            return invalid("'" + output.name + "' cannot be the name of an output", output.name);
        work.values.outputs[output.name] = output_path(work, output);
    }
    for (const auto& [name, value] : work.task.parameters) work.values.search_space[name] = value;
    return {};
}

std::string path_begin(const AgentSettings& settings, const environment::Prepared& prepared,
                       bool named) {
    if (prepared.bin.empty()) return "";
    std::string path = prepared.bin + ":";
    if (!prepared.folder.empty() && geteuid() == 0) return path;  // see has_overlay
    const std::string folder =
        named ? folder_for(settings, prepared.interpreter) : layer_programs(settings, prepared);
    return folder.empty() ? path : folder + ":" + path;
}

Result<StartRequest> start_request(const AgentSettings& settings, Work& work,
                                   const MlflowAddress& mlflow, std::string preamble) {
    TURNOUT_TRY(find_values(settings, work));
    const TaskSpec& task = work.task;
    Invocation command = TURNOUT_TRY(
        invocation(task.command, work.values, exists(std::string(kShell)) ? kShell : "sh"));
    if (!work.own || task.code) {
        for (const char* name : {"/outputs", "/logs"})
            TURNOUT_TRY(make_folders(work.work() + name, 0755));
        TURNOUT_TRY(make_folders(work.folder + "/tmp", 0700));
    }
    for (const auto& output : task.outputs)
        TURNOUT_TRY(make_folders(
            output.type == "uri_file" ? work.folder + "/named" : output_path(work, output), 0755));

    StartRequest request;
    request.environment.reserve(settings.environment.size() + task.environment.variables.size() +
                                task.variables.size() + 24);
    request.id = work.id;
    request.cwd = work.work();
    request.memory_limit = task.memory_limit_bytes;
    request.time_limit = task.timeout;
    request.grace = kTimeoutGrace;
    request.preamble = std::move(preamble);
    request.argv = std::move(command.argv);
    if (!command.script.empty()) {
        TURNOUT_TRY(write_file(work.folder + "/command.sh", command.script));
        request.argv.push_back(work.folder + "/command.sh");
    }

    // Later ones win: the machine's, the environment's, Azure ML's and the job's, then what must
    // hold.
    Variables variables(request.environment);
    for (const auto& item : settings.environment) {
        const auto equals = item.find('=');
        const std::string_view name = std::string_view(item).substr(0, equals);
        if (equals != std::string::npos && name != "TURNOUT_UV")
            variables.set(name, std::string_view(item).substr(equals + 1));
    }
    const std::string& job = work.id.job;
    variables.set("PYTHONUNBUFFERED", "1");
    variables.set("AZUREML_RUN_ID", job);
    variables.set("AZUREML_ROOT_RUN_ID", job);
    for (const auto& [name, value] : task.environment.variables) variables.set(name, value);
    for (const auto& [name, value] : task.variables) variables.set(name, value);
    for (const auto& [name, value] : work.values.inputs)
        variables.set("AZURE_ML_INPUT_" + name, value);
    for (const auto& [name, value] : work.values.outputs)
        variables.set("AZURE_ML_OUTPUT_" + name, value);
    if (!mlflow.origin.empty() && !task.mlflow_path.empty()) {
        std::string path = task.mlflow_path;
        while (path.starts_with('/')) path.erase(0, 1);
        variables.set("MLFLOW_TRACKING_URI", mlflow.origin + "/" + without_slash(path));
        variables.set("MLFLOW_TRACKING_TOKEN", task.run_token.reveal());
        variables.set("MLFLOW_RUN_ID", job);
        if (!task.mlflow_experiment_id.empty())
            variables.set("MLFLOW_EXPERIMENT_ID", task.mlflow_experiment_id);
        variables.set("MLFLOW_DISABLE_TELEMETRY", "true");
        // The page that it would name is behind the listener, which ends with the job.
        if (!variables.get("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"))
            variables.set("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true");
        // The listener is on this machine, whatever proxy leads out of it.
        for (const char* name : {"no_proxy", "NO_PROXY"}) {
            const std::string list(variables.get(name).value_or(""));
            variables.set(name, list + (list.empty() ? "" : ",") + "127.0.0.1,localhost");
        }
    }
    variables.set("TMPDIR", work.folder + "/tmp");
    // The supervisor knows its tasks' processes by these.
    variables.set("TURNOUT_ATTEMPT", task_name(work.id));
    variables.set("TURNOUT_NODE_FOLDER", settings.folder);
    std::string path(variables.get("PATH").value_or("/usr/local/bin:/usr/bin:/bin"));
    if (work.prepared && !work.prepared->bin.empty()) {
        const bool named = !task.environment.interpreter.empty();
        const std::string rest = path;
        path = (work.path_begin ? *work.path_begin : path_begin(settings, *work.prepared, named)) +
               rest;
        if (!named) variables.set("TURNOUT_LAYER", layer_of(work));
        if (has_overlay(work)) {
            variables.set("VIRTUAL_ENV", work.prepared->folder);
            // For a node that turns out to have no overlays; see supervisor/launch.c.
            variables.set(
                "TURNOUT_LAYER_PATH",
                layer_of(work) + "/bin:" + layer_programs(settings, *work.prepared) + ":" + path);
        } else if (!named) {
            path = layer_of(work) + "/bin:" + path;
        }
    }
    variables.set("PATH", path);
    TURNOUT_TRY(wrap_command(settings, work, request));
    return request;
}

Task<Result<void>> upload_changes(Server& server, WorkPtr work) {
    // Of 200,000 links each is followed: that is not done on the loop.
    auto listings = std::make_shared<Listings>();  // shared with the pool's thread
    std::function<void()> list = [listings, folders = folders_of_outputs(*work),
                                  inside = work->folder] {
        for (const auto& folder : folders) {
            Listing& found = (*listings)[folder];
            found.files = list_files(folder, inside, kMaxOutputs, &found.left);
        }
    };
    co_await blocking(server.loop(), std::move(list));
    if (!work->wanted) co_return not_wanted();
    std::vector<Task<Result<void>>> tasks;
    for (auto& upload : changes(*work, *listings))
        tasks.push_back(upload_one(server, work, std::move(upload)));
    if (tasks.empty()) co_return Result<void>();
    co_return co_await in_parallel(std::move(tasks), kParallel);
}

Task<Result<void>> ship_outputs(Server& server, WorkPtr work) {
    work->finishing = true;
    work->untouched = work->own && work->own->untouched();
    if (work->untouched) co_return Result<void>();
    while (work->shipping) co_await server.loop().sleep(5ms);
    work->shipping = true;
    Backoff backoff(server.loop(), 100ms, 10s);
    Result<void> result;
    for (int full = 0;;) {
        if (!work->wanted || work->abandoned) {
            result = not_wanted();
            break;
        }
        result = co_await upload_changes(server, work);
        if (result) result = co_await tell_left_out(server, work);
        if (result || result.error().code != Code::Unavailable) break;
        if (result.error().reason == "DiskFull" && ++full == kTriesFullDisk) break;
        co_await backoff.wait();
    }
    work->shipping = false;
    if (!result && work->wanted) {
        Error error = result.error();
        error.message = "the outputs could not be uploaded: " + error.message;
        if (error.reason != kUnreadable) error.code = Code::Internal;
        co_return Failure(std::move(error));
    }
    co_return result;
}

}  // namespace turnout::agent

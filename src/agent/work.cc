#include "agent/work.h"

#include "agent/azure.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "agent/cache.h"
#include "agent/launch.h"
#include "agent/layer.h"
#include "agent/prefill.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"
#include "protocol/secret_reference.h"

namespace turnout::agent {
namespace {

using agent_protocol::BlobFolder;
using agent_protocol::TaskOutput;

constexpr std::size_t kFilesAtOnce = 8;
constexpr std::size_t kMaxOutputs = 200'000;
constexpr int kTriesFullDisk = 12;  // a minute
constexpr std::string_view kUnreadable = "OutputUnreadable";
constexpr std::string_view kDiskFull = "DiskFull";

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

// A name for people, from whatever bytes.
std::string shown_name(const Work& work, const std::string& path) {
    std::string name = path.substr(std::min(path.size(), work.folder.size() + 1));
    for (char& c : name)
        if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
    return name;
}

Task<Result<void>> upload_one(Server& server, WorkPtr work, Upload upload, std::string words,
                              Saying say) {
    if (!work->wanted) co_return not_wanted();
    if (say) say(std::move(words));
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
    if (!put && put.error().reason == kDiskFull) {
        Error error = put.error();
        error.message = "the server's disk has no room for '" + shown_name(*work, upload.path) +
                        "' (" + to_size_words(upload.file.size) + ")";
        co_return Failure(std::move(error));
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
        text += shown_name(*work, path) + "\n";
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

// The task's variables with its secrets in them, and the files of those that are wanted as such.
Result<void> set_secrets(const Work& work, Variables& variables, StartRequest& request) {
    std::size_t total = 0;
    for (const auto& secret : work.secrets) {
        total += secret.value.reveal().size();
        request.masked.push_back(secret.value);
    }
    if (total > agent_protocol::kMaxSecretsOfTask)
        return invalid("the job's secrets have " + to_size_words(total) + " together: at most " +
                       to_size_words(agent_protocol::kMaxSecretsOfTask) + " can be given to a job");
    remove_tree(work.secret_files());
    const auto value_of =
        [&](const agent_protocol::SecretReference& reference) -> Result<std::string> {
        const auto found =
            std::ranges::find(work.secrets, reference.name, &agent_protocol::SecretValue::name);
        if (found == work.secrets.end())
            return internal("the node does not have the secret '" + reference.name + "'");
        const std::string& value = found->value.reveal();
        if (!reference.file) {
            if (value.find('\0') == std::string::npos) return value;
            return invalid("the secret '" + reference.name +
                           "' has a NUL byte, which no environment variable can have: give it as "
                           "a file, ${{secrets." +
                           reference.name + ":file}}");
        }
        const std::string path = work.secret_files() + "/" + reference.name;
        TURNOUT_TRY(make_folders(work.secret_files()));
        if (!exists(path)) TURNOUT_TRY(write_file(path, value, 0400));
        return path;
    };
    for (const auto& [name, text] : work.task.variables)
        variables.set(name, TURNOUT_TRY(agent_protocol::put_secrets(text, value_of)));
    return {};
}

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

std::string attempt_folder_name(const AttemptId& id) {
    bool plain = id.job.size() <= 100 && !id.job.empty() && id.job[0] != '.' &&
                 id.job.find_first_not_of(
                     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
                     std::string::npos;
    std::string name = plain ? id.job : to_hex(sha256(id.job)).substr(0, 32);
    return name + "." + to_hex(sha256(id.workspace)).substr(0, 6) + "." +
           std::to_string(id.attempt);
}

std::string without_slash(std::string text) {
    while (text.ends_with('/')) text.pop_back();
    return text;
}

Failure not_wanted() {
    return fail(Code::Canceled, "Canceled", "no longer wanted");
}

std::string building_name(const Work& work, std::string_view what) {
    // Agents that share a cache may have the same number, each in namespaces of its own.
    static const unsigned agent = [] {
        unsigned random = 0;
        (void)!getrandom(&random, sizeof random, 0);
        return random;
    }();
    return "building-" + std::to_string(getpid()) + "-" + std::to_string(agent) + "-" +
           attempt_folder_name(work.id) + "-" + std::string(what);
}

Task<Result<void>> copy_in_pool(Loop& loop, std::string from, std::string to, bool folder) {
    auto result = std::make_shared<Result<void>>();  // shared with the pool's thread
    std::function<void()> copy = [=] {
        *result = folder ? copy_tree(from, to) : copy_file(from, to);
    };
    co_await apart(loop, std::move(copy));
    co_return *result;
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
    while (true) {
        if (!work->wanted) co_return not_wanted();
        if (cacheable) {
            TURNOUT_CO_TRY(const bool cached, use_cached(kept, work->folder));
            if (cached) break;
        }
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
    auto copied = co_await copy_in_pool(server.loop(), kept, work->work(), true);
    if (copied) co_return copied;
    Error error = copied.error();
    error.message = "the code snapshot could not be copied: " + error.message;
    co_return Failure(std::move(error));
}

Result<void> find_values(Work& work) {
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

Result<StartRequest> start_request(const AgentSettings& settings, Work& work, const Doors& doors,
                                   std::string preamble) {
    TURNOUT_TRY(find_values(work));
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
    for (const auto& [name, value] : azure_variables(task, doors)) variables.set(name, value);
    for (const auto& [name, value] : task.environment.variables) variables.set(name, value);
    if (task.secrets.empty())
        for (const auto& [name, value] : task.variables) variables.set(name, value);
    else
        TURNOUT_TRY(set_secrets(work, variables, request));
    for (const auto& [name, value] : work.values.inputs)
        variables.set("AZURE_ML_INPUT_" + name, value);
    for (const auto& [name, value] : work.values.outputs)
        variables.set("AZURE_ML_OUTPUT_" + name, value);
    if (!doors.plain.empty() && !task.mlflow_path.empty()) {
        std::string path = task.mlflow_path;
        while (path.starts_with('/')) path.erase(0, 1);
        variables.set("MLFLOW_TRACKING_URI", doors.plain + "/" + without_slash(path));
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

namespace {

// "uploading outputs, file 3 of 20: outputs/model.bin (1.2 GiB)"
std::string words_of(const Work& work, const Upload& upload, std::size_t number, std::size_t all) {
    return "uploading outputs, file " + std::to_string(number) + " of " + std::to_string(all) +
           ": " + upload.path.substr(std::min(upload.path.size(), work.folder.size() + 1)) + " (" +
           to_size_words(upload.file.size) + ")";
}

}  // namespace

Task<Result<void>> upload_changes(Server& server, WorkPtr work, Saying say) {
    // Of 200,000 links each is followed: that is not done on the loop.
    auto listings = std::make_shared<Listings>();  // shared with the pool's thread
    std::function<void()> list = [listings, folders = folders_of_outputs(*work),
                                  inside = work->folder] {
        for (const auto& folder : folders) {
            Listing& found = (*listings)[folder];
            found.files = list_files(folder, inside, kMaxOutputs, &found.left);
        }
    };
    co_await apart(server.loop(), std::move(list));
    if (!work->wanted) co_return not_wanted();
    std::vector<Upload> uploads = changes(*work, *listings);
    std::function<Task<Result<void>>(std::size_t)> upload = [&](std::size_t i) {
        std::string words = say ? words_of(*work, uploads[i], i + 1, uploads.size()) : "";
        return upload_one(server, work, std::move(uploads[i]), std::move(words), say);
    };
    co_return co_await in_parallel(uploads.size(), std::move(upload), kFilesAtOnce);
}

std::string what_is_missing(const Work& work) {
    if (work.left_out.empty()) return "";
    constexpr std::size_t kNamed = 3;
    std::string text;
    std::size_t named = 0;
    for (const std::string& path : work.left_out) {
        if (named++ == kNamed) break;
        text += (named > 1 ? ", '" : " '") + shown_name(work, path) + "'";
    }
    const std::size_t count = work.left_out.size();
    return std::to_string(count) +
           (count == 1 ? " output was not uploaded:" : " outputs were not uploaded:") + text +
           (count > kNamed ? " and more" : "") +
           (work.task.artifacts.container.empty() ? "" : " (why: system_logs/not_uploaded.txt)");
}

Task<Result<void>> ship_outputs(Server& server, WorkPtr work, Saying say) {
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
        result = co_await upload_changes(server, work, say);
        if (result) result = co_await tell_left_out(server, work);
        if (result || result.error().code != Code::Unavailable) break;
        if (result.error().reason == kDiskFull && ++full == kTriesFullDisk) break;
        co_await backoff.wait();
    }
    work->shipping = false;
    if (!result && work->wanted) {
        Error error = result.error();
        error.message = "the outputs could not be uploaded: " + error.message;
        // Again it would be the same: its outputs do not fit on the server's disk.
        if (error.reason == kDiskFull)
            error.code = Code::InvalidArgument;
        else if (error.reason != kUnreadable)
            error.code = Code::Internal;
        co_return Failure(std::move(error));
    }
    co_return result;
}

}  // namespace turnout::agent

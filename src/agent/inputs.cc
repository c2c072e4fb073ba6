#include "agent/inputs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "agent/cache.h"
#include "agent/prefill.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "io/posix/asio_loop.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"

namespace turnout::agent {
namespace {

using agent_protocol::BlobFolder;
using agent_protocol::TaskInput;

constexpr std::size_t kInputsAtOnce = 8;
constexpr Span kTellEvery = 500ms;
constexpr std::size_t kMaxAnswer = 64 << 10;
constexpr std::uint64_t kSmall = 64 << 10;  // such a blob has no file of its own at the server

bool is_folder(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// Whether commands of root can be kept from writing to a folder: a fact about this machine.
Task<bool> can_close(Loop& loop, const AgentSettings& settings) {
    static std::optional<bool> known;
    if (known) co_return *known;
    auto works = std::make_shared<bool>(false);  // shared with the pool's thread
    std::function<void()> look = [works, program = settings.supervisor,
                                  folder = settings.cache + "/inputs"] {
        SpawnRequest request;
        request.program = program;
        request.arguments = {program, "can-close", folder};
        const auto child = spawn(request);
        int status = -1;
        if (!child) return;
        while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
        }
        *works = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    };
    co_await apart(loop, std::move(look));
    known = *works;
    co_return *known;
}

using Piece = Server::Piece;

// How far an input is on its way from the server, told now and then.
struct Meter {
    std::string name;
    std::uint64_t total = 0;
    Saying tell;
    PosixClock clock{};
    Progress progress{};
    std::uint64_t done = 0;
    Span told{};

    void add(std::size_t bytes) {
        done += bytes;
        const Span now = clock.since_boot();
        if (now - told < kTellEvery) return;
        told = now;
        progress.note(now, done);
        tell("input '" + name + "': coming to the node, " + progress.words(total));
    }
};

// The server brings the input in from outside; where it has put it.
Task<Result<BlobFolder>> fetch_outside(Server& server, WorkPtr work, TaskInput input, Saying tell) {
    while (work->wanted) {
        http::ClientRequest request;
        request.method = "POST";
        request.url = "/turnout/workspaces/" + percent_encode(work->id.workspace) + "/jobs/" +
                      percent_encode(work->id.job) + "/inputs/" + percent_encode(input.name);
        TURNOUT_CO_TRY(auto response,
                       co_await server.ask(std::move(request), work->task.run_token));
        TURNOUT_CO_TRY(const auto text, co_await response.body->all(kMaxAnswer));
        TURNOUT_CO_TRY(const Json answer, parse_json(text));
        const std::string_view state = answer.at("state").as_view();
        if (state == "ready")
            co_return BlobFolder{answer.at("container").as_string(),
                                 answer.at("prefix").as_string()};
        if (state == "failed") {
            // What may pass was tried many times there: now the attempt gives its place to others,
            // and the next one begins anew.
            const std::string_view code = answer.at("code").as_view();
            const bool theirs =
                code != name_of(Code::Unavailable) && code != name_of(Code::Internal);
            co_return fail(
                theirs ? Code::FailedPrecondition : Code::Internal, answer.at("reason").as_string(),
                "input '" + input.name + "': " + answer.at("message").as_string(), input.name);
        }
        tell("input '" + input.name + "': " + answer.at("text").as_string());
    }
    co_return not_wanted();
}

// A blob of a server on this machine: its very file where nobody can write to it, else a copy that
// the kernel makes.
Result<void> take_pieces(const std::vector<Piece>& pieces, const std::string& folder,
                         const std::string& relative, bool link_it,
                         const std::function<void(std::size_t)>& got) {
    Fd target(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!target) return failed("opening", folder);
    const std::string path =
        folder + "/" + TURNOUT_TRY(checked_relative_path(relative, "name of a file"));
    if (link_it && pieces.size() == 1) {
        if (const std::size_t slash = relative.rfind('/'); slash != std::string::npos)
            TURNOUT_TRY(make_folder_beneath(target.get(), relative.substr(0, slash)));
        struct stat st;
        if (link(pieces[0].file.c_str(), path.c_str()) == 0) {
            if (lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
                static_cast<std::uint64_t>(st.st_size) == pieces[0].size) {
                chmod(path.c_str(), 0444);
                got(pieces[0].size);
                return {};
            }
            unlink(path.c_str());
        }
    }
    Fd file = TURNOUT_TRY(create_beneath(target.get(), relative, 0644));
    for (const Piece& piece : pieces) {
        if (piece.file.empty()) {
            TURNOUT_TRY(write_all(file.get(), piece.bytes, relative));
            got(piece.bytes.size());
            continue;
        }
        Fd source(open(piece.file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        if (!source) return failed("reading", piece.file);
        TURNOUT_TRY(append_bytes(source.get(), file.get(), piece.size, piece.file, got));
    }
    return {};
}

Task<Result<void>> take_blob(Server& server, bool link_it, WorkPtr work, std::string container,
                             RemoteBlob blob, std::string folder, std::string relative,
                             std::shared_ptr<Meter> meter) {
    if (!work->wanted) co_return not_wanted();
    if (blob.size > kSmall) {
        auto pieces = co_await server.pieces_of(container, blob.name, work->task.run_token);
        if (!pieces && pieces.error().code == Code::Unavailable) co_return Failure(pieces.error());
        if (pieces && !pieces->empty() && access(pieces->front().file.c_str(), R_OK) == 0) {
            struct Shared {
                Result<void> result;
            };
            const auto shared = std::make_shared<Shared>();  // shared with the pool's thread
            Loop& loop = server.loop();
            std::function<void()> take = [shared, pieces = std::move(*pieces), folder, relative,
                                          link_it, meter, &loop] {
                shared->result = take_pieces(
                    pieces, folder, relative, link_it,
                    [&](std::size_t bytes) { loop.post([meter, bytes] { meter->add(bytes); }); });
            };
            co_await apart(loop, std::move(take));
            co_return shared->result;
        }
    }
    std::function<bool(std::size_t)> got = [meter, work](std::size_t bytes) {
        meter->add(bytes);
        return work->wanted;
    };
    co_return co_await server.get_blob(container, blob.name, folder, relative, work->task.run_token,
                                       std::move(got));
}

// One try to have the input's blobs as files; the path that the command gets.
Task<Result<std::string>> fetch_blobs(Server& server, const AgentSettings& settings, WorkPtr work,
                                      TaskInput input, Saying tell) {
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
    std::string folder = settings.cache + "/inputs/" + to_hex(sha256(definition));
    std::string prefix = without_slash(from.prefix);
    bool single = blobs.size() == 1 && blobs[0].name == prefix;
    TURNOUT_CO_TRY(const bool cached, use_cached(folder, work->folder));
    if (!cached) {
        std::string building =
            settings.cache + "/inputs/" + building_name(*work, input.name.substr(0, 64));
        remove_tree(building);
        TURNOUT_CO_TRY_VOID(make_folders(building, 0755));
        bool link_it = geteuid() == 0;
        if (link_it) link_it = co_await can_close(server.loop(), settings);
        const auto meter = std::make_shared<Meter>(
            Meter{.name = input.name, .tell = tell});  // shared by the fetches
        for (const auto& blob : blobs) meter->total += blob.size;
        const auto relative_of = [&](const RemoteBlob& blob) {
            return blob.name == prefix ? prefix.substr(prefix.rfind('/') + 1)
                                       : blob.name.substr(prefix.empty() ? 0 : prefix.size() + 1);
        };
        std::erase_if(blobs, [&](const RemoteBlob& blob) {  // a marker of an empty folder
            const std::string relative = relative_of(blob);
            return relative.empty() || relative.ends_with('/');
        });
        std::function<Task<Result<void>>(std::size_t)> fetch = [&](std::size_t i) {
            return take_blob(server, link_it, work, from.container, blobs[i], building,
                             relative_of(blobs[i]), meter);
        };
        auto got = co_await in_parallel(blobs.size(), std::move(fetch), kInputsAtOnce);
        // Of a million files that takes its time.
        std::function<void()> finish = [building, whole = got.has_value()] {
            if (!whole) return (void)remove_tree(building);
            make_read_only(building);
            chmod(building.c_str(), 0755);  // until it is renamed
        };
        co_await apart(server.loop(), std::move(finish));
        if (!got) co_return Failure(got.error());
        TURNOUT_CO_TRY_VOID(put_in_cache(building, folder));
        chmod(folder.c_str(), 0555);
    }
    co_return single ? folder + "/" + prefix.substr(prefix.rfind('/') + 1) : folder;
}

Task<Result<std::string>> fetch_input(Server& server, const AgentSettings& settings, WorkPtr work,
                                      TaskInput input, Saying tell) {
    if (input.type == "literal") co_return input.literal;
    if (input.mode == "direct" && !input.local_path) co_return input.uri;
    if (input.fetch) {
        TURNOUT_CO_TRY(input.blobs, co_await fetch_outside(server, work, input, tell));
    }
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
        TURNOUT_CO_TRY(source, co_await fetch_blobs(server, settings, work, input, tell));
        // The cache's permissions keep a task from changing what others read, but they do not bind
        // root: its launcher closes the folder to writing, or it gets a copy of its own.
        if (geteuid() == 0 && !copy) {
            const bool closed = co_await can_close(server.loop(), settings);
            copy = !closed;
        }
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

}  // namespace

Task<Result<void>> fetch_inputs(Server& server, const AgentSettings& settings, WorkPtr work,
                                Saying tell) {
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
            auto value = co_await fetch_input(server, settings, work, input, tell);
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
    // A `${{…}}` that has no value ends the attempt here, and not only when its turn to run has
    // come.
    TURNOUT_CO_TRY_VOID(find_values(*work));
    if (const auto command = invocation(work->task.command, work->values, kShell); !command)
        co_return Failure(command.error());
    co_return Result<void>();
}

std::string shared_inputs(const AgentSettings& settings, const Work& work) {
    if (geteuid() != 0) return "";  // the permissions do it
    const std::string folder = settings.cache + "/inputs";
    for (const auto& [name, value] : work.values.inputs)
        if (value.starts_with(folder + "/")) return folder;
    return "";
}

}  // namespace turnout::agent

#include "agent/agent.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <thread>

#include "agent/journal.h"
#include "agent/launch.h"
#include "agent/mlflow.h"
#include "agent/ranks.h"
#include "agent/segments.h"
#include "base/text.h"
#include "io/posix/http_client.h"
#include "io/posix/http_server.h"

namespace turnout::agent {
namespace {

using namespace agent_protocol;

constexpr std::size_t kJournalLimit = 2 << 20;  // then it is rewritten
constexpr std::size_t kMaxOutbox = 64 << 20;    // an unread link is closed: it is told anew
constexpr std::uint64_t kTrimEvery = 16 << 20;  // of a task's log: then old segments may go
constexpr Span kUploadEvery = 10s;
constexpr Span kLookAtLogs = 100ms;
constexpr Span kLookAtHolders = 20ms;  // of an attempt that is forgotten
constexpr Span kFirstPause = 50ms;
constexpr Span kLongestPause = 5s;
constexpr Span kLookAtLink = 10s;
constexpr Span kSilentLink = 60s;
constexpr Span kFoundHolds = 1s;

std::int64_t memory_of_machine() {
    struct sysinfo info{};
    return sysinfo(&info) == 0 ? static_cast<std::int64_t>(info.totalram) * info.mem_unit : 0;
}

}  // namespace

struct Agent::State : std::enable_shared_from_this<State> {
    AsioLoop& loop;
    AgentSettings settings;
    std::function<void()> left;
    PosixClock clock;
    environment::Settings environments;
    Fd lock;
    std::optional<Journal> journal;
    std::optional<NodeCore> core;
    std::optional<SupervisorLink> supervisor;
    Segments segments;
    Folders folders;
    Server server;
    MlflowGate gate;
    std::unique_ptr<http::Listener> listener;
    MlflowAddress mlflow;
    std::map<AttemptId, WorkPtr> works;
    std::map<AttemptId, std::uint64_t> serials;
    std::map<AttemptId, std::uint64_t> trimmed;
    std::map<std::string, std::uint64_t> trimmed_files;  // logs of processes, by path
    std::unique_ptr<http::Stream> link;
    std::string outbox;
    bool writing = false;
    bool draining = false;
    bool closing = false;
    Loop::TimerId timer = 0;
    std::optional<Span> timer_at;
    std::map<AttemptId, std::thread> builders;
    // The environment that was looked for last.
    std::string found_key;
    environment::Prepared found_prepared;
    std::string found_path;
    Span found_at{};

    State(AsioLoop& l, AgentSettings s, std::function<void()> on_left)
        : loop(l),
          settings(std::move(s)),
          left(std::move(on_left)),
          segments(settings.folder),
          folders(settings.folder + "/attempts"),
          server(l, http::make_client(l, client_options(settings))),
          gate(server,
               [this](const AttemptId& id, std::string text) { complain(id, std::move(text)); }) {
        environments.cache = settings.cache;
        environments.uv = settings.uv;
        environments.python = settings.python;
        environments.beside = settings.beside;
        environments.environment = settings.environment;
    }

    static http::ClientOptions client_options(const AgentSettings& settings) {
        http::ClientOptions options;
        options.unix_socket = settings.server_socket;
        options.origin = "http://turnout";
        return options;
    }

    Result<void> begin();
    Result<void> listen();
    void drain();
    void arm();

    void carry_out(effect::Send& effect) { put(encode(effect.message)); }
    void carry_out(effect::Record& effect) { journal->add(effect.line); }
    void carry_out(effect::FetchSnapshot& effect);
    void carry_out(effect::PrepareEnvironment& effect);
    void carry_out(effect::FetchInputs& effect);
    void carry_out(effect::StartTask& effect);
    void carry_out(effect::SignalTask& effect) { supervisor->signal(effect.id, effect.signal); }
    void carry_out(effect::SetSlots& effect) { supervisor->slots(effect.count); }
    void carry_out(effect::AppendLog& effect) { supervisor->append(effect.id, effect.text, true); }
    void carry_out(effect::ShipLog& effect);
    void carry_out(effect::ShipOutputs& effect);
    void carry_out(effect::AbandonOutputs& effect);
    void carry_out(effect::Abort& effect);
    void carry_out(effect::Forget& effect);
    void carry_out(effect::SetFence& effect) { supervisor->fence(effect.deadline); }
    void carry_out(effect::Quit& effect);

    WorkPtr work_of(const AttemptId& id);
    void complain(const AttemptId& id, std::string text);
    void build(WorkPtr work);
    void join_builder(const AttemptId& id);
    bool look_at_logs(const WorkPtr& work);
    void follow(const WorkPtr& work);
    void explain(const AttemptId& id, TaskExit& exit);
    static Task<void> follow_logs(std::shared_ptr<State> self, WorkPtr work);
    static Task<void> remove_folder(std::shared_ptr<State> self, WorkPtr work);
    void on_listed(std::vector<SupervisedTask> tasks);
    void on_exited(const AttemptId& id, TaskExit exit);
    void trim_log(const LogAck& ack);

    void put(std::string frame);
    void begin_writing();
    void write_down();
    static Task<void> write_out(std::shared_ptr<State> self);
    static Task<void> serve_link(std::shared_ptr<State> self);
    static Task<void> upload_while_running(std::shared_ptr<State> self);
    static Task<void> upload_now(std::shared_ptr<State> self, WorkPtr work);
    static Task<void> finish_outputs(std::shared_ptr<State> self, WorkPtr work);
    static Task<void> finish_metrics(std::shared_ptr<State> self, WorkPtr work,
                                     Result<void> result);
    static Task<void> watch_link(std::shared_ptr<State> self);
    Span heard_at{};  // last bytes over the link
    void say(const std::string& text) { std::fprintf(stderr, "turnout-agent: %s\n", text.c_str()); }
};

Result<void> Agent::State::begin() {
    TURNOUT_TRY(make_folders(settings.folder));
    TURNOUT_TRY(make_folders(settings.cache + "/snapshots", 0755));
    TURNOUT_TRY(make_folders(settings.cache + "/inputs", 0755));
    lock = Fd(open((settings.folder + "/agent.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock) return failed("opening", settings.folder + "/agent.lock");
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
        return fail(Code::Conflict, "AgentRuns",
                    "another agent serves the node folder '" + settings.folder + "'");
    TURNOUT_TRY(listen());

    NodeFacts facts;
    facts.node = settings.node;
    facts.build = settings.build;
    facts.boot_id = boot_id();
    facts.pid = getpid();
    facts.cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
    facts.memory_bytes = memory_of_machine();
    core.emplace(std::move(facts), clock);
    std::vector<std::string> lines;
    journal.emplace(TURNOUT_TRY(Journal::open(settings.folder + "/agent.journal", lines)));
    auto self = shared_from_this();
    SupervisorLink::Events events;
    events.listed = [this](std::vector<SupervisedTask> tasks) { on_listed(std::move(tasks)); };
    events.gone = [this] {
        core->supervisor_gone();
        drain();
    };
    events.started = [this](const AttemptId& id, Result<Span> started) {
        core->task_started(id, std::move(started));
    };
    events.output = [this](const SupervisedTask& task) {
        serials[task.id] = task.serial;
        segments.add(task.serial, task.first_segment, task.first_position);
        core->log_grew(task.id, kStdLog, task.state.log_length);
    };
    events.exited = [this](const AttemptId& id, TaskExit exit) { on_exited(id, std::move(exit)); };
    events.told = [this] { drain(); };
    events.trouble = [this](const std::string& text) { say(text); };
    supervisor.emplace(loop, settings.folder, settings.supervisor, std::move(events));
    core->restore(lines);
    if (journal->size() > kJournalLimit / 4) (void)journal->rewrite(core->snapshot());

    for (const auto& id : core->attempts()) {
        auto work = work_of(id);
        if (!work) continue;
        gate.open(id, work->task, work->folder);
        struct stat st;
        if (stat(work->environment_log().c_str(), &st) == 0 && st.st_size > 0)
            core->log_grew(id, kEnvironmentLog, static_cast<std::uint64_t>(st.st_size));
        follow(work);
    }
    std::vector<std::string> names;
    for (const auto& id : core->attempts()) names.push_back(attempt_folder_name(id));
    loop.blocking(
        [others = folders.put_aside_others(names)] {
            for (const auto& path : others) remove_tree(path);
        },
        [] {});
    supervisor->begin();
    drain();
    start(serve_link(self), [] {});
    start(watch_link(self), [] {});
    start(upload_while_running(self), [] {});
    return {};
}

// The same port in each life: tasks that outlive the agent go on talking to it.
Result<void> Agent::State::listen() {
    http::Handler handler = [this](const http::Request& request, http::BodyReader& body) {
        return gate.handle(request, body);
    };
    std::string file = settings.folder + "/mlflow.address";
    http::Limits limits;
    limits.connections = 256;
    if (auto earlier = read_file(file, 64)) {
        auto again = http::listen_plain(loop, std::string(trim(*earlier)), handler, limits);
        if (again) listener = std::move(*again);
    }
    if (!listener) listener = TURNOUT_TRY(http::listen_plain(loop, "127.0.0.1:0", handler, limits));
    mlflow.origin = "http://" + listener->address();
    return write_file(file, listener->address());
}

// ---- the core's effects ----

// The journal has what the core recorded before the supervisor or the server hear of anything.
void Agent::State::drain() {
    if (draining || closing) return;
    draining = true;
    supervisor->hold();
    for (auto effects = core->take_effects(); !effects.empty(); effects = core->take_effects())
        for (auto& effect : effects) std::visit([&](auto& e) { carry_out(e); }, effect);
    write_down();
    draining = false;
    supervisor->release();
    begin_writing();
    arm();
}

// A timer that comes too early is harmless and cheaper than one that is set anew each time.
void Agent::State::arm() {
    auto next = core->next_tick();
    if (!next || (timer_at && *timer_at <= *next)) return;
    if (timer) loop.cancel(timer);
    timer_at = next;
    timer =
        loop.after(std::max(Span::zero(), *next - clock.since_boot()), [weak = weak_from_this()] {
            auto self = weak.lock();
            if (!self || self->closing) return;
            self->timer = 0;
            self->timer_at.reset();
            self->core->tick();
            self->drain();
        });
}

void Agent::State::write_down() {
    auto written = journal->flush();
    if (!written) {
        // Without its journal the node must not go on: what it does would be unknown to its next
        // life.
        say("the node's journal cannot be written: " + written.error().message);
        _exit(70);
    }
    if (journal->size() > kJournalLimit) {
        auto lines = core->snapshot();
        std::size_t size = 0;
        for (const auto& line : lines) size += line.size();
        if (size < kJournalLimit / 2) (void)journal->rewrite(lines);
    }
}

WorkPtr Agent::State::work_of(const AttemptId& id) {
    auto& work = works[id];
    if (!work) {
        auto task = core->task(id);
        if (!task) {
            works.erase(id);
            return nullptr;
        }
        work = std::make_shared<Work>(id, std::move(task),
                                      settings.folder + "/attempts/" + attempt_folder_name(id));
    }
    return work;
}

void Agent::State::carry_out(effect::FetchSnapshot& effect) {
    auto work = work_of(effect.id);
    if (!work) return;
    if (!work->own)
        if (auto made = folders.make(work->folder.substr(work->folder.rfind('/') + 1)))
            work->own = std::move(*made);
    start(fetch_snapshot(server, settings, work),
          [self = shared_from_this(), work](Result<void> result) {
              if (!work->wanted) return;
              if (result) self->gate.open(work->id, work->task, work->folder);
              self->core->snapshot_done(work->id, std::move(result));
              self->drain();
          });
}

void Agent::State::carry_out(effect::PrepareEnvironment& effect) {
    auto work = work_of(effect.id);
    if (!work) return;
    // Many attempts in one turn have the same environment: it is looked for once.
    const TaskEnvironment& wanted = work->task.environment;
    const std::string key = wanted.hash + "\n" + wanted.interpreter + "\n" + wanted.python_version +
                            (wanted.kind == TaskEnvironment::Kind::Venv ? "v" : "u");
    if (key == found_key && clock.since_boot() - found_at < kFoundHolds &&
        (wanted.kind != TaskEnvironment::Kind::Venv || !wanted.hash.empty())) {
        work->prepared = found_prepared;
        work->path_begin = found_path;
        return core->environment_done(work->id, {});
    }
    auto found = environment::find_prepared(wanted, environments);
    if (found && !*found) return build(work);
    if (found) {
        work->prepared = std::move(**found);
        found_key = key;
        found_prepared = *work->prepared;
        found_path = path_begin(settings, found_prepared, !wanted.interpreter.empty());
        work->path_begin = found_path;
        found_at = clock.since_boot();
    }
    core->environment_done(work->id, found ? Result<void>() : Result<void>(Failure(found.error())));
}

void Agent::State::carry_out(effect::FetchInputs& effect) {
    auto work = work_of(effect.id);
    if (!work) return;
    start(fetch_inputs(server, settings, work),
          [self = shared_from_this(), work](Result<void> result) {
              if (!work->wanted) return;
              self->core->inputs_done(work->id, std::move(result));
              self->drain();
          });
}

void Agent::State::carry_out(effect::StartTask& effect) {
    auto work = work_of(effect.id);
    if (!work) return;
    // After a restart the attempt may be asked to start again without having been prepared anew.
    if (!work->prepared)
        if (auto found = environment::find_prepared(work->task.environment, environments);
            found && *found)
            work->prepared = std::move(**found);
    auto request = start_request(settings, *work, mlflow, effect.preamble);
    const Result<void> asked =
        request ? supervisor->start_task(*request) : Result<void>(Failure(request.error()));
    if (asked)
        follow(work);
    else
        core->task_started(effect.id, Failure(asked.error()));
}

void Agent::State::carry_out(effect::ShipLog& effect) {
    if (!link) return;
    LogChunk chunk{effect.id, effect.stream, effect.offset, ""};
    auto work = work_of(effect.id);
    if (work && effect.stream == stream_name(work->task, kStdLog)) {
        auto serial = serials.find(effect.id);
        auto bytes = serial == serials.end()
                         ? Result<std::string>(std::string())
                         : segments.read(serial->second, effect.offset, effect.length);
        if (bytes) chunk.bytes = std::move(*bytes);
    } else if (work) {
        auto file = open_listed(
            process_log_path(*work, effect.stream).value_or(work->environment_log()), work->folder);
        chunk.bytes.resize(effect.length);
        ssize_t n = file ? pread(file->get(), chunk.bytes.data(), effect.length,
                                 static_cast<off_t>(effect.offset))
                         : 0;
        chunk.bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    // Without bytes it still asks how far the server is: they may have been shipped in an earlier
    // life.
    put(encode(ToServer(std::move(chunk))));
}

void Agent::State::carry_out(effect::ShipOutputs& effect) {
    auto work = work_of(effect.id);
    if (work) start(finish_outputs(shared_from_this(), work), [] {});
}

Task<void> Agent::State::finish_outputs(std::shared_ptr<State> self, WorkPtr work) {
    auto result = co_await ship_outputs(self->server, work);
    if (!work->abandoned) co_await finish_metrics(self, work, std::move(result));
}

// What was accepted of the attempt's metrics arrives, however the attempt ends.
Task<void> Agent::State::finish_metrics(std::shared_ptr<State> self, WorkPtr work,
                                        Result<void> result) {
    if (work->wanted) (void)co_await self->gate.drained(work->id);
    if (!work->wanted) co_return;
    self->core->outputs_shipped(work->id, std::move(result));
    self->drain();
}

void Agent::State::carry_out(effect::AbandonOutputs& effect) {
    auto work = work_of(effect.id);
    if (work && !std::exchange(work->abandoned, true))
        start(finish_metrics(shared_from_this(), work, {}), [] {});
}

// What commands that run for long have written so far.
Task<void> Agent::State::upload_while_running(std::shared_ptr<State> self) {
    for (;;) {
        co_await self->loop.sleep(kUploadEvery);
        if (self->closing) co_return;
        for (auto& [id, work] : self->works)
            if (self->link && !work->shipping && !work->finishing && self->core->running(id)) {
                work->shipping = true;
                start(upload_now(self, work), [] {});
            }
    }
}

Task<void> Agent::State::upload_now(std::shared_ptr<State> self, WorkPtr work) {
    (void)co_await upload_changes(self->server,
                                  work);  // what did not work is tried at the next look
    work->shipping = false;
}

void Agent::State::carry_out(effect::Abort& effect) {
    auto found = works.find(effect.id);
    if (found == works.end()) return;
    found->second->wanted = false;
    found->second->cancel = true;
}

void Agent::State::carry_out(effect::Forget& effect) {
    supervisor->forget(effect.id);
    gate.close(effect.id);
    if (auto serial = serials.find(effect.id); serial != serials.end()) {
        segments.remove(serial->second);
        serials.erase(serial);
    }
    trimmed.erase(effect.id);
    auto found = works.find(effect.id);
    if (found == works.end()) {
        std::string folder = settings.folder + "/attempts/" + attempt_folder_name(effect.id);
        return loop.blocking([folder] { remove_tree(folder); }, [] {});
    }
    WorkPtr work = std::move(found->second);
    works.erase(found);
    for (const auto& [stream, path] : process_logs(*work)) trimmed_files.erase(path);
    work->wanted = false;
    work->cancel = true;
    // Another attempt may have the folder if nobody writes into it any more.
    if (work->own && work.use_count() == 1 && folders.keep(std::move(*work->own), work->untouched))
        return;
    start(remove_folder(shared_from_this(), std::move(work)), [] {});
}

// Whoever still works in it has been told to stop, and would make it anew.
Task<void> Agent::State::remove_folder(std::shared_ptr<State> self, WorkPtr work) {
    while (work.use_count() > 1 && !self->closing) co_await self->loop.sleep(kLookAtHolders);
    self->loop.blocking([folder = work->folder] { remove_tree(folder); }, [] {});
}

void Agent::State::carry_out(effect::Quit&) {
    for (auto& [id, work] : works) work->wanted = false, work->cancel = true;
    supervisor->quit([self = shared_from_this()] {
        self->closing = true;
        for (auto& [id, thread] : self->builders)
            if (thread.joinable()) thread.join();
        for (const char* name : {"attempts", "interpreters", "agent.journal", "exits.journal",
                                 "mlflow.address", "supervisor.lock", "supervisor.sock"})
            remove_tree(self->settings.folder + "/" + name);
        for (const auto& file : list_files(self->settings.folder, self->settings.folder, 100'000))
            if (file.path.starts_with("log-") && file.path.ends_with(".segment"))
                remove_tree(self->settings.folder + "/" + file.path);
        self->left();
    });
}

void Agent::State::complain(const AttemptId& id, std::string text) {
    supervisor->append(id, text + "\n", false);
}

// ---- environments ----

void Agent::State::join_builder(const AttemptId& id) {
    auto thread = builders.find(id);
    if (thread == builders.end()) return;
    thread->second.join();
    builders.erase(thread);
}

namespace {
// What a line of the installer's output means to a person who waits: " (…)" or nothing.
std::string doing_of(std::string_view line) {
    if (line.starts_with("Resolved ")) return " (downloading packages)";  // it goes on silently
    for (const char* dull :
         {"Using ", "Creating ", "Activate ", "building environment", "+ ", "environment "})
        if (line.starts_with(dull)) return "";
    return " (" + std::string(line.substr(0, 200)) + ")";
}
}  // namespace

void Agent::State::build(WorkPtr work) {
    join_builder(work->id);
    std::weak_ptr<State> weak = weak_from_this();
    builders[work->id] = std::thread([weak, work, settings_ = environments, loop_ = &loop] {
        Fd file(
            open(work->environment_log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
        auto log = [&](std::string_view text) {
            if (!file || !write_all(file.get(), text)) return;
            struct stat st;
            if (fstat(file.get(), &st) != 0) return;
            auto last = std::string(trim(text));
            if (auto line = last.rfind('\n'); line != std::string::npos)
                last = last.substr(line + 1);
            loop_->post(
                [weak, id = work->id, length = static_cast<std::uint64_t>(st.st_size), last] {
                    auto self = weak.lock();
                    if (!self || self->closing) return;
                    self->core->log_grew(id, kEnvironmentLog, length);
                    if (!last.empty())
                        self->core->progress(id, "building environment" + doing_of(last));
                    self->drain();
                });
        };
        auto result = std::make_shared<Result<environment::Prepared>>(
            environment::prepare(work->task.environment, settings_, log, work->cancel));
        if (!*result && file) (void)write_all(file.get(), (*result).error().message + "\n");
        struct stat st{};
        std::uint64_t length =
            file && fstat(file.get(), &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
        loop_->post([weak, work, result, length] {
            auto self = weak.lock();
            if (!self || self->closing) return;
            self->join_builder(work->id);
            if (length > 0) self->core->log_grew(work->id, kEnvironmentLog, length);
            if (work->wanted) {
                if (*result) work->prepared = std::move(**result);
                self->core->environment_done(
                    work->id, *result ? Result<void>() : Result<void>(Failure(result->error())));
            }
            self->drain();
        });
    });
}

// ---- the supervisor ----

void Agent::State::on_listed(std::vector<SupervisedTask> tasks) {
    std::vector<TaskState> states;
    for (auto& task : tasks) {
        const auto known = core->task(task.id);
        if (task.state.waiting) {
            states.push_back(std::move(task.state));
            continue;
        }
        serials[task.id] = task.serial;
        segments.add(task.serial, task.first_segment, task.first_position);
        if (!task.started) {
            if (known)
                core->log_grew(task.id, kStdLog, task.state.log_length);
            else
                supervisor->forget(task.id);
            continue;
        }
        if (known && task.state.exit) {
            if (task.state.exit->exit_code != 0)
                task.state.exit->last_lines =
                    segments.last_lines(task.serial, task.state.exit->log_length, 20);
            explain(task.id, *task.state.exit);
        }
        states.push_back(std::move(task.state));
    }
    core->supervisor_listed(states);
}

void Agent::State::on_exited(const AttemptId& id, TaskExit exit) {
    if (auto serial = serials.find(id); serial != serials.end() && exit.exit_code != 0)
        exit.last_lines = segments.last_lines(serial->second, exit.log_length, 20);
    explain(id, exit);
    core->task_exited(id, exit);
}

// How far the logs are that the supervisor does not read; whether there are any.
bool Agent::State::look_at_logs(const WorkPtr& work) {
    const auto logs = process_logs(*work);
    for (const auto& [stream, path] : logs) {
        struct stat st;
        if (stat(path.c_str(), &st) == 0 && st.st_size > 0)
            core->log_grew(work->id, stream, static_cast<std::uint64_t>(st.st_size));
    }
    return !logs.empty();
}

void Agent::State::follow(const WorkPtr& work) {
    if (look_at_logs(work) && !std::exchange(work->followed, true))
        start(follow_logs(shared_from_this(), work), [] {});
}

Task<void> Agent::State::follow_logs(std::shared_ptr<State> self, WorkPtr work) {
    while (!self->closing && work->wanted && self->works.contains(work->id)) {
        co_await self->loop.sleep(kLookAtLogs);
        if (self->closing || !self->works.contains(work->id)) co_return;
        (void)self->look_at_logs(work);
        self->drain();
    }
}

// Of several processes; all that they wrote is known before their end is.
void Agent::State::explain(const AttemptId& id, TaskExit& exit) {
    auto work = work_of(id);
    if (!work || !look_at_logs(work)) return;
    explain_exit(*work, exit);
}

void Agent::State::trim_log(const LogAck& ack) {
    auto serial = serials.find(ack.id);
    if (serial == serials.end()) return;
    auto work = work_of(ack.id);
    if (!work) return;
    if (auto path = process_log_path(*work, ack.stream)) {
        auto& given_back = trimmed_files[*path];
        if (ack.offset < given_back + kTrimEvery) return;
        given_back = ack.offset;
        return trim_process_log(*path, ack.offset);
    }
    if (ack.stream != stream_name(work->task, kStdLog)) return;
    auto& done = trimmed[ack.id];
    if (ack.offset < done + kTrimEvery) return;
    done = ack.offset;
    // The last lines are wanted at the end, so a good piece before the acknowledged place stays.
    supervisor->trim(
        ack.id,
        segments.segment_of(serial->second, ack.offset > (1 << 20) ? ack.offset - (1 << 20) : 0),
        ack.offset);
}

// ---- the link to the server ----

void Agent::State::put(std::string frame) {
    if (!link) return;
    if (!fits(frame))
        return say("a message of " + std::to_string(frame.size()) +
                   " bytes is too large for the server");
    outbox += frame;
    if (outbox.size() > kMaxOutbox) return link->close();
    if (!draining) begin_writing();
}

void Agent::State::begin_writing() {
    if (link && !outbox.empty() && !std::exchange(writing, true))
        start(write_out(shared_from_this()), [] {});
}

Task<void> Agent::State::write_out(std::shared_ptr<State> self) {
    while (self->link && !self->outbox.empty()) {
        auto written = co_await self->link->write(std::exchange(self->outbox, {}));
        if (!written) {
            if (self->link) self->link->close();  // the reader notices
            break;
        }
    }
    self->writing = false;
}

Task<void> Agent::State::serve_link(std::shared_ptr<State> self) {
    Backoff backoff(self->loop, kFirstPause, kLongestPause);
    std::string trouble;
    while (!self->closing) {
        http::ClientRequest request;
        request.url = "/agent/v1/link";
        request.headers.set("Upgrade", "turnout-agent");
        request.headers.set("Connection", "Upgrade");
        auto response = co_await self->server.send(std::move(request), self->settings.token);
        if (self->closing) co_return;
        if (!response || response->status != 101 || !response->stream) {
            std::string why = response ? "the server answered " + std::to_string(response->status)
                                       : response.error().message;
            if (why != trouble) self->say("no link to the server: " + why);
            trouble = why;
            if (!exists(self->settings.folder)) {  // the node was removed with all that is in it
                self->left();
                co_return;
            }
            co_await backoff.wait();
            continue;
        }
        trouble.clear();
        while (self->writing)
            co_await self->loop.sleep(1ms);  // the writer of the earlier link ends first
        self->link = std::move(response->stream);
        self->heard_at = self->clock.since_boot();
        self->outbox.clear();
        FrameReader frames;
        self->core->server_connected();
        self->drain();
        bool fine = true, welcomed = false;
        while (fine && !self->closing) {
            auto bytes = co_await self->link->read();
            if (!bytes || bytes->empty() || self->closing) break;
            self->heard_at = self->clock.since_boot();
            frames.feed(*bytes);
            while (fine && !self->closing) {
                auto frame = frames.next();
                if (!frame || !*frame) {
                    fine = frame.has_value();
                    break;
                }
                auto message = decode_to_agent(**frame);
                if (!message) {
                    self->say("a message of the server was not understood: " +
                              message.error().message);
                    // A newer server may say what this agent does not know; but nobody waits for it
                    // in vain.
                    if (const Unreadable seen = look_at_unreadable(**frame); seen.id)
                        self->core->unreadable(*seen.id, message.error().message);
                    continue;
                }
                welcomed = true;
                if (auto* ack = std::get_if<LogAck>(&*message)) self->trim_log(*ack);
                self->core->from_server(*message);
            }
            self->drain();
        }
        if (self->closing) co_return;
        self->link->close();
        while (self->writing) co_await self->loop.sleep(1ms);
        self->link.reset();
        self->core->server_disconnected();
        self->drain();
        if (welcomed) backoff.reset();
        co_await backoff.wait();
    }
}

// The server pings every 15 s. Only what comes over the link counts as contact (an answer to some
// other request would not be contact for the server's side of the fence), and a link that says
// nothing is broken, whatever the kernel thinks of it.
Task<void> Agent::State::watch_link(std::shared_ptr<State> self) {
    for (;;) {
        co_await self->loop.sleep(kLookAtLink);
        if (self->closing) co_return;
        if (self->link && self->clock.since_boot() - self->heard_at > kSilentLink)
            self->link->close();
    }
}

Agent::Agent(AsioLoop& loop, AgentSettings settings, std::function<void()> left)
    : state_(std::make_shared<State>(loop, std::move(settings), std::move(left))) {}

Agent::~Agent() {
    state_->closing = true;
    if (state_->timer) state_->loop.cancel(state_->timer);
    for (auto& [id, work] : state_->works) work->wanted = false, work->cancel = true;
    for (auto& [id, thread] : state_->builders)
        if (thread.joinable()) thread.join();
    if (state_->link) state_->link->close();
    state_->supervisor.reset();
    state_->listener.reset();
}

Result<void> Agent::begin() {
    return state_->begin();
}

}  // namespace turnout::agent

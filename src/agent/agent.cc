#include "agent/agent.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "agent/azure.h"
#include "agent/channels.h"
#include "agent/environments.h"
#include "agent/facts.h"
#include "agent/inputs.h"
#include "agent/journal.h"
#include "agent/launch.h"
#include "agent/mlflow.h"
#include "agent/probe.h"
#include "agent/ranks.h"
#include "agent/server_link.h"
#include "agent/task_logs.h"
#include "agent/tls_door.h"
#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "io/posix/http_client.h"
#include "io/posix/http_server.h"

namespace turnout::agent {
namespace {

using namespace agent_protocol;

constexpr std::size_t kJournalLimit = 2 << 20;  // then it is rewritten
constexpr off_t kRoom = 512 << 10;
constexpr Span kUploadEvery = 10s;
constexpr Span kLookAtLogs = 100ms;
constexpr Span kLookAtHolders = 20ms;  // of an attempt that is forgotten
constexpr Span kLookAtFolder = 5s;

}  // namespace

struct Agent::State : std::enable_shared_from_this<State> {
    AsioLoop& loop;
    AgentSettings settings;
    std::function<void()> left;
    PosixClock clock;
    Fd lock;
    std::optional<Journal> journal;
    std::optional<NodeCore> core;
    std::optional<SupervisorLink> supervisor;
    TaskLogs logs;
    Folders folders;
    Server server;
    MlflowGate gate;
    std::unique_ptr<http::Listener> listener;
    TlsDoor door;
    Doors doors;
    std::map<AttemptId, WorkPtr> works;
    ServerLink link;
    Environments environments;
    bool draining = false;
    bool closing = false;
    Loop::TimerId timer = 0;
    std::optional<Span> timer_at;

    State(AsioLoop& l, AgentSettings s, std::function<void()> on_left)
        : loop(l),
          settings(std::move(s)),
          left(std::move(on_left)),
          logs(settings.folder),
          folders(settings.folder + "/attempts"),
          server(l, http::make_client(l, client_options(settings))),
          gate(server,
               [this](const AttemptId& id, std::string text) { complain(id, std::move(text)); }),
          door(l, server, settings.folder, settings.token),
          link(l, clock, server, settings.token, link_events()),
          environments(l, clock, settings, environment_events()) {}

    static http::ClientOptions client_options(const AgentSettings& settings) {
        http::ClientOptions options;
        options.unix_socket = settings.server_socket;
        options.origin = "http://turnout";
        return options;
    }

    ServerLink::Events link_events();
    Environments::Events environment_events();
    SupervisorLink::Events supervisor_events();
    Result<void> begin();
    void go_on(const AttemptId& id);
    Result<void> listen();
    // So that a full disk does not keep the next agent from starting: its provider, which writes
    // its token, removes this first.
    std::string room() const { return settings.folder + "/room"; }
    void find_door();
    void drain();
    void arm();

    void carry_out(effect::Send& effect) { link.put(encode(effect.message)); }
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
    void carry_out(effect::ProbePort& effect);
    void carry_out(effect::OpenChannel& effect) {
        start(open_channel(loop, server, settings.token, std::move(effect)), [] {});
    }
    void carry_out(effect::SetFence& effect) { supervisor->fence(effect.deadline); }
    void carry_out(effect::Quit& effect);

    WorkPtr work_of(const AttemptId& id);
    void complain(const AttemptId& id, std::string text);
    bool look_at_logs(const WorkPtr& work);
    void follow(const WorkPtr& work);
    void explain(const AttemptId& id, TaskExit& exit);
    static Task<void> follow_logs(std::shared_ptr<State> self, WorkPtr work);
    static Task<void> remove_folder(std::shared_ptr<State> self, WorkPtr work);
    void on_listed(std::vector<SupervisedTask> tasks);
    void on_exited(const AttemptId& id, TaskExit exit);
    void remove_secrets(const AttemptId& id);
    void trim_log(const LogAck& ack);

    void write_down();
    // Of a link that stands, before anything is said over it.
    static Task<void> prepare_link(std::shared_ptr<State> self);
    std::optional<std::vector<Gpu>> gpus;  // looked for once
    std::int64_t kernel_killed = 0;        // in our container, as far as it is explained
    static Task<void> upload_while_running(std::shared_ptr<State> self);
    static Task<void> upload_now(std::shared_ptr<State> self, WorkPtr work);
    static Task<void> finish_outputs(std::shared_ptr<State> self, WorkPtr work);
    static Task<void> finish_metrics(std::shared_ptr<State> self, WorkPtr work,
                                     Result<void> result);
    static Task<void> watch_folder(std::shared_ptr<State> self);
    bool has_folder() const;  // the one that it began in
    void say(const std::string& text) { std::fprintf(stderr, "turnout-agent: %s\n", text.c_str()); }
};

Result<void> Agent::State::begin() {
    if (settings.image) kernel_killed = kernel_kills();
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
    core.emplace(std::move(facts), clock);
    std::vector<std::string> lines;
    journal.emplace(TURNOUT_TRY(Journal::open(settings.folder + "/agent.journal", lines)));
    supervisor.emplace(loop, settings.folder, settings.supervisor, supervisor_events());
    core->restore(lines);
    if (journal->size() > kJournalLimit / 4) (void)journal->rewrite(core->snapshot());

    for (const auto& id : core->attempts()) go_on(id);
    std::vector<std::string> names;
    for (const auto& id : core->attempts()) names.push_back(attempt_folder_name(id));
    loop.blocking(
        [others = folders.put_aside_others(names)] {
            for (const auto& path : others) remove_tree(path);
        },
        [] {});
    supervisor->begin();
    drain();
    hold_room(room(), kRoom);
    const auto self = shared_from_this();
    link.begin(self);
    start(watch_folder(self), [] {});
    start(upload_while_running(self), [] {});
    return {};
}

// With an attempt of an earlier life.
void Agent::State::go_on(const AttemptId& id) {
    auto work = work_of(id);
    if (!work) return;
    gate.open(id, work->task, work->folder);
    environments.hold(*work);
    struct stat st;
    if (stat(work->environment_log().c_str(), &st) == 0 && st.st_size > 0)
        core->log_grew(id, kEnvironmentLog, static_cast<std::uint64_t>(st.st_size));
    follow(work);
}

SupervisorLink::Events Agent::State::supervisor_events() {
    SupervisorLink::Events events;
    events.listed = [this](std::vector<SupervisedTask> tasks) { on_listed(std::move(tasks)); };
    events.gone = [this](std::string why) {
        core->supervisor_gone(std::move(why));
        drain();
    };
    events.started = [this](const AttemptId& id, Result<Span> started) {
        if (!started) remove_secrets(id);
        core->task_started(id, std::move(started));
    };
    events.output = [this](const SupervisedTask& task) {
        logs.add(task);
        core->log_grew(task.id, kStdLog, task.state.log_length);
    };
    events.exited = [this](const AttemptId& id, TaskExit exit) { on_exited(id, std::move(exit)); };
    events.told = [this] { drain(); };
    events.trouble = [this](const std::string& text) {
        say(text);
        core->supervisor_trouble(text);
    };
    return events;
}

ServerLink::Events Agent::State::link_events() {
    ServerLink::Events events;
    events.standing = [this] { return prepare_link(shared_from_this()); };
    events.connected = [this](const Speaks& theirs) {
        find_door();
        core->server_connected(version_of_hello(Speaks(), theirs));
    };
    events.message = [this](const ToAgent& message) {
        if (auto* ack = std::get_if<LogAck>(&message)) trim_log(*ack);
        core->from_server(message);
    };
    events.unreadable = [this](const AttemptId& id, const std::string& why) {
        core->unreadable(id, why);
    };
    events.disconnected = [this] { core->server_disconnected(); };
    events.told = [this] { drain(); };
    events.unreachable = [this] {
        if (exists(settings.folder)) return true;
        left();  // the node was removed with all that is in it
        return false;
    };
    events.trouble = [this](const std::string& text) { say(text); };
    return events;
}

Task<void> Agent::State::prepare_link(std::shared_ptr<State> self) {
    co_await self->door.learn_authority(system_authorities(self->settings.environment));
    if (self->closing) co_return;
    struct Seen {
        std::optional<std::vector<Gpu>> gpus;
        Facts facts;
    };
    auto seen = std::make_shared<Seen>();  // shared with the pool's thread
    seen->gpus = self->gpus;
    environment::Settings where;
    where.environment = self->settings.environment;
    std::function<void()> look = [seen, where, folder = self->settings.folder] {
        if (!seen->gpus) seen->gpus = find_gpus(where);
        seen->facts = find_facts(where, folder);
    };
    co_await apart(self->loop, std::move(look));
    self->gpus = seen->gpus;
    seen->facts.gpus = *seen->gpus;
    seen->facts.image = self->settings.image.value_or("");
    self->core->machine_is(std::move(seen->facts));
}

Environments::Events Agent::State::environment_events() {
    Environments::Events events;
    events.logged = [this](const AttemptId& id, std::uint64_t length, std::string doing) {
        core->log_grew(id, kEnvironmentLog, length);
        if (!doing.empty()) core->progress(id, std::move(doing));
    };
    events.done = [this](const WorkPtr& work, Result<void> result) {
        if (work->wanted) core->environment_done(work->id, std::move(result));
    };
    events.told = [this] { drain(); };
    return events;
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
    doors.plain = "http://" + listener->address();
    TURNOUT_TRY(write_if_changed(file, listener->address()));
    TURNOUT_TRY(door.listen());
    find_door();
    return {};
}

void Agent::State::find_door() {
    doors.tls = door.origin();
    // Where the machine has no authorities of its own, a task's programs keep theirs.
    doors.authorities = system_authorities(settings.environment).empty() ? "" : door.bundle();
}

// ---- the core's effects ----

// The journal has what the core recorded before the supervisor or the server hear of anything.
void Agent::State::drain() {
    if (draining || closing) return;
    draining = true;
    supervisor->hold();
    link.hold();
    for (auto effects = core->take_effects(); !effects.empty(); effects = core->take_effects())
        for (auto& effect : effects) std::visit([&](auto& e) { carry_out(e); }, effect);
    write_down();
    draining = false;
    supervisor->release();
    link.release();
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
    if (auto work = work_of(effect.id)) environments.prepare(work);
}

void Agent::State::carry_out(effect::FetchInputs& effect) {
    auto work = work_of(effect.id);
    if (!work) return;
    const auto tell = [self = shared_from_this(), work](std::string text) {
        if (!work->wanted) return;
        self->core->progress(work->id, std::move(text));
        self->drain();
    };
    start(fetch_inputs(server, settings, work, tell),
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
    if (!work->prepared) environments.hold(*work);
    work->secrets = core->secrets(effect.id);
    auto request = start_request(settings, *work, doors, effect.preamble);
    work->secrets.clear();
    if (request) write_workspace_config(settings.folder, work->task);
    const Result<void> asked =
        request ? supervisor->start_task(*request) : Result<void>(Failure(request.error()));
    if (asked) {
        follow(work);
    } else {
        remove_secrets(effect.id);
        core->task_started(effect.id, Failure(asked.error()));
    }
}

void Agent::State::carry_out(effect::ShipLog& effect) {
    if (!link.connected()) return;
    LogChunk chunk{effect.id, effect.stream, effect.offset, ""};
    const auto work = work_of(effect.id);
    if (work) chunk.bytes = logs.read(*work, effect.stream, effect.offset, effect.length);
    // Without bytes it still asks how far the server is: they may have been shipped in an earlier
    // life.
    if (chunk.bytes.empty() && work && logs.has(effect.id))
        core->log_lost(effect.id, effect.stream);
    link.put(encode(ToServer(std::move(chunk))));
}

void Agent::State::carry_out(effect::ShipOutputs& effect) {
    auto work = work_of(effect.id);
    if (work) start(finish_outputs(shared_from_this(), work), [] {});
}

Task<void> Agent::State::finish_outputs(std::shared_ptr<State> self, WorkPtr work) {
    Saying say = [self, id = work->id](std::string words) {
        self->core->progress(id, std::move(words));
        self->drain();
    };
    auto result = co_await ship_outputs(self->server, work, say);
    if (work->wanted) self->core->note(work->id, what_is_missing(*work));
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
            if (self->link.connected() && !work->shipping && !work->finishing &&
                self->core->running(id)) {
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
    logs.forget(effect.id);
    auto found = works.find(effect.id);
    if (found == works.end()) {
        std::string folder = settings.folder + "/attempts/" + attempt_folder_name(effect.id);
        return loop.blocking([folder] { remove_tree(folder); }, [] {});
    }
    WorkPtr work = std::move(found->second);
    works.erase(found);
    work->wanted = false;
    work->cancel = true;
    // Another attempt may have the folder if nobody writes into it any more.
    if (work->own && work.use_count() == 1 && folders.keep(std::move(*work->own), work->untouched))
        return;
    start(remove_folder(shared_from_this(), std::move(work)), [] {});
}

void Agent::State::carry_out(effect::ProbePort& effect) {
    start(probe_port(loop, effect.probe, effect.port),
          [self = shared_from_this(), id = effect.id, number = effect.number](std::string failure) {
              if (self->closing) return;
              self->core->probed(id, number, std::move(failure));
              self->drain();
          });
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
        self->link.stop();
        self->environments.stop();
        for (const char* name : {"attempts", "interpreters", "agent.journal", "exits.journal",
                                 "exits.broken", "mlflow.address", "tls.address", "ca-bundle.pem",
                                 "config.json", "supervisor.lock", "supervisor.sock"})
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

// ---- the supervisor ----

void Agent::State::on_listed(std::vector<SupervisedTask> tasks) {
    std::vector<TaskState> states;
    for (auto& task : tasks) {
        const auto known = core->task(task.id);
        if (task.state.waiting) {
            states.push_back(std::move(task.state));
            continue;
        }
        logs.add(task);
        if (!task.started) {
            if (known)
                core->log_grew(task.id, kStdLog, task.state.log_length);
            else
                supervisor->forget(task.id);
            continue;
        }
        if (known && task.state.exit) {
            logs.add_last_lines(task.id, *task.state.exit);
            explain(task.id, *task.state.exit);
            remove_secrets(task.id);
        }
        states.push_back(std::move(task.state));
    }
    core->supervisor_listed(states);
}

void Agent::State::on_exited(const AttemptId& id, TaskExit exit) {
    logs.add_last_lines(id, exit);
    if (settings.image) {
        const std::int64_t killed = kernel_kills();
        const bool one = killed > std::exchange(kernel_killed, killed);
        // A shell tells of what it ran by its exit code.
        if (one && !exit.memory_exceeded && exit.exit_code == 128 + SIGKILL)
            exit.memory_exceeded = exit.by_kernel = true;
    }
    explain(id, exit);
    remove_secrets(id);
    core->task_exited(id, exit);
}

void Agent::State::remove_secrets(const AttemptId& id) {
    const auto work = work_of(id);
    if (work && !work->task.secrets.empty()) remove_tree(work->secret_files());
}

// How far the logs are that the supervisor does not read; whether there are any.
bool Agent::State::look_at_logs(const WorkPtr& work) {
    const auto files = process_logs(*work);
    for (const auto& [stream, path] : files) {
        struct stat st;
        if (stat(path.c_str(), &st) == 0 && st.st_size > 0)
            core->log_grew(work->id, stream, static_cast<std::uint64_t>(st.st_size));
    }
    return !files.empty();
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
    if (!logs.has(ack.id)) return;
    const auto work = work_of(ack.id);
    if (!work) return;
    if (const auto segment = logs.delivered(*work, ack.stream, ack.offset))
        supervisor->trim(ack.id, *segment, ack.offset);
}

// Nothing that the node writes down is kept any more: it begins anew in a folder that is there.
Task<void> Agent::State::watch_folder(std::shared_ptr<State> self) {
    for (;;) {
        co_await self->loop.sleep(kLookAtFolder);
        if (self->closing) co_return;
        if (self->has_folder()) {
            if (!exists(self->room())) hold_room(self->room(), kRoom);
            continue;
        }
        self->say("the node's folder was removed: what runs is ended");
        self->supervisor->quit([] { _exit(70); });
        co_return;
    }
}

bool Agent::State::has_folder() const {
    struct stat held, there;
    return fstat(lock.get(), &held) == 0 &&
           stat((settings.folder + "/agent.lock").c_str(), &there) == 0 &&
           held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

Agent::Agent(AsioLoop& loop, AgentSettings settings, std::function<void()> left)
    : state_(std::make_shared<State>(loop, std::move(settings), std::move(left))) {}

Agent::~Agent() {
    state_->closing = true;
    if (state_->timer) state_->loop.cancel(state_->timer);
    for (auto& [id, work] : state_->works) work->wanted = false, work->cancel = true;
    state_->environments.stop();
    state_->link.close();
    state_->supervisor.reset();
    state_->listener.reset();
}

Result<void> Agent::begin() {
    return state_->begin();
}

}  // namespace turnout::agent

#include "node.h"

#include <algorithm>
#include <csignal>

#include "world.h"

namespace turnout::simulation {

namespace ap = agent_protocol;
namespace ef = agent::effect;

namespace {
std::string text(const AttemptId& id) {
    return id.job + "#" + std::to_string(id.attempt);
}
}  // namespace

Machine::Machine(World& world, NodeId id)
    : world_(world),
      id_(std::move(id)),
      clock_(world.timeline, static_cast<int>(world.dice.between(-10'000, 10'000))),
      boots_(static_cast<int>(world.dice.between(1, 1'000'000'000))) {}

Machine::~Machine() {
    kill_agent("its machine went away");
    drop_tasks();
}

bool Machine::reachable() const {
    return partitioned_until_ <= world_.timeline.now();
}

bool Machine::empty() const {
    if (agent_ || agent_stopped_) return false;
    if (!supervisor_) return true;
    return std::all_of(supervisor_->tasks.begin(), supervisor_->tasks.end(),
                       [](const auto& task) { return task.second.exit.has_value(); });
}

// ---------------------------------------------------------------------------------------------
// Faults

// It lives; who is asked for it again and again replaces it.
bool Machine::long_asked_for() {
    const Span now = world_.timeline.now();
    if (now - std::exchange(asked_, now) > 2min) asked_since_ = now;
    return now - asked_since_ >= 45s;
}

void Machine::ensure_agent() {
    if (quit_) return;
    if (agent_) {
        if (common_version(speaks_, world_.speaks) || !long_asked_for()) return;
        ++world_.coverage["agent of another version replaced"];
        kill_agent("it speaks other versions of the protocol");
    }
    if (agent_stopped_) {
        if (!long_asked_for()) return;
        ++world_.coverage["stopped agent replaced"];
        agent_stopped_ = false;
    }
    speaks_ = world_.speaks;
    start_agent();
}

// Its state is on its disk; what it would have in its memory when it goes on is no better.
void Machine::stop_agent(Span how_long) {
    if (!agent_ || quit_) return;
    if (supervisor_ && supervisor_->stopped && !reachable()) go_on();  // nobody could end both
    world_.say(id_.c_str(), "agent stops for " + to_words(how_long));
    ++world_.coverage["agent stopped"];
    if (agent_->connection) agent_->connection->cut(std::nullopt, std::nullopt);
    agent_.reset();
    if (supervisor_) supervisor_->listening = false;
    agent_stopped_ = true;
    asked_since_ = asked_ = world_.timeline.now();
    world_.timeline.in(how_long,
                       [this] {
                           if (!agent_stopped_ || agent_) return;
                           agent_stopped_ = false;
                           start_agent();
                       },
                       {life_});
}

void Machine::stop_supervisor(Span how_long) {
    if (!supervisor_ || supervisor_->stopped || (!agent_ && !reachable())) return;
    world_.say(id_.c_str(), "supervisor stops for " + to_words(how_long));
    ++world_.coverage["supervisor stopped"];
    supervisor_->stopped = true;
    for (const auto& [task, process] : supervisor_->tasks)
        if (!process.exit) world_.checker.may_run_longer(task, how_long);
    if (agent_) look_after_supervisor(0);
    world_.timeline.in(how_long, [this] { go_on(); }, {life_, supervisor_->life});
}

void Machine::go_on() {
    if (!supervisor_ || !supervisor_->stopped) return;
    supervisor_->stopped = false;
    const std::weak_ptr<char> life = supervisor_->life;
    while (!life.expired() && !supervisor_->deferred.empty()) {
        const auto next = std::move(supervisor_->deferred.front());
        supervisor_->deferred.pop_front();
        next();
    }
}

void Machine::supervise(std::function<void()> what) {
    if (supervisor_->stopped)
        supervisor_->deferred.push_back(std::move(what));
    else
        what();
}

// As SupervisorLink does.
void Machine::look_after_supervisor(int silent) {
    world_.timeline.in(
        5s,
        [this, silent] {
            if (!supervisor_->stopped || !agent_->supervised) return;
            const bool urgent = agent_->urgent || clock_.since_boot() >= agent_->fence;
            if (silent + 1 < (urgent ? 4 : 24)) return look_after_supervisor(silent + 1);
            ++world_.coverage[urgent ? "silent supervisor ended, which was to end something"
                                     : "silent supervisor ended"];
            kill_supervisor("the supervisor did not answer");
        },
        {life_, agent_->life, supervisor_->life});
}

void Machine::kill_agent(const char* why) {
    if (!agent_) return;
    if (supervisor_ && supervisor_->stopped && !reachable()) go_on();
    world_.say(id_.c_str(), std::string("agent ends: ") + why);
    ++world_.coverage["agent killed"];
    if (agent_->connection) {
        if (world_.dice.chance(0.5))
            agent_->connection->close(1);
        else
            agent_->connection->cut(world_.dice.pause(10ms, 5s), std::nullopt);
    }
    agent_.reset();
    if (supervisor_) supervisor_->listening = false;
}

void Machine::kill_supervisor(const std::string& why) {
    if (!supervisor_) return;
    world_.say(id_.c_str(), "supervisor killed");
    ++world_.coverage["supervisor killed"];
    drop_tasks();
    supervisor_.reset();
    if (!agent_) return;
    agent_->supervised = false;
    agent_->urgent = false;
    world_.timeline.in(world_.dice.pause(1ms, 1s),
                       [this, why] {
                           agent_->core->supervisor_gone(why);
                           pump();
                           world_.timeline.in(world_.dice.pause(1ms, 1s),
                                              [this] { connect_supervisor(); },
                                              {life_, agent_->life});
                       },
                       {life_, agent_->life});
}

// A task dies with its supervisor.
void Machine::drop_tasks() {
    if (!supervisor_) return;
    for (auto& [id, process] : supervisor_->tasks)
        if (!process.exit) world_.checker.task_ends(id, rank(id), id_, -1, false);
    supervisor_->tasks.clear();
}

void Machine::reboot() {
    world_.say(id_.c_str(), "reboots");
    ++world_.coverage["node rebooted"];
    if (agent_ && agent_->connection)
        agent_->connection->cut(world_.dice.chance(0.5)
                                    ? std::optional<Span>(world_.dice.pause(1s, 90s))
                                    : std::nullopt,
                                std::nullopt);
    agent_.reset();
    agent_stopped_ = false;
    drop_tasks();
    supervisor_.reset();
    // What was not synced may be there or not, but in order.
    const auto survives = [this](std::size_t synced, std::size_t all) {
        return static_cast<std::size_t>(world_.dice.between(
            static_cast<std::int64_t>(std::min(synced, all)), static_cast<std::int64_t>(all)));
    };
    records_.resize(survives(records_synced_, records_.size()));
    entries_.resize(survives(entries_synced_, entries_.size()));
    records_synced_ = records_.size();
    entries_synced_ = entries_.size();
    for (auto& [id, log] : logs_) {
        const std::size_t left = survives(log.synced, log.bytes.size());
        world_.checker.bytes_lost(id, rank(id));  // or the supervisor's record that there are any
        log.bytes.resize(left);
        log.synced = log.bytes.size();
    }
    clock_.reboot(static_cast<int>(world_.dice.between(-10'000, 10'000)));
    boots_ = static_cast<int>(world_.dice.between(1, 1'000'000'000));
    if (world_.dice.chance(0.5))
        world_.timeline.in(world_.dice.pause(1s, 60s), [this] { ensure_agent(); }, {life_});
}

void Machine::partition(Span how_long) {
    world_.say(id_.c_str(), "is cut off for " + to_words(how_long));
    ++world_.coverage["partition"];
    if (!agent_ && how_long > Span{}) go_on();
    partitioned_until_ = world_.timeline.now() + how_long;
    if (!agent_ || !agent_->connection) return;
    const auto notices = [this]() -> std::optional<Span> {
        if (world_.dice.chance(0.4)) return std::nullopt;  // half open, until somebody asks
        return world_.dice.pause(100ms, 60s);
    };
    agent_->connection->cut(notices(), notices());
}

void Machine::cut_link() {
    if (!agent_ || !agent_->connection) return;
    ++world_.coverage["link cut"];
    const auto notices = [this]() -> std::optional<Span> {
        if (world_.dice.chance(0.2)) return std::nullopt;
        return world_.dice.pause(1ms, 20s);
    };
    agent_->connection->cut(notices(), notices());
}

void Machine::stall_link(Span how_long) {
    if (!agent_ || !agent_->connection) return;
    ++world_.coverage["link stalled"];
    agent_->connection->stall(world_.timeline.now() + how_long);
}

// ---------------------------------------------------------------------------------------------
// The agent

void Machine::start_agent() {
    agent_ = std::make_unique<Agent>();
    agent::NodeFacts facts;
    facts.node = id_;
    facts.build = "simulated";
    facts.boot_id = "boot-" + std::to_string(boots_);
    facts.machine.cores = 2;
    world_.say(id_.c_str(), "agent starts with " + std::to_string(records_.size()) + " records");
    agent_->core = std::make_unique<agent::NodeCore>(facts, clock_);
    agent_->core->restore(records_);
    pump();
    if (world_.dice.chance(0.3)) {  // rewritten, and renamed into place
        ++world_.coverage["journal rewritten"];
        records_ = agent_->core->snapshot();
        records_synced_ = records_.size();
    }
    world_.timeline.in(world_.dice.pause(1ms, 500ms), [this] { connect_supervisor(); },
                       {life_, agent_->life});
    world_.timeline.in(world_.dice.pause(1ms, 1s), [this] { dial(); }, {life_, agent_->life});
}

void Machine::pump() {
    const std::weak_ptr<char> life = agent_->life;
    for (;;) {
        std::vector<agent::Effect> effects = agent_->core->take_effects();
        if (effects.empty()) break;
        for (agent::Effect& effect : effects) carry_out(std::move(effect));
    }
    const std::optional<Span> next = agent_->core->next_tick();
    if (!next || *next >= agent_->ticking) return;
    agent_->ticking = *next;
    world_.timeline.in(clock_.until(*next),
                       [this] {
                           agent_->ticking = Span::max();
                           agent_->core->tick();
                           pump();
                       },
                       {life_, agent_->life});
}

void Machine::carry_out(agent::Effect effect) {
    const Lives lives{life_, agent_->life};
    if (auto* send = std::get_if<ef::Send>(&effect)) {
        if (!agent_->connection) return;
        std::string frame = ap::encode(send->message);
        if (const auto* end = std::get_if<ap::EndReport>(&send->message);
            end && world_.checker.scripts.at(end->id.job).unreadable_end) {
            ++world_.coverage["an end could not be read"];
            frame[frame.find("\"cause\":\"") + 9] = 'X';
        }
        if (const auto* phase = std::get_if<ap::PhaseReport>(&send->message);
            phase && phase->phase == ap::Phase::Running && world_.mutation.ready_early &&
            Checker::is_replica(phase->id.job)) {
            ap::PhaseReport early = *phase;
            early.phase = ap::Phase::Ready;
            frame = ap::encode(ap::ToServer(early));
        }
        if (world_.verbose) world_.say(id_.c_str(), frame.substr(8, 200));
        agent_->connection->send(1, frame);
    } else if (auto* record = std::get_if<ef::Record>(&effect)) {
        records_.push_back(std::move(record->line));
        world_.timeline.in(world_.dice.pause(1ms, 5s),
                           [this, count = records_.size()] {
                               records_synced_ =
                                   std::max(records_synced_, std::min(count, records_.size()));
                           },
                           {life_});
    } else if (auto* fetch = std::get_if<ef::FetchSnapshot>(&effect)) {
        operate(fetch->id, 1);
    } else if (auto* prepare = std::get_if<ef::PrepareEnvironment>(&effect)) {
        operate(prepare->id, 2);
    } else if (auto* inputs = std::get_if<ef::FetchInputs>(&effect)) {
        operate(inputs->id, 3);
    } else if (auto* outputs = std::get_if<ef::ShipOutputs>(&effect)) {
        operate(outputs->id, 4);
    } else if (auto* begin = std::get_if<ef::StartTask>(&effect)) {
        Start start{begin->id, begin->preamble, {}};
        if (const auto task = agent_->core->task(begin->id)) {
            if (task->rank > 0) ranks_[begin->id] = task->rank;
            world_.checker.task_arrived(begin->id, *task);
            start.time_limit = task->timeout;
        }
        tell_supervisor([this, start] { start_task(start); });
    } else if (auto* signal = std::get_if<ef::SignalTask>(&effect)) {
        if (signal->signal == SIGKILL) agent_->urgent = true;
        tell_supervisor([this, signal = *signal] { signal_task(signal.id, signal.signal); });
    } else if (auto* slots = std::get_if<ef::SetSlots>(&effect)) {
        tell_supervisor([this, count = slots->count] {
            supervisor_->slots = count + (world_.mutation.more_at_once ? 1 : 0);
            begin_waiting();
        });
    } else if (auto* append = std::get_if<ef::AppendLog>(&effect)) {
        if (const auto task = agent_->core->task(append->id); task && task->rank > 0)
            ranks_[append->id] = task->rank;
        if (log_length(append->id) == 0) print(append->id, append->text);
        world_.timeline.in(
            Span{},
            [this, id = append->id] {
                agent_->core->log_grew(id, agent::kStdLog, log_length(id));
                pump();
            },
            lives);
    } else if (auto* ship = std::get_if<ef::ShipLog>(&effect)) {
        const auto log = logs_.find(ship->id);
        if (!agent_->connection || log == logs_.end() || ship->offset >= log->second.bytes.size())
            return;
        streams_[ship->id] = ship->stream;
        ap::LogChunk chunk{
            ship->id, log_stream(world_.checker.scripts.at(ship->id.job).nodes, rank(ship->id)),
            ship->offset, log->second.bytes.substr(ship->offset, ship->length)};
        const std::uint64_t end = chunk.offset + chunk.bytes.size();
        agent_->connection->send(1, ap::encode(ap::ToServer(std::move(chunk))));
        if (world_.mutation.log_acked_early)
            world_.timeline.in(
                1us,
                [this, id = ship->id, stream = ship->stream, end] {
                    agent_->core->from_server(ap::LogAck{id, stream, end});
                    pump();
                },
                lives);
    } else if (auto* abort = std::get_if<ef::Abort>(&effect)) {
        agent_->operations.erase(abort->id);
    } else if (auto* forget = std::get_if<ef::Forget>(&effect)) {
        logs_.erase(forget->id);
        tell_supervisor([this, id = forget->id] {
            if (supervisor_->tasks.erase(id) > 0) journal({id, Entry::What::Forgotten, {}, {}});
        });
    } else if (auto* ask = std::get_if<ef::ProbePort>(&effect)) {
        world_.timeline.in(
            world_.dice.pause(100us, ask->probe.timeout),
            [this, id = ask->id, number = ask->number] {
                agent_->core->probed(id, number, probe(id));
                pump();
            },
            lives);
    } else if (std::holds_alternative<ef::OpenChannel>(effect)) {
        // Bytes of users: nothing of the life of a job hangs on them.
    } else if (auto* fence = std::get_if<ef::SetFence>(&effect)) {
        agent_->fence = fence->deadline;
        tell_supervisor([this, deadline = fence->deadline] {
            supervisor_->fence = deadline;
            arm_fence();
        });
    } else if (std::holds_alternative<ef::Quit>(effect)) {
        world_.say(id_.c_str(), "quits");
        ++world_.coverage["agent quit"];
        quit_ = true;
        world_.timeline.in(world_.dice.pause(1ms, 2s), [this] { world_.machines.erase(id_); },
                           {life_});
    }
}

// Snapshot, environment, inputs, outputs: something that takes time, may need the server, may fail.
void Machine::operate(const AttemptId& id, int step) {
    const std::uint64_t operation = ++operation_;
    agent_->operations[id] = operation;
    const Span takes = world_.short_tasks ? (world_.dice.chance(0.98) ? world_.dice.pause(20us, 2ms)
                                                                      : world_.dice.pause(2ms, 2s))
                       : world_.dice.chance(0.7) ? world_.dice.pause(1ms, 2s)
                                                 : world_.dice.pause(1s, 60s);
    world_.timeline.in(takes, [this, id, step, operation] { finish(id, step, operation); },
                       {life_, agent_->life});
}

void Machine::finish(const AttemptId& id, int step, std::uint64_t operation) {
    const auto found = agent_->operations.find(id);
    if (found == agent_->operations.end() || found->second != operation) return;
    const bool cached = step != 4 && world_.dice.chance(0.5);
    if (!cached && (!agent_->connection || !agent_->connection->whole())) {
        world_.timeline.in(2s, [this, id, step, operation] { finish(id, step, operation); },
                           {life_, agent_->life});
        return;
    }
    Result<void> result;
    if (world_.faults.on && world_.dice.chance(world_.faults.preparation_fails)) {
        ++world_.coverage["preparation failed by our fault"];
        result = internal("something of ours broke");
    } else if (world_.checker.scripts.at(id.job).fails_in == step) {
        ++world_.coverage["preparation failed by theirs"];
        result = invalid("it cannot be had");
    }
    if (step == 1)
        agent_->core->snapshot_done(id, std::move(result));
    else if (step == 2)
        agent_->core->environment_done(id, std::move(result));
    else if (step == 3)
        agent_->core->inputs_done(id, std::move(result));
    else
        agent_->core->outputs_shipped(id, std::move(result));
    pump();
}

void Machine::dial() {
    if (agent_->connection || quit_) return;
    std::shared_ptr<Connection> connection;
    if (!world_.dial(*this, connection)) {
        world_.timeline.in(world_.dice.pause(200ms, 5s), [this] { dial(); }, {life_, agent_->life});
        return;
    }
    agent_->connection = connection;
    agent_->frames = {};
    agent_->heard = world_.timeline.now();
    connection->end(1).on_bytes = [this,
                                   life = std::weak_ptr<char>(agent_->life)](std::string bytes) {
        if (!life.expired()) from_server(std::move(bytes));
    };
    connection->end(1).on_closed = [this, life = std::weak_ptr<char>(agent_->life)] {
        if (!life.expired()) link_lost();
    };
    const int version = version_of_hello(speaks_, world_.speaks);
    if (!common_version(speaks_, world_.speaks))
        ++world_.coverage["agent refused, whose version is not spoken"];
    else if (version != ap::kVersion)
        ++world_.coverage["link in the words of an earlier version"];
    agent_->core->server_connected(version);
    pump();
    watch_link();
}

void Machine::link_lost() {
    agent_->connection->close(1);
    agent_->connection.reset();
    agent_->core->server_disconnected();
    pump();
    world_.timeline.in(world_.dice.pause(50ms, 5s), [this] { dial(); }, {life_, agent_->life});
}

// The server says something now and then; a silent link is a dead one.
void Machine::watch_link() {
    const std::shared_ptr<Connection> watched = agent_->connection;
    world_.timeline.in(10s,
                       [this, watched] {
                           if (agent_->connection != watched) return;
                           if (world_.timeline.now() - agent_->heard < 60s) return watch_link();
                           ++world_.coverage["silent link given up by the agent"];
                           link_lost();
                       },
                       {life_, agent_->life});
}

void Machine::from_server(std::string bytes) {
    agent_->heard = world_.timeline.now();
    agent_->frames.feed(bytes);
    for (;;) {
        const Result<std::optional<ap::FrameReader::Frame>> frame = agent_->frames.next();
        if (!frame || !*frame) return;
        Result<ap::ToAgent> message = ap::decode_to_agent(**frame);
        if (!message) {
            const ap::Unreadable seen = ap::look_at_unreadable(**frame);
            if (!seen.id || !world_.checker.scripts.at(seen.id->job).unreadable)
                return world_.checker.violate("the agent cannot read a frame: " +
                                              message.error().message);
            ++world_.coverage["a lease could not be read"];
            agent_->core->unreadable(*seen.id, message.error().message);
            pump();
            continue;
        }
        if (auto* ack = std::get_if<ap::LogAck>(&*message)) ack->stream = streams_[ack->id];
        if (const auto* cancel = std::get_if<ap::Cancel>(&*message);
            cancel && cancel->only_if_waiting) {
            const bool begun = agent_->core->running(cancel->id);
            ++world_.coverage[begun ? "revoke came too late" : "revoke came in time"];
            if (begun && world_.mutation.begun_is_revoked && agent_->connection) {
                ap::EndReport report;
                report.id = cancel->id;
                report.ending.cause = ap::Cause::Preempted;
                report.ending.exit_code = -1;
                agent_->connection->send(1, ap::encode(ap::ToServer(report)));
            }
        }
        agent_->core->from_server(*message);
        pump();
    }
}

// ---------------------------------------------------------------------------------------------
// The supervisor

void Machine::connect_supervisor() {
    if (!supervisor_) start_supervisor();
    agent_->supervised = true;
    if (supervisor_->stopped) look_after_supervisor(0);
    tell_supervisor([this, asker = std::weak_ptr<char>(agent_->life)] {
        if (asker.expired()) return;
        std::vector<agent::TaskState> list;
        for (const auto& [id, process] : supervisor_->tasks)
            if (!world_.mutation.supervisor_forgets)
                list.push_back({id, process.started, log_length(id), process.exit});
        for (const Start& start : supervisor_->waiting)
            list.push_back({start.id, {}, 0, std::nullopt, true});
        supervisor_->listening = true;
        tell_agent([this, list = std::move(list)] { agent_->core->supervisor_listed(list); });
    });
}

void Machine::start_supervisor() {
    supervisor_ = std::make_unique<Supervisor>();
    for (const Entry& entry : entries_) {
        if (entry.what == Entry::What::Forgotten)
            supervisor_->tasks.erase(entry.id);
        else if (entry.what == Entry::What::Exited)
            supervisor_->tasks[entry.id].exit = entry.exit;
        else
            supervisor_->tasks[entry.id].started = entry.at;
    }
    for (auto& [id, process] : supervisor_->tasks) {
        if (process.exit) continue;
        agent::TaskExit lost;
        lost.lost = true;
        lost.log_length = log_length(id);
        process.exit = lost;
        journal({id, Entry::What::Exited, {}, lost});
    }
}

void Machine::tell_supervisor(std::function<void()> what) {
    if (!supervisor_ || !agent_->supervised) return;
    to_supervisor_ =
        std::max(to_supervisor_ + 1us, world_.timeline.now() + world_.dice.pause(10us, 20ms));
    // What a killed agent had written may still be read, or not.
    Lives lives{life_, supervisor_->life};
    if (world_.dice.chance(0.5)) lives.push_back(agent_->life);
    world_.timeline.at(
        to_supervisor_, [this, what = std::move(what)] { supervise(what); }, std::move(lives));
}

void Machine::tell_agent(std::function<void()> what) {
    if (!agent_ || !supervisor_->listening) return;
    to_agent_ = std::max(to_agent_ + 1us, world_.timeline.now() + world_.dice.pause(10us, 20ms));
    world_.timeline.at(to_agent_,
                       [this, what = std::move(what)] {
                           agent_->urgent = false;
                           what();
                           pump();
                       },
                       {life_, agent_->life, supervisor_->life});
}

void Machine::start_task(const Start& start) {
    const AttemptId& id = start.id;
    const auto known = supervisor_->tasks.find(id);
    if (known != supervisor_->tasks.end() && !world_.mutation.supervisor_forgets) {
        ++world_.coverage["second start refused"];
        tell_agent([this, id, at = known->second.started] { agent_->core->task_started(id, at); });
        if (known->second.exit)
            tell_agent(
                [this, id, exit = *known->second.exit] { agent_->core->task_exited(id, exit); });
        return;
    }
    if (world_.checker.scripts.at(id.job).ends_supervisor == 1) {
        ++world_.coverage["a start took the supervisor with it"];
        return kill_supervisor();
    }
    auto& waiting = supervisor_->waiting;
    if (std::any_of(waiting.begin(), waiting.end(),
                    [&](const Start& item) { return item.id == id; }))
        return;
    waiting.push_back(start);
    begin_waiting();
    if (!waiting.empty()) ++world_.coverage["start waited at the supervisor"];
}

void Machine::begin_waiting() {
    const auto running = [&] {
        return std::count_if(supervisor_->tasks.begin(), supervisor_->tasks.end(),
                             [](const auto& task) { return !task.second.exit; });
    };
    while (!supervisor_->waiting.empty() && running() < supervisor_->slots) {
        const Start start = std::move(supervisor_->waiting.front());
        supervisor_->waiting.pop_front();
        begin_task(start);
    }
}

void Machine::begin_task(const Start& start) {
    const AttemptId& id = start.id;
    world_.say(id_.c_str(), "starts " + text(id));
    world_.checker.task_starts(id, rank(id), id_);
    Process& process = supervisor_->tasks[id];
    process.life = born();
    process.started = clock_.since_boot();
    journal({id, Entry::What::Started, process.started, {}});
    if (log_length(id) == 0) print(id, start.preamble);
    tell_agent([this, id, at = process.started] { agent_->core->task_started(id, at); });
    if (start.time_limit > Span{} && !world_.mutation.limit_not_kept)
        arm_limit(id, start.time_limit);
    const Script& script = world_.checker.scripts.at(id.job);
    const Lives lives{life_, supervisor_->life, process.life};
    if (script.ends_supervisor == 2)
        world_.timeline.in(
            script.runs / 2,
            [this] {
                ++world_.coverage["a command took the supervisor with it"];
                kill_supervisor();
            },
            lives);
    for (int line = 0; line < script.lines; ++line)
        world_.timeline.in(
            script.runs * (line + 1) / (script.lines + 1),
            [this, id] { supervise([this, id] { task_prints(id); }); }, lives);
    world_.timeline.in(
        script.runs + 1us,
        [this, id, code = script.exit_code_of(rank(id))] {
            supervise([this, id, code] {  // it may have been killed by what came before this
                if (runs(id)) end_task(id, code, 0, false, true);
            });
        },
        lives);
}

void Machine::task_prints(const AttemptId& id) {
    if (!runs(id)) return;
    Process& process = supervisor_->tasks.at(id);
    print(id, Checker::line(id, rank(id), process.printed++));
    if (world_.dice.chance(0.7))
        tell_agent([this, id, length = log_length(id)] {
            agent_->core->log_grew(id, agent::kStdLog, length);
        });
}

void Machine::signal_task(const AttemptId& id, int signal) {
    auto& waiting = supervisor_->waiting;
    const auto place = std::find_if(waiting.begin(), waiting.end(),
                                    [&](const Start& item) { return item.id == id; });
    if (place != waiting.end()) {
        ++world_.coverage["waiting start dropped"];
        waiting.erase(place);
        tell_agent([this, id] {
            agent_->core->task_started(id, fail(Code::Canceled, "Dropped", "dropped"));
        });
        return;
    }
    if (signal == 0) return;
    const auto found = supervisor_->tasks.find(id);
    if (found == supervisor_->tasks.end() || found->second.exit) return;
    if (signal == SIGKILL) return end_task(id, 128 + SIGKILL, SIGKILL, false, false);
    if (world_.checker.scripts.at(id.job).ignores_term) return;
    world_.timeline.in(world_.dice.pause(1ms, 2s),
                       [this, id] {
                           supervise([this, id] {
                               if (runs(id)) end_task(id, 128 + SIGTERM, SIGTERM, false, false);
                           });
                       },
                       {life_, supervisor_->life, found->second.life});
}

std::string Machine::probe(const AttemptId& id) {
    if (!supervisor_ || !runs(id)) return "nobody listens";
    const Span after = world_.checker.scripts.at(id.job).ready_after;
    if (clock_.since_boot() - supervisor_->tasks.at(id).started < after) return "refused";
    if (world_.faults.on && world_.dice.chance(0.05)) {
        ++world_.coverage["probe failed"];
        return "no answer";
    }
    world_.checker.was_ready(id);
    ++world_.coverage["probe went well"];
    return "";
}

bool Machine::runs(const AttemptId& id) const {
    const auto found = supervisor_->tasks.find(id);
    return found != supervisor_->tasks.end() && !found->second.exit;
}

void Machine::end_task(const AttemptId& id, int exit_code, int signal, bool fenced,
                       bool by_itself) {
    Process& process = supervisor_->tasks.at(id);
    world_.say(id_.c_str(),
               text(id) + " ends with " + std::to_string(exit_code) + (fenced ? ", fenced" : ""));
    agent::TaskExit exit;
    exit.exit_code = exit_code;
    exit.signal = signal;
    exit.fenced = fenced;
    exit.timed_out = process.timed_out;
    exit.started = process.started;
    exit.ended = clock_.since_boot();
    exit.log_length = log_length(id);
    process.exit = exit;
    process.life.reset();
    world_.checker.task_ends(id, rank(id), id_, exit_code, by_itself);
    journal({id, Entry::What::Exited, {}, exit});
    tell_agent([this, id, exit] { agent_->core->task_exited(id, exit); });
    begin_waiting();
}

void Machine::arm_fence() {
    if (supervisor_->fence == Span::max()) return;
    world_.timeline.in(clock_.until(supervisor_->fence),
                       [this] { supervise([this] { meet_fence(); }); }, {life_, supervisor_->life});
}

void Machine::meet_fence() {
    if (clock_.since_boot() < supervisor_->fence) return;
    for (const Start& start : std::exchange(supervisor_->waiting, {})) {
        ++world_.coverage["waiting start dropped at the fence"];
        tell_agent([this, id = start.id] {
            agent_->core->task_started(id, fail(Code::Canceled, "Dropped", "dropped"));
        });
    }
    std::vector<AttemptId> running;
    for (const auto& [id, process] : supervisor_->tasks)
        if (!process.exit) running.push_back(id);
    for (const AttemptId& id : running) {
        ++world_.coverage["task fenced by the supervisor"];
        end_task(id, 128 + SIGKILL, SIGKILL, true, false);
    }
}

// TERM when it is met, KILL after the grace, whoever lives.
void Machine::arm_limit(const AttemptId& id, Span limit) {
    Process& process = supervisor_->tasks.at(id);
    world_.timeline.in(
        clock_.until(process.started + limit),
        [this, id, limit] {
            supervise([this, id, limit] {
                if (!runs(id)) return;
                ++world_.coverage["time limit met"];
                supervisor_->tasks.at(id).timed_out = true;
                signal_task(id, SIGTERM);
                if (!runs(id)) return;
                world_.timeline.in(
                    clock_.until(supervisor_->tasks.at(id).started + limit + agent::kTimeoutGrace),
                    [this, id] { supervise([this, id] { signal_task(id, SIGKILL); }); },
                    {life_, supervisor_->life, supervisor_->tasks.at(id).life});
            });
        },
        {life_, supervisor_->life, process.life});
}

void Machine::journal(Entry entry) {
    entries_.push_back(std::move(entry));
    world_.timeline.in(world_.dice.pause(1ms, 5s),
                       [this, count = entries_.size()] {
                           entries_synced_ =
                               std::max(entries_synced_, std::min(count, entries_.size()));
                       },
                       {life_});
}

void Machine::print(const AttemptId& id, std::string_view bytes) {
    logs_[id].bytes += bytes;
    world_.checker.wrote(id, rank(id), bytes);
    world_.timeline.in(world_.dice.pause(1ms, 5s),
                       [this, id, length = logs_[id].bytes.size()] {
                           const auto found = logs_.find(id);
                           if (found == logs_.end()) return;
                           found->second.synced = std::max(
                               found->second.synced, std::min(length, found->second.bytes.size()));
                       },
                       {life_});
}

int Machine::rank(const AttemptId& id) const {
    const auto found = ranks_.find(id);
    return found == ranks_.end() ? 0 : found->second;
}

std::uint64_t Machine::log_length(const AttemptId& id) const {
    const auto found = logs_.find(id);
    return found == logs_.end() ? 0 : found->second.bytes.size();
}

}  // namespace turnout::simulation

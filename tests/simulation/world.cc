#include "world.h"

#include <algorithm>
#include <cstdio>

namespace turnout::simulation {

namespace ap = agent_protocol;

namespace {
constexpr Span kSettleWithin = 4h;
constexpr int kPartition = 5;
constexpr int kKinds = 11;
}  // namespace

// ---------------------------------------------------------------------------------------------
// The disk

DiskStore::DiskStore(World& world, MemoryStore::State state, std::weak_ptr<char> life)
    : MemoryStore(std::move(state)), world_(world), life_(std::move(life)) {}

void DiskStore::commit(Batch batch, Done done) {
    if (world_.mutation.rank_forgotten || world_.mutation.cancel_forgotten)
        for (Write& write : batch.writes) {
            if (write.table != Table::JobState || !write.value) continue;
            Json state = parse_json(*write.value).value();
            if (world_.mutation.rank_forgotten && state.at("attempts").is_array()) {
                Json attempts = Json::array();
                for (Json attempt : state.at("attempts").items()) {
                    attempt.erase("endedRanks");
                    attempts.push(std::move(attempt));
                }
                state.set("attempts", std::move(attempts));
            }
            if (world_.mutation.cancel_forgotten) state.erase("cancelRequested");
            write.value = state.dump();
        }
    if (world_.mutation.events_lost && world_.dice.chance(0.1))
        std::erase_if(batch.writes, [](const Write& write) { return write.table == Table::Event; });
    std::vector<std::pair<Table, std::string>> keys;
    for (const Write& write : batch.writes) keys.emplace_back(write.table, write.key);
    keys_.push_back(std::move(keys));
    if (world_.sqlite) batches_.push_back(batch);
    if (world_.mutation.effects_before_commit) {
        world_.timeline.in(1us, [done] { done(1); }, {life_});
        done = [](Result<std::uint64_t>) {};
    }
    MemoryStore::commit(std::move(batch), std::move(done));
    write_out();
}

// One group after the other. Being durable and being told so are two events: a crash fits between.
void DiskStore::write_out() {
    if (writing_ || queued() == 0) return;
    writing_ = true;
    const bool quick = world_.dice.chance(world_.short_tasks ? 0.995 : 0.97);
    const Span takes = quick ? world_.dice.pause(100us, world_.short_tasks ? 4ms : 20ms)
                             : world_.dice.pause(20ms, 3s);
    world_.timeline.in(takes,
                       [this] {
                           const std::size_t group = static_cast<std::size_t>(
                               world_.dice.between(1, static_cast<std::int64_t>(queued())));
                           if (world_.faults.on && world_.dice.chance(world_.faults.commit_fails)) {
                               ++world_.coverage["commit failed"];
                               world_.commit_failed = world_.timeline.now();
                               fail_next(Error{Code::ResourceExhausted, "DiskFull",
                                               "no space left on the disk", ""});
                           }
                           if (world_.sqlite) {
                               const std::size_t there = write_to_sqlite(group);
                               tell_checker(there);
                               if (world_.power_failed) return;  // nobody else is told
                           } else {
                               persist(group);
                               tell_checker(group);
                           }
                           world_.timeline.in(world_.dice.pause(10us, 5ms),
                                              [this] {
                                                  writing_ = false;
                                                  deliver();
                                                  write_out();
                                              },
                                              {life_});
                       },
                       {life_});
}

void DiskStore::tell_checker(std::size_t group) {
    std::vector<std::pair<Table, std::string>> written;
    for (; group > 0; --group) {
        written.insert(written.end(), keys_.front().begin(), keys_.front().end());
        keys_.pop_front();
    }
    world_.checker.persisted(durable(), written);
}

// The memory store says what each batch must lead to, one by one.
std::size_t DiskStore::write_to_sqlite(std::size_t group) {
    for (std::size_t i = 0; i < group; ++i) {
        const Batch batch = std::move(batches_.front());
        batches_.pop_front();
        const MemoryStore::State before = durable();
        persist(1);
        if (durable().revision == before.revision) continue;  // refused
        if (world_.faults.on && world_.dice.chance(0.01))
            world_.sqlite->cut_after(static_cast<std::uint64_t>(world_.dice.between(1, 30)));
        if (world_.sqlite->write(batch)) continue;
        // It was on its way when the power failed: it is there in full or not at all.
        ++world_.coverage["power failed in a commit"];
        world_.power_failed = true;
        if (const std::string trouble = world_.sqlite->lose_power(); !trouble.empty())
            world_.checker.violate(trouble);
        const std::string without = world_.sqlite->differs(before);
        if (without.empty()) {
            replace_durable(before);
            return i;
        }
        if (const std::string with = world_.sqlite->differs(durable()); !with.empty())
            world_.checker.violate("after the power failed " + without + ", and " + with);
        return i + 1;
    }
    return group;
}

// ---------------------------------------------------------------------------------------------
// The server

Server::Server(World& w, MemoryStore::State state)
    : world(w),
      loop(w.timeline, w.server_clock, life),
      store(w, std::move(state), life),
      tracking(store, w.server_clock, w.dice, loop),
      links(loop, tracking),
      control(w.server_clock, store, *this, w.settings) {
    links.set_control(&control);
    world.checker.durable_is(&store.durable());
}

void Server::begin() {
    if (const Result<void> recovered = control.recover(); !recovered)
        world.checker.violate("the server cannot recover: " + recovered.error().message);
}

Server::~Server() = default;

MemoryStore::State Server::crash() {
    life.reset();
    return store.crash();
}

void Server::send(const NodeId& node, ap::ToAgent message) {
    if (world.verbose) world.say("server", "to " + node + " " + ap::encode(message).substr(8, 160));
    if (auto* welcome = std::get_if<ap::Welcome>(&message)) {
        if (world.mutation.no_fence) welcome->lost_node_after = Span{};
        if (world.mutation.early_replacement) welcome->lost_node_after = world.lost_node_after;
        if (world.mutation.backlog_without_limit) welcome->max_running = 1;
    }
    if (world.mutation.lease_before_base && std::holds_alternative<ap::Base>(message)) {
        held_.insert_or_assign(node, std::move(message));
        return;
    }
    world.checker.leaves(store.durable(), node, message);
    if (auto* lease = std::get_if<ap::Lease>(&message);
        lease && world.checker.scripts.at(lease->id.job).unreadable)
        lease->task = Json("?");
    links.send(node, message);
    if (!std::holds_alternative<ap::Lease>(message)) return;
    if (const auto base = held_.extract(node)) {
        world.checker.leaves(store.durable(), node, base.mapped());
        links.send(node, base.mapped());
    }
}
void Server::provision(const Node& node) {
    world.checker.provisions(store.durable(), node.id());
    world.request(true, node.id());
}
void Server::release(const Node& node) {
    world.checker.releases(store.durable(), node.id());
    world.request(false, node.id());
}
void Server::disconnect(const NodeId& node) {
    links.disconnect(node);
}

void Server::accept(const NodeId& node, std::shared_ptr<Connection> connection) {
    start(links.serve(node, std::make_unique<ServerStream>(world.timeline, world.dice,
                                                           std::move(connection))),
          [] {});
}

void Server::arm() {
    const std::optional<Span> next = control.next_tick();
    if (!next || *next >= ticking_) return;
    ticking_ = *next;
    world.timeline.in(world.server_clock.until(*next),
                      [this] {
                          ticking_ = Span::max();
                          control.tick();
                      },
                      {life});
}

// ---------------------------------------------------------------------------------------------
// The world

World::World(std::uint64_t s, Mutation m, bool v, bool real_database, Coverage& c)
    : seed(s),
      mutation(m),
      verbose(v),
      dice(s),
      coverage(c),
      slots(static_cast<int>(dice.between(1, 4))),
      checker(timeline, coverage),
      server_clock(timeline, static_cast<int>(dice.between(-10'000, 10'000))) {
    settings.slots = slots;
    settings.lost_node_after = mutation.early_replacement ? 20s : lost_node_after;
    settings.lost_node_margin = mutation.early_replacement ? Span{} : Span(60s);
    settings.serverless_idle = 20s;
    settings.run_token = [](const ap::AttemptId&) { return Secret(std::string(kPlantedSecret)); };
    long_tasks = dice.chance(0.3);
    many_bases = dice.chance(0.005);
    if (many_bases) long_tasks = false;
    short_tasks = many_bases || (!long_tasks && dice.chance(0.4));
    if (dice.chance(0.4)) gangs = dice.unit() * 0.6;
    if (gangs > 0) settings.slots = slots = std::max(slots, static_cast<int>(dice.between(2, 6)));
    checker.slots = slots;
    if (mutation.extra_slot) ++settings.slots;
    priorities = dice.chance(0.4);
    sharers = dice.chance(0.4);
    low_priority = dice.chance(0.3);
    several_at_once = dice.chance(0.35);
    settings.preemption_grace = dice.pause(1s, 60s);

    if (real_database) {
        sqlite = std::make_unique<SqliteDisk>(s);
        if (const std::string trouble = sqlite->open(); !trouble.empty()) checker.violate(trouble);
    }
    const double rate = dice.chance(0.1) ? 0 : 1;  // some worlds are without faults
    if (dice.chance(0.6)) faults.lost_message = rate * dice.unit() * 0.3;
    if (dice.chance(0.4)) faults.commit_fails = rate * dice.unit() * 0.1;
    if (dice.chance(0.3)) faults.crash_per_step = rate * dice.unit() * 0.005;
    if (dice.chance(0.3)) faults.preparation_fails = rate * dice.unit() * 0.2;
    faults.every = short_tasks ? dice.pause(100ms, 30s) : dice.pause(3s, 120s);
    for (int kind = 0; kind < kKinds; ++kind)
        if (rate > 0 && dice.chance(0.4)) faults.kinds.push_back(kind);
    if (rate > 0 && dice.chance(0.2)) {  // one thing only, and time for it to have its consequences
        const Span every = short_tasks ? dice.pause(1s, 1min) : dice.pause(1min, 10min);
        faults = {};
        faults.kinds = {dice.chance(0.5) ? kPartition
                                         : static_cast<int>(dice.between(0, kKinds - 1))};
        faults.every = every;
        long_tasks = !short_tasks;
    }
    if (many_bases) faults = {}, faults.on = false;
}

World::~World() {
    // Coroutines of a dying server finish in events of their own.
    faults.on = false;
    if (server) server->crash();
    server.reset();
    machines.clear();
    while (timeline.step()) {
    }
}

void World::say(const char* who, const std::string& what) {
    if (verbose)
        std::printf("%12.6f  %-14s %s\n", static_cast<double>(timeline.now().count()) / 1e6, who,
                    what.c_str());
}

std::string World::run() {
    server = std::make_unique<Server>(*this, MemoryStore::State{});
    server->begin();
    plan_client();
    const Span faulty = long_tasks    ? dice.pause(10min, 90min)
                        : short_tasks ? dice.pause(30s, 10min)
                                      : dice.pause(2min, 25min);
    next_fault();
    timeline.in(faulty, [this] { stop_faults(); }, {always});
    Span seen{};
    std::uint64_t at_once = 0;
    while (!enough()) {
        if (!timeline.step()) break;
        if (timeline.now() != seen) at_once = 0;
        seen = timeline.now();
        if (++at_once > 20'000) checker.violate("time stands still: something goes on without end");
        if (std::exchange(power_failed, false))
            crash_server("with its machine, in the middle of a commit");
        if (server) server->arm();
        if (faults.on && server && dice.chance(faults.crash_per_step)) crash_server("at some step");
        if (settling && quiet()) break;
        if (timeline.now() > faulty + kSettleWithin) break;
    }
    if (!enough()) {
        checker.require(server != nullptr, "the server is not there at the end");
        if (server) checker.settled(server->store.durable());
        checker.require(asking == 0,
                        "the client has no answer to " + std::to_string(asking) + " requests");
        if (server)
            for (const auto& [id, record] :
                 server->store.durable().tables[static_cast<std::size_t>(Table::Node)])
                checker.violate("node " + id + " is never gone: " + record.value);
        for (const auto& [id, machine] : machines)
            checker.require(machine->empty(), "an orphan is left on " + id);
    }
    coverage["events"] += timeline.steps();
    always.reset();
    return checker.violation();
}

bool World::quiet() const {
    if (!server || asking > 0) return false;
    const MemoryStore::State& state = server->store.durable();
    return state.tables[static_cast<std::size_t>(Table::JobLive)].empty() &&
           state.tables[static_cast<std::size_t>(Table::Node)].empty() &&
           std::all_of(machines.begin(), machines.end(),
                       [](const auto& one) { return one.second->empty(); });
}

// ---------------------------------------------------------------------------------------------
// The provider: the way to a machine is as bad as any other.

void World::request(bool provision, const NodeId& node) {
    int copies = 1;
    if (faults.on && dice.chance(faults.lost_message)) {
        copies = dice.chance(0.5) ? 0 : 2;
        ++coverage[copies == 0 ? "provider request lost" : "provider request doubled"];
    }
    for (int i = 0; i < copies; ++i)
        timeline.in(dice.pause(5ms, 5s),
                    [this, provision, node, life = std::weak_ptr<char>(server->life)] {
                        perform(provision, node, life);
                    },
                    {always});
}

void World::perform(bool provision, const NodeId& node, std::weak_ptr<char> asker) {
    const auto answer = [this, asker](std::function<void(Control&)> what) {
        if (faults.on && dice.chance(faults.lost_message)) {
            ++coverage["provider answer lost"];
            return;
        }
        timeline.in(dice.pause(1ms, 2s), [this, what] { what(server->control); }, {asker});
    };
    const auto found = machines.find(node);
    Machine* machine = found == machines.end() ? nullptr : found->second.get();
    if (provision) {
        if ((machine && !machine->reachable()) || (faults.on && dice.chance(faults.lost_message))) {
            ++coverage["provisioning failed"];
            return answer([node](Control& control) {
                control.node_failed(
                    node, Error{Code::Unavailable, "NoHost", "the machine does not answer", ""});
            });
        }
        if (!machine) {
            machine =
                machines.emplace(node, std::make_unique<Machine>(*this, node)).first->second.get();
            ++coverage["machine made"];
            say("provider", "makes " + node);
        }
        machine->ensure_agent();
        return;
    }
    if (machine && !machine->reachable()) {  // tried again as long as the one who asked lives
        timeline.in(10s, [this, node, asker] { perform(false, node, asker); }, {always, asker});
        return;
    }
    if (machine) {
        say("provider", "ends " + node);
        ++coverage["machine released"];
        machines.erase(found);
    }
    answer([node](Control& control) { control.node_gone(node); });
}

bool World::dial(Machine& machine, std::shared_ptr<Connection>& connection) {
    if (!server || !machine.reachable()) return false;
    if (faults.on && dice.chance(faults.lost_message)) return false;
    connection = std::make_shared<Connection>(timeline, dice);
    server->accept(machine.id(), connection);
    return true;
}

// ---------------------------------------------------------------------------------------------
// Faults

void World::next_fault() {
    if (faults.kinds.empty()) return;
    const double gap = -std::log(1 - dice.unit()) * static_cast<double>(faults.every.count());
    timeline.in(Span(static_cast<std::int64_t>(gap)),
                [this] {
                    if (!faults.on) return;
                    fault();
                    next_fault();
                },
                {always});
}

void World::fault() {
    const int kind = faults.kinds[static_cast<std::size_t>(
        dice.between(0, static_cast<std::int64_t>(faults.kinds.size()) - 1))];
    if (kind == 0) return crash_server("fault");
    if (kind == 1) {
        ++coverage["wall clock set"];
        server_clock.wall_offset += dice.chance(0.5) ? dice.pause(1s, 3h) : -dice.pause(1s, 3h);
        return;
    }
    if (machines.empty()) return;
    auto at = machines.begin();
    std::advance(at, dice.between(0, static_cast<std::int64_t>(machines.size()) - 1));
    Machine& machine = *at->second;
    switch (kind) {
        case 2: return machine.kill_agent("killed");
        case 3: return machine.kill_supervisor();
        case 4: return machine.reboot();
        case kPartition:
            return machine.partition(dice.chance(0.5) ? dice.pause(1s, 25min)
                                                      : dice.span(1min, 40min));
        case 6: return machine.cut_link();
        case 7: return machine.stall_link(dice.pause(1s, 40s));
        case 8: {  // agent and supervisor at once
            machine.kill_supervisor();
            return machine.kill_agent("killed with its supervisor");
        }
        case 9: {  // the machine is taken away, and with luck the provider says so
            say("world", at->first + " vanishes");
            ++coverage["machine vanished"];
            const NodeId id = at->first;
            if (!mutation.gone_without_proof) machines.erase(at);
            if (server && dice.chance(0.5))
                timeline.in(dice.pause(1ms, 30s),
                            [this, id] {
                                if (mutation.gone_without_proof || !machines.contains(id))
                                    server->control.node_gone(id);
                            },
                            {server->life});
            return;
        }
        default: ++coverage["wall clock set"]; machine.clock().wall_offset += dice.pause(1s, 3h);
    }
}

// What a server that starts now would know, against what this one knows. Only while all that it
// did is durable.
void World::compare_recovered() {
    if (!server || !server->store.at_rest()) return;
    const std::optional<Span> next = server->control.next_tick();
    if (next && *next <= server_clock.since_boot() + 20ms) return;  // it gathers
    if (commit_failed && timeline.now() < *commit_failed + 40s)
        return;  // so it does for long after a failure
    struct Nobody : Effects {
        void send(const NodeId&, ap::ToAgent) override {}
        void provision(const Node&) override {}
        void release(const Node&) override {}
        void disconnect(const NodeId&) override {}
    } nobody;
    MemoryStore copy(server->store.durable());
    Control other(server_clock, copy, nobody, settings);
    if (const Result<void> recovered = other.recover(); !recovered)
        return checker.violate("nobody could recover from what is stored: " +
                               recovered.error().message);
    ++coverage["compared with what would be recovered"];
    std::vector<std::string> all = computes;
    all.push_back("serverless");
    for (const std::string& name : all) {
        std::map<std::string, std::string> mine, theirs;
        const auto view = [this](const Control& control, const std::string& compute, auto& into) {
            for (const Node& node : control.nodes_of(kWorkspace, compute)) {
                const bool one =
                    checker.leases_on(node.id()) <= 1;  // of several the order may be another
                into[node.name] = std::string(name_of(node.state)) + " " +
                                  (one ? node.job + "#" + std::to_string(node.attempt)
                                       : std::to_string(node.backlog) + " behind") +
                                  " " + node.boot_id;
            }
        };
        view(server->control, name, mine);
        view(other, name, theirs);
        // It may have decided to get more nodes, or to let some go that it cannot reach.
        for (const auto& [node, is] : mine)
            checker.require(theirs.contains(node) &&
                                (theirs[node] == is || theirs[node].starts_with("leaving")),
                            [&] {
                                return "node " + node + " is '" + is +
                                       "', and after a restart it would be '" + theirs[node] + "'";
                            });
    }
    for (const auto& [name, script] : checker.scripts) {
        const auto mine = server->control.explain(kWorkspace, name),
                   theirs = other.explain(kWorkspace, name);
        checker.require(mine.has_value() == theirs.has_value(), [&] {
            return "job " + name +
                   (mine ? " lives, and after a restart it would not"
                         : " is over, and after a restart it would live");
        });
        if (!mine || !theirs) continue;
        const bool makes_trials = std::ranges::any_of(
            checker.scripts, [](const auto& one) { return !one.second.sweep.is_null(); });
        checker.require(makes_trials ? mine->counts.waiting <= theirs->counts.waiting
                                     : mine->counts.waiting == theirs->counts.waiting,
                        [&] {
                            return std::to_string(mine->counts.waiting) +
                                   " jobs wait, and after a restart " +
                                   std::to_string(theirs->counts.waiting) + " would";
                        });
    }
}

void World::crash_server(const char* why) {
    if (!server) return;
    compare_recovered();
    say("server", std::string("crashes ") + why);
    ++coverage["server crashed"];
    for (auto& [id, machine] : machines)
        if (dice.chance(0.3)) machine->cut_link();
    durable = server->crash();
    server.reset();
    if (sqlite) {
        ++coverage["database opened again"];
        const std::string trouble =
            dice.chance(0.5) ? sqlite->lose_power() : sqlite->process_dies();
        checker.require(trouble.empty(), trouble);
        if (trouble.empty()) {
            const std::string difference = sqlite->differs(durable);
            checker.require(difference.empty(), "after a crash " + difference);
        }
    }
    checker.durable_is(&durable);
    if (dice.chance(0.2)) {
        ++coverage["server's machine rebooted"];
        server_clock.reboot(static_cast<int>(dice.between(-10'000, 10'000)));
    }
    const Span away = dice.chance(0.9) ? dice.pause(100ms, 30s) : dice.pause(1min, 15min);
    timeline.in(away,
                [this] {
                    if (server) return;
                    say("server", "starts");
                    server = std::make_unique<Server>(*this, std::move(durable));
                    server->begin();
                },
                {always});
}

void World::stop_faults() {
    say("world", "no more faults");
    faults.on = false;
    for (auto& [id, machine] : machines) machine->partition(Span{});
    timeline.in(1min, [this] { settle(); }, {always});
}

// Room for everything that waits, and nothing is kept.
void World::settle() {
    timeline.in(10s,
                [this] {
                    compare_recovered();
                    if (asking > 0)
                        return settle();  // what was asked before must not come after this
                    settling = true;
                    for (const std::string& name : computes)
                        ask(
                            [name](Server& at, Control::Reply<void> reply) {
                                Compute compute;
                                compute.workspace = kWorkspace;
                                compute.name = name;
                                compute.definition = compute.envelope = Json::object();
                                compute.max_nodes = 6;
                                compute.idle_before_scale_down = 5s;
                                at.control.put_compute(std::move(compute), [reply](Result<Put> r) {
                                    reply(r ? Result<void>{} : Result<void>(Failure(r.error())));
                                });
                            },
                            [](Result<void>) {});
                },
                {always});
}

}  // namespace turnout::simulation

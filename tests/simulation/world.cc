#include "world.h"

#include <algorithm>
#include <cstdio>

namespace turnout::simulation {

namespace ap = agent_protocol;

namespace {
constexpr Span kSettleWithin = 4h;
constexpr int kPartition = 5;
constexpr int kKinds = 13;
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
    if (world_.mutation.step_end_forgotten)
        for (Write& write : batch.writes) {
            if (write.table != Table::JobState || !write.value) continue;
            Json state = parse_json(*write.value).value();
            Json* progress = state.find("sweep");
            if (!progress || !progress->has("fates")) continue;
            progress->set("fates", "-" + progress->at("created").dump());
            write.value = state.dump();
        }
    if (world_.mutation.replica_forgotten || world_.mutation.service_end_forgotten)
        for (Write& write : batch.writes) {
            if (write.table != Table::Service || !write.value) continue;
            Json service = parse_json(*write.value).value();
            if (world_.mutation.service_end_forgotten) service.erase("ending");
            if (world_.mutation.replica_forgotten && !service.at("replicas").items().empty())
                service["replicas"].items().erase(service["replicas"].items().begin());
            write.value = service.dump();
        }
    if (world_.mutation.instance_left)
        std::erase_if(batch.writes, [](const Write& write) {
            return write.table == Table::Compute && !write.value &&
                   Checker::is_instance(write.key.substr(write.key.find('/') + 1));
        });
    if (world_.mutation.events_lost && world_.dice.chance(0.1))
        std::erase_if(batch.writes, [](const Write& write) { return write.table == Table::Event; });
    const bool refused = world_.faults.on && world_.room_dice.chance(world_.faults.no_room);
    if (refused) {
        ++world_.coverage[batch.lane == Lane::Control ? "turn found no room in the store"
                                                      : "write found no room in the store"];
        refuse_next();
    }
    if (batch.lane == Lane::Control) turn_given_back_ = refused;
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
      tracking(store, w.server_clock, w.dice, loop, w.log_room),
      links(loop, tracking, w.speaks),
      control(w.server_clock, store, *this, w.settings),
      provider(
          loop, w.cloud, w.dice,
          {[this](const NodeId& id, Error why) { control.node_failed(id, std::move(why)); },
           [this](const NodeId& id) { control.node_gone(id); },
           [this](const NodeId& id, Json handle) { control.node_handle(id, std::move(handle)); }},
          &w.provider_faults, [&w](const char* what) { ++w.coverage[what]; }) {
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

// What a step runs is known when the steps before it have ended; here it was drawn with them.
void Server::resolve(const std::string& workspace, const std::string& job) {
    world.timeline.in(world.step_dice.pause(1us, 100ms),
                      [this, workspace, job] {
                          ++world.coverage["task of a step was asked for"];
                          control.resolve_job(
                              workspace, job,
                              [this](const JobRecord& step) -> Result<Control::KnownTask> {
                                  const Script& script = world.checker.scripts.at(step.name);
                                  Control::KnownTask known(script.task);
                                  known.recipe = Json::object({{"command", script.task.command}});
                                  if (script.reused) known.reused_from = "an_earlier_one";
                                  return known;
                              },
                              [](Result<Put>) {});
                      },
                      {life});
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
    if (world.enough()) return;
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
void Server::provision(const std::string&, const NodeRequest& node) {
    world.checker.provisions(store.durable(), node.id);
    provider.provision(node);
}
void Server::release(const std::string&, const NodeId& node, const Json& handle) {
    world.checker.releases(store.durable(), node);
    if (!store.durable().tables[static_cast<std::size_t>(Table::Node)].contains(node))
        ++world.coverage["released what nobody knew"];
    provider.release(node, handle);
}
void Server::list(const std::string&, std::uint64_t number) {
    provider.list([this, number](Result<std::vector<FoundNode>> found) {
        if (!found) return;
        const int before = control.nodes();
        control.nodes_found(number, *found);
        if (control.nodes() < before)
            ++world.coverage["a node was gone, as its provider's list said"];
    });
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
    if (tracking.logs_full()) ++world.coverage["no room for logs"];
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
      room_dice(~s),
      step_dice(s * 0x9E3779B97F4A7C15ULL + 29),
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
    checker.slots = slots_may_be[0] = slots;
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
    if (room_dice.chance(0.3))
        faults.no_room =
            rate * room_dice.unit() * 0.3;  // dice of its own: the other faults of a seed stay
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
    if (room_dice.chance(0.3)) log_room = 1000;  // a few lines of a few jobs
    if (many_bases) faults = {}, faults.on = false;
    const double bad = faults.on ? faults.lost_message : 0;
    provider_faults.fastest = 1ms;
    provider_faults.slowest = 5s;
    provider_faults.lost_request = provider_faults.twice = bad / 2;
    provider_faults.unavailable = provider_faults.lost_answer = bad;
    provider_faults.ambiguous = provider_faults.exhausted = bad / 2;
    provider_faults.handles = room_dice.chance(0.5);
    if (room_dice.chance(0.4)) {
        checker.far_slots = std::max(slots, static_cast<int>(room_dice.between(1, 3)));
        Pool far;
        far.name = kFarPool;
        far.slots = checker.far_slots;
        if (room_dice.chance(0.5) && !mutation.early_replacement)
            far.lost_node_after = room_dice.pause(1min, 10min);
        settings.pools = {far};
    }
    many_builds = room_dice.chance(0.3);
    draw_build();
    settings.list_first = room_dice.pause(100ms, 10s);
    settings.list_every = room_dice.pause(2s, 3min);
    if (mutation.list_forgets) provider_faults.forgets = 0.2;
}

// The one before, this one, and one to come that does not speak the first any more. The one before
// knows no services: there are none where the first server is of it, nor does it come after others
// where there are some.
void World::draw_build() {
    if (!many_builds) return;
    constexpr agent_protocol::Speaks kBuilds[] = {{1, 1}, {1, 2}, {2, 2}};
    const bool must_serve = !services.empty();
    speaks = kBuilds[room_dice.between(must_serve ? 1 : 0, 2)];
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

// The other pool comes while the server runs, or says something else: a start begins with what was
// said last, as if it stood in a file.
void World::plan_pools() {
    if (settings.pools.empty() || !pool_dice.chance(0.5)) return;
    Pool far = settings.pools.front();
    const bool late = pool_dice.chance(0.6);
    if (late) settings.pools.clear();
    const auto times = pool_dice.between(late ? 1 : 0, 3);
    for (std::int64_t i = 0; i < times; ++i) {
        far.price.dedicated = static_cast<double>(i);
        timeline.in(pool_dice.pause(10ms, 3min),
                    [this, far] {
                        settings.pools = {far};
                        if (!server) return;
                        ++coverage["a pool was described while the server runs"];
                        server->control.set_pools(settings.pools, [](Result<void>) {});
                    },
                    {always});
    }
}

std::string World::run() {
    plan_pools();
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
        if (server)
            for (const Control::ServiceView& view : server->control.services(kWorkspace))
                checker.violate("service " + view.service.name +
                                " is never over, or never as it is wanted: " + view.why);
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
    if (!server || asking > 0 || !services_ended) return false;
    const MemoryStore::State& state = server->store.durable();
    return state.tables[static_cast<std::size_t>(Table::JobLive)].empty() &&
           state.tables[static_cast<std::size_t>(Table::Node)].empty() &&
           std::ranges::none_of(
               rows(state, Table::Compute),
               [](const auto& row) {
                   return Checker::is_instance(row.first.substr(row.first.find('/') + 1));
               }) &&
           std::all_of(machines.begin(), machines.end(),
                       [](const auto& one) { return one.second->empty(); });
}

// ---------------------------------------------------------------------------------------------
// The machines

bool Cloud::reachable(const NodeId& node) {
    const auto found = world_.machines.find(node);
    return found == world_.machines.end() || found->second->reachable();
}

void Cloud::ensure(const NodeId& node) {
    auto& machine = world_.machines[node];
    if (!machine) {
        machine = std::make_unique<Machine>(world_, node);
        ++world_.coverage["machine made"];
        world_.say("provider", "makes " + node);
    }
    machine->ensure_agent();
}

void Cloud::end(const NodeId& node) {
    const auto found = world_.machines.find(node);
    if (found == world_.machines.end()) return;
    world_.say("provider", "ends " + node);
    ++world_.coverage["machine released"];
    world_.machines.erase(found);
}

std::vector<FoundNode> Cloud::list() {
    std::vector<FoundNode> found;
    for (const auto& [id, machine] : world_.machines)
        found.push_back(
            {machine->has_agent() ? FoundNode::Is::Alive : FoundNode::Is::Unknown, id, {}});
    return found;
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
        case 11: return machine.stop_agent(dice.pause(1s, 30min));
        case 12: return machine.stop_supervisor(dice.pause(1s, 30min));
        default: ++coverage["wall clock set"]; machine.clock().wall_offset += dice.pause(1s, 3h);
    }
}

// What a server that starts now would know, against what this one knows. Only while all that it
// did is durable.
void World::compare_recovered() {
    if (!server || !server->store.at_rest()) return;
    const std::optional<Span> next = server->control.next_tick();
    // It gathers; or a sweep's time is nearly over, which a restart takes from the wall clock: the
    // other one drifts.
    const bool sweeps = std::ranges::any_of(checker.scripts, [](const auto& one) {
        return !one.second.sweep.is_null() || !one.second.plan.is_null();
    });
    const Span soon = sweeps ? std::max<Span>(20ms, server_clock.since_boot() / 50) : Span(20ms);
    if (next && *next <= server_clock.since_boot() + soon) return;
    if (commit_failed && timeline.now() < *commit_failed + 40s)
        return;  // so it does for long after a failure
    struct Nobody : Effects {
        void send(const NodeId&, ap::ToAgent) override {}
        void provision(const std::string&, const NodeRequest&) override {}
        void release(const std::string&, const NodeId&, const Json&) override {}
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
    all.emplace_back(kContainerInstance);
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
        const bool makes_trials = std::ranges::any_of(checker.scripts, [](const auto& one) {
            return !one.second.sweep.is_null() || !one.second.plan.is_null();
        });
        // Nor is it known to a server that starts that it was being drained.
        checker.require(
            makes_trials || !services.empty() ? mine->counts.waiting <= theirs->counts.waiting
                                              : mine->counts.waiting == theirs->counts.waiting,
            [&] {
                return std::to_string(mine->counts.waiting) + " jobs wait, and after a restart " +
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
    checker.draining = false;  // who starts it wants it to work
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
                    draw_build();
                    say("server", "starts, and speaks " + to_text(speaks));
                    server = std::make_unique<Server>(*this, std::move(durable));
                    server->begin();
                    const int now = server->control.slots();
                    checker.require(
                        mutation.extra_slot ||
                            std::any_of(slots_may_be.begin(), slots_may_be.end(),
                                        [&](const auto& one) { return one.second == now; }),
                        [&] {
                            return "after a restart the pool has " + std::to_string(now) +
                                   " slots, which nobody set";
                        });
                    checker.slots_are(now - (mutation.extra_slot ? 1 : 0));
                },
                {always});
}

void World::stop_faults() {
    say("world", "no more faults");
    faults.on = false;
    FakeFaults none;
    none.fastest = provider_faults.fastest;
    none.slowest = provider_faults.slowest;
    none.handles = provider_faults.handles;
    none.forgets = provider_faults.forgets;
    provider_faults = none;
    for (auto& [id, machine] : machines) machine->partition(Span{});
    timeline.in(1min, [this] { settle(); }, {always});
}

// Room for everything that waits, and nothing is kept.
void World::settle() {
    timeline.in(
        10s,
        [this] {
            compare_recovered();
            if (asking > 0) return settle();  // what was asked before must not come after this
            settling = true;
            set_slots(slots);
            for (const auto& [name, planned] : services)
                timeline.in(service_dice.pause(1ms, 1min),
                            [this, name = name] {
                                PlannedService& one = services.at(name);
                                if (service_dice.chance(0.7)) ++one.revision;
                                put_service(name, one.wanted, one.surge);
                            },
                            {always});
            if (!services.empty()) {
                services_ended = false;
                timeline.in(2min, [this] { end_services(); }, {always});
            }
            ask(
                [this](Server& at, Control::Reply<void> reply) {
                    checker.draining = false;
                    at.control.resume(std::move(reply));
                },
                [](Result<void>) {});
            for (const std::string& name : computes)
                ask(
                    [name, far = checker.far_slots > 0](Server& at, Control::Reply<void> reply) {
                        Compute compute;
                        compute.workspace = kWorkspace;
                        compute.name = name;
                        if (far && name == kFarCompute) compute.pool = kFarPool;
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

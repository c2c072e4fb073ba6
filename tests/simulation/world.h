// One simulated world: a server, a provider with machines, a client, and the faults that befall
// them, all from one seed.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checker.h"
#include "control/agent_links.h"
#include "control/control.h"
#include "network.h"
#include "node.h"
#include "provider/fake/fake_provider.h"
#include "sqlite_disk.h"
#include "store/memory/memory_store.h"
#include "timeline.h"
#include "tracking/tracking.h"

namespace turnout::simulation {

// How likely or how often each fault is in this world; each seed draws its own mixture.
struct Faults {
    bool on = true;
    double lost_message = 0;    // of provider and client
    double commit_fails = 0;    // per commit
    double no_room = 0;         // per commit: the store gives it back
    double crash_per_step = 0;  // of the server, at any event
    double preparation_fails = 0;
    Span every = 30s;        // mean time between the faults below
    std::vector<int> kinds;  // which of them happen here
};

// The batches of one server's life: durable when the world says so.
class DiskStore : public MemoryStore {
public:
    DiskStore(World& world, MemoryStore::State state, std::weak_ptr<char> life);
    void commit(Batch batch, Done done) override;
    using Store::commit;
    // Nothing is on its way to the disk, and everybody knows what is there.
    bool at_rest() const { return !writing_ && queued() == 0 && !turn_given_back_; }

private:
    void write_out();
    std::size_t write_to_sqlite(std::size_t group);  // how many of them there are then
    void tell_checker(std::size_t group);
    World& world_;
    std::weak_ptr<char> life_;
    std::deque<std::vector<std::pair<Table, std::string>>> keys_;
    std::deque<Batch> batches_;  // with a real database only
    bool writing_ = false;
    bool turn_given_back_ = false;  // control has to bring it again
};

// The machines, behind the provider.
class Cloud : public FakeCloud {
public:
    Cloud(World& world, Loop& loop) : FakeCloud(loop), world_(world) {}
    bool reachable(const NodeId& node) override;
    void ensure(const NodeId& node) override;
    void end(const NodeId& node) override;
    std::vector<FoundNode> list() override;

private:
    World& world_;
};

class Server : public Effects {
public:
    Server(World& world, MemoryStore::State state);
    ~Server() override;
    void begin();  // recovers; the world knows it by now
    MemoryStore::State crash();

    void send(const NodeId& node, agent_protocol::ToAgent message) override;
    void provision(const std::string& provider, const NodeRequest& node) override;
    void release(const std::string& provider, const NodeId& node, const Json& handle) override;
    void list(const std::string& provider, std::uint64_t number) override;
    void disconnect(const NodeId& node) override;
    void resolve(const std::string& workspace, const std::string& job) override;

    void accept(const NodeId& node, std::shared_ptr<Connection> connection);
    void arm();  // after every event: the next tick

    World& world;
    Life life = born();
    ProcessLoop loop;
    DiskStore store;
    Tracking tracking;
    AgentLinks links;
    Control control;
    FakeProvider provider;

private:
    Span ticking_ = Span::max();
    std::map<NodeId, agent_protocol::ToAgent> held_;  // by a mutation
};

struct World {
    World(std::uint64_t seed, Mutation mutation, bool verbose, bool real_database,
          Coverage& coverage);
    ~World();
    // Runs it to its end. "" when all went well.
    std::string run();

    void say(const char* who, const std::string& what);
    bool enough() const { return checker.violated(); }

    bool dial(Machine& machine, std::shared_ptr<Connection>& connection);  // an agent calls

    // ---- who runs the server ----
    void plan_pools();

    // ---- the client ----
    void plan_client();
    Compute some_cluster(const std::string& name);
    void put(Compute compute);
    void plan_sweep(int number, Span when);
    void plan_pipelines();
    void plan_automl();
    void plan_pipeline(Dice& own, int number, Span when);
    void plan_operator();
    void plan_quotas();
    void set_quotas(const std::vector<int>& limits, std::size_t at, Span between);
    void plan_services();
    void put_service(const std::string& name, int wanted, int surge);
    void end_service(const std::string& name);
    void end_services();  // when all are as they are wanted
    void set_slots(int count);
    void plan_tidying();
    void erase_unused_bases(Span later);
    void plan_job(int number, Span when);
    void submit(std::string name, std::string compute, Json definition);
    void ask(std::function<void(Server&, Control::Reply<void>)> what,
             std::function<void(Result<void>)> answered);

    // ---- faults ----
    void next_fault();
    void fault();
    void crash_server(const char* why);
    void stop_faults();
    void settle();
    void compare_recovered();
    bool quiet() const;

    std::uint64_t seed;
    Mutation mutation;
    bool verbose;
    Dice dice, room_dice, step_dice;
    Timeline timeline{dice};
    Coverage& coverage;
    Faults faults;
    int slots;
    std::map<int, int>
        slots_may_be;  // those last acknowledged, and what was asked for since, in that order
    int slots_asked = 0;
    std::size_t log_room = 64 << 20;
    Span lost_node_after = dice.pause(1min, 10min);
    // What kind of world it is.
    bool long_tasks = false;
    bool short_tasks = false;  // of milliseconds: backlogs form
    bool many_bases = false;   // more different tasks than a node keeps
    double gangs = 0;          // how many of the jobs need several nodes
    bool priorities = false, sharers = false, low_priority = false, several_at_once = false;
    Checker checker;
    MachineClock server_clock;
    Control::Settings settings;
    Life always = born();
    MachineClock cloud_clock{timeline, 0};
    ProcessLoop cloud_loop{timeline, cloud_clock, always};
    Cloud cloud{*this, cloud_loop};
    // Of the server's build: another one may take over when it is started again.
    bool many_builds = false;
    agent_protocol::Speaks speaks;
    void draw_build();
    FakeFaults provider_faults;

    MemoryStore::State durable;          // while no server lives
    std::unique_ptr<SqliteDisk> sqlite;  // the same state in a real database
    bool power_failed = false;           // in the middle of a commit
    std::optional<Span> commit_failed;   // when one failed last
    std::unique_ptr<Server> server;
    std::map<NodeId, std::unique_ptr<Machine>> machines;
    std::map<NodeId, Span> busy_until;  // one request at a time on a machine
    int asking = 0;                     // operations of the client without an answer
    std::vector<std::string> computes;
    struct PlannedService {
        std::string compute;
        agent_protocol::ServiceSpec spec;
        int revision = 0;  // of the task that was asked for last
        int wanted = 1, surge = 1;
    };
    std::map<std::string, PlannedService> services;
    Dice service_dice{seed * 0x9E3779B97F4A7C15ULL + 17};
    Dice pool_dice{seed * 0xD1B54A32D192ED03ULL + 5};
    bool services_ended = true;
    Dice instance_dice{seed * 0x9E3779B97F4A7C15ULL + 41};
    bool instances = instance_dice.chance(0.4);  // some jobs run in a container of their own
    std::optional<ContainerInstance> some_instance(const Script& script);
    bool settling = false;
};

}  // namespace turnout::simulation

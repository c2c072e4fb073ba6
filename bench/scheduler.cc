// How fast the product's own scheduler is: a simulated cluster under virtual time, nothing but the
// scheduler's own work measured. `bench_scheduler [nodes] [tasks] [clusters] [sharers] [users]`
// prints JSON. Of `users`, of whom each has as many of the sharers, each may have half of what
// would be a fair share of the nodes at a time; 0: nobody has a limit.
//
// All tasks are submitted, then nodes work them off: each end is one event (`left`), each
// submission is one (`add_task`); the time from the call to the end of the plan it causes counts.
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <queue>
#include <random>
#include <vector>

#include "schedule/scheduler.h"

namespace {

using namespace turnout;
using namespace turnout::schedule;

// Bytes that are allocated, also those of large blocks, which are mapped one by one.
std::size_t heap() {
    const struct mallinfo2 now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

// CPU time of this thread.
double cpu() {
    timespec at{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return static_cast<double>(at.tv_sec) + static_cast<double>(at.tv_nsec) * 1e-9;
}

struct Times {
    std::vector<float> each;
    double total = 0;
    void add(double seconds) {
        each.push_back(static_cast<float>(seconds));
        total += seconds;
    }
    void print(const char* name) {
        std::sort(each.begin(), each.end());
        const auto at = [&](double share) {
            return each.empty() ? 0.0
                                : 1e6 * static_cast<double>(each[static_cast<std::size_t>(
                                            share * static_cast<double>(each.size() - 1))]);
        };
        std::printf(
            "  \"%s\": {\"events\": %zu, \"cpu_s\": %.3f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
            "\"p999_us\": %.2f, \"max_us\": %.2f},\n",
            name, each.size(), total, at(0.5), at(0.99), at(0.999), at(1));
    }
};

struct Simulation {
    struct Node {
        std::deque<Handle> tasks;
    };
    struct End {
        Span at;
        Handle node;
        bool operator>(const End& other) const {
            return std::tie(at, node) > std::tie(other.at, other.node);
        }
    };

    Accounts accounts;
    Scheduler scheduler;
    std::vector<Node> nodes;
    std::vector<Span> durations;
    std::priority_queue<End, std::vector<End>, std::greater<>> ends;
    Span now = 1s;
    std::size_t placed = 0, ended = 0;

    Simulation(int node_count, int task_count)
        : scheduler(node_count, "the pool", &accounts),
          nodes(static_cast<std::size_t>(node_count) + 1) {
        std::mt19937_64 random(1);
        std::exponential_distribution<double> seconds(1 / 30.0);
        for (int i = 0; i <= task_count; ++i)
            durations.push_back(Span(1'000 + static_cast<std::int64_t>(seconds(random) * 1e6)));
    }

    void begin(Handle node) { ends.push({now + durations[nodes[node].tasks.front()], node}); }
    void carry_out(const Decisions& decisions) {
        for (const auto& [task, on] : decisions.assign) {
            ++placed;
            nodes[on[0]].tasks.push_back(task);
            if (nodes[on[0]].tasks.size() == 1) begin(on[0]);
        }
    }
};

}  // namespace

int main(int count, char** arguments) {
    const auto number = [&](int i, int otherwise) {
        return count > i ? std::atoi(arguments[i]) : otherwise;
    };
    const int nodes = number(1, 10'000), tasks = number(2, 1'000'000);
    const int clusters = number(3, 100), sharers = number(4, 200), users = number(5, 0);
    Simulation sim(nodes, tasks);
    for (int i = 1; i <= users; ++i)
        sim.accounts.allow(static_cast<Handle>(i), {.jobs = std::max(1, nodes / users / 2)}, "");
    for (int i = 1; i <= clusters; ++i)
        sim.scheduler.put_cluster(
            static_cast<Handle>(i),
            {.max_nodes = nodes, .idle_before_scale_down = 120s, .low_priority = i % 4 == 0});
    for (int i = 1; i <= nodes; ++i)
        sim.scheduler.add_node(static_cast<Handle>(i), static_cast<Handle>(1 + i % clusters),
                               NodeIs::Ready, sim.now);
    sim.scheduler.plan(sim.now);

    const auto demand_of = [&](Handle task) {
        const Handle sharer = 1 + task % static_cast<Handle>(sharers);
        return Demand{.priority = task % 10 == 0,
                      .sharer = sharer,
                      .account = users > 0 ? 1 + sharer % static_cast<Handle>(users) : 0,
                      .order = task};
    };
    const auto cluster_of = [&](Handle task) {
        return 1 + (task / 7) % static_cast<Handle>(clusters);
    };
    std::size_t revoked = 0;

    Times submitted, left, carried_out;
    submitted.each.reserve(static_cast<std::size_t>(tasks));
    const std::size_t heap_before = heap();
    std::size_t heap_full = 0;
    for (int i = 1; i <= tasks; ++i) {
        const auto task = static_cast<Handle>(i);
        const double before = cpu();
        sim.scheduler.add_task(task, cluster_of(task), demand_of(task));
        const Decisions decisions = sim.scheduler.plan(sim.now);
        submitted.add(cpu() - before);
        sim.carry_out(decisions);
        if (i == tasks) heap_full = heap();
    }
    const std::size_t at_start = sim.placed;
    const double bytes =
        (static_cast<double>(heap_full) - static_cast<double>(heap_before)) / tasks;

    // What a plan decides is carried out at once: nodes change hands, tasks in backlogs come back.
    std::vector<Handle> free_numbers;
    while (!sim.ends.empty()) {
        const auto end = sim.ends.top();
        sim.ends.pop();
        sim.now = end.at;
        Simulation::Node& node = sim.nodes[end.node];
        const Handle task = node.tasks.front();
        node.tasks.pop_front();
        if (!node.tasks.empty()) sim.begin(end.node);
        ++sim.ended;
        const double before = cpu();
        sim.scheduler.left(task, end.node, sim.now, sim.durations[task]);
        Decisions decisions = sim.scheduler.plan(sim.now);
        left.add(cpu() - before);
        sim.carry_out(decisions);
        while (!decisions.release.empty() || !decisions.provision.empty() ||
               !decisions.revoke.empty()) {
            std::vector<std::pair<Handle, Handle>> back;
            for (const auto& [behind, on] : decisions.revoke) {
                auto& waiting = sim.nodes[on].tasks;
                const auto at = std::find(waiting.begin() + 1, waiting.end(), behind);
                if (at == waiting.end()) continue;
                waiting.erase(at);
                back.emplace_back(behind, on);
            }
            revoked += back.size();
            sim.placed -= back.size();
            const double from = cpu();
            for (const auto& [behind, on] : back) {
                sim.scheduler.left(behind, on, sim.now, std::nullopt);
                sim.scheduler.add_task(behind, cluster_of(behind), demand_of(behind));
            }
            for (const Handle gone : decisions.release) {
                sim.scheduler.remove_node(gone);
                free_numbers.push_back(gone);
            }
            for (const auto& [cluster, wanted] : decisions.provision)
                for (int i = 0; i < wanted; ++i) {
                    const Handle fresh = free_numbers.back();
                    free_numbers.pop_back();
                    sim.scheduler.add_node(fresh, cluster, NodeIs::Ready, sim.now);
                }
            decisions = sim.scheduler.plan(sim.now);
            carried_out.add(cpu() - from);
            sim.carry_out(decisions);
        }
    }
    if (sim.ended != static_cast<std::size_t>(tasks)) {
        std::fprintf(stderr, "only %zu of %d tasks ended\n", sim.ended, tasks);
        return 1;
    }
    const double work = left.total + carried_out.total;
    std::printf("{\n  \"nodes\": %d, \"tasks\": %d, \"clusters\": %d, \"sharers\": %d,\n", nodes,
                tasks, clusters, sharers);
    submitted.print("add_task_to_plan");
    left.print("left_to_plan");
    carried_out.print("carried_out_to_plan");
    std::printf("  \"placements_per_s\": %.0f,\n",
                static_cast<double>(sim.placed - at_start) / work);
    std::printf("  \"placements_per_s_with_submission\": %.0f,\n",
                static_cast<double>(sim.placed) / (work + submitted.total));
    std::printf("  \"revoked\": %zu,\n", revoked);
    std::printf("  \"bytes_per_task\": %.0f\n}\n", bytes);
    return 0;
}

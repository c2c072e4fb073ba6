// A machine for the scheduler's tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "schedule/scheduler.h"

namespace turnout::schedule {

// Carries out what the scheduler decides, and checks each decision against what it knows itself.
struct World {
    struct Node {
        Handle cluster;
        NodeIs is;
        std::vector<Handle> tasks;
    };
    struct Job {
        Handle cluster;
        Demand demand;
        std::set<Handle> on;
        bool preempting = false, revoking = false;
    };
    explicit World(int count)
        : slots(count),
          allowed(static_cast<std::size_t>(count)),
          scheduler(count, "the pool", &accounts) {}

    int slots;
    std::size_t allowed;  // nodes: of those that were too many the slots fall one by one
    Accounts accounts;
    std::map<Handle, Allowance> allowed_to;
    Scheduler scheduler;
    Span now = 1s;
    std::map<Handle, Cluster> clusters;
    std::map<Handle, Node> nodes;
    std::map<Handle, Job> jobs;
    Handle last_node = 100;
    std::uint64_t last_order = 0;
    std::size_t deepest = 64;  // a backlog may have
    std::ostringstream log;

    void set_slots(int count) {
        slots = count;
        allowed = std::max(static_cast<std::size_t>(count), nodes.size());
        scheduler.set_slots(count);
    }
    void put(Handle handle, Cluster cluster) {
        clusters[handle] = cluster;
        scheduler.put_cluster(handle, cluster);
    }
    void allow(Handle account, Allowance allowance) {
        allowed_to[account] = allowance;
        accounts.allow(account, allowance, "user " + std::to_string(account));
    }
    // What the account has, by the jobs; after each placement it must be within its allowance.
    AccountUse use(Handle account) const {
        AccountUse use;
        for (const auto& [handle, job] : jobs) {
            if (job.demand.account != account && clusters.at(job.cluster).account != account)
                continue;
            use.jobs += !job.on.empty();
            use.slots += static_cast<int>(job.on.size());
            use.waiting += job.on.empty();
        }
        return use;
    }
    void add(Handle task, Handle cluster, Demand demand = {}) {
        if (demand.order == 0) demand.order = ++last_order;
        jobs[task] = {cluster, demand};
        scheduler.add_task(task, cluster, demand);
    }
    void remove(Handle task) {
        scheduler.remove_task(task);
        jobs.erase(task);
    }
    Handle node(Handle cluster, NodeIs is = NodeIs::Ready) {
        nodes[++last_node] = {cluster, is};
        scheduler.add_node(last_node, cluster, is, now);
        return last_node;
    }
    void set(Handle handle, NodeIs is) {
        nodes.at(handle).is = is;
        if (is == NodeIs::Ready)  // from now on it may be said again
            for (const Handle task : nodes.at(handle).tasks) jobs.at(task).revoking = false;
        scheduler.node_is(handle, is, now);
    }
    void gone(Handle handle) {
        nodes.erase(handle);
        scheduler.remove_node(handle);
    }
    // The task leaves all its nodes; `again`: it waits once more.
    void end(Handle task, std::optional<Span> ran, bool again = false) {
        Job job = jobs.at(task);
        for (const Handle on : job.on) {
            std::erase(nodes.at(on).tasks, task);
            scheduler.left(task, on, now, ran);
        }
        jobs.erase(task);
        if (again) add(task, job.cluster, job.demand);
    }
    bool waits(Handle task) const { return jobs.count(task) && jobs.at(task).on.empty(); }
    int of(Handle cluster) const {
        return static_cast<int>(std::count_if(
            nodes.begin(), nodes.end(), [&](auto& n) { return n.second.cluster == cluster; }));
    }

    Decisions plan() {
        Decisions d = scheduler.plan(now);
        for (const auto& assign : d.assign) {
            Job& job = jobs.at(assign.task);
            EXPECT_TRUE(job.on.empty());
            EXPECT_EQ(static_cast<int>(assign.nodes.size()), job.demand.nodes);
            EXPECT_FALSE(clusters.at(job.cluster).deleting);
            log << "a" << assign.task;
            for (const Handle on : assign.nodes) {
                log << "@" << on;
                Node& at = nodes.at(on);
                EXPECT_EQ(at.is, NodeIs::Ready);
                EXPECT_EQ(at.cluster, job.cluster);
                EXPECT_TRUE(job.on.insert(on).second) << "a gang needs different nodes";
                EXPECT_TRUE(job.demand.nodes == 1 || at.tasks.empty());
                for (const Handle other : at.tasks) EXPECT_EQ(jobs.at(other).demand.nodes, 1);
                at.tasks.push_back(assign.task);
                EXPECT_LE(
                    at.tasks.size(),
                    static_cast<std::size_t>(clusters.at(at.cluster).jobs_per_node) + deepest);
            }
            for (const Handle account : {job.demand.account, clusters.at(job.cluster).account}) {
                if (account == 0) continue;
                EXPECT_LE(use(account).jobs, allowed_to[account].jobs.value_or(1 << 20));
                EXPECT_LE(use(account).slots, allowed_to[account].slots.value_or(1 << 20));
            }
            for (const auto& [handle, other] : jobs) {
                if (!other.on.empty() || other.cluster != job.cluster || other.demand.nodes > 1)
                    continue;
                const auto it_is = [task = handle](const Decisions::Assign& a) {
                    return a.task == task;
                };
                // Who is over their quota is passed.
                const auto kept = scheduler.kept_by(handle);
                EXPECT_TRUE(other.demand.priority <= job.demand.priority || kept != 0 ||
                            std::any_of(d.assign.begin(), d.assign.end(), it_is))
                    << handle << " goes before " << assign.task;
            }
        }
        for (const Handle handle : d.release) {
            log << "r" << handle;
            EXPECT_EQ(nodes.at(handle).is, NodeIs::Ready);
            EXPECT_TRUE(nodes.at(handle).tasks.empty());
            nodes.at(handle).is = NodeIs::Leaving;
        }
        for (const Handle task : d.preempt) {
            log << "p" << task;
            EXPECT_FALSE(std::exchange(jobs.at(task).preempting, true));
            EXPECT_TRUE(clusters.at(jobs.at(task).cluster).low_priority);
            EXPECT_FALSE(jobs.at(task).on.empty());
        }
        for (const auto& [task, on] : d.revoke) {
            log << "v" << task << "@" << on;
            EXPECT_FALSE(std::exchange(jobs.at(task).revoking, true));
            EXPECT_EQ(jobs.at(task).on, std::set<Handle>{on});
        }
        for (const auto& [cluster, count] : d.provision) {
            log << "n" << cluster << "*" << count;
            for (int i = 0; i < count; ++i) node(cluster, NodeIs::Starting);
        }
        for (const auto& [account, allowance] : allowed_to) {
            EXPECT_EQ(accounts.use(account).jobs, use(account).jobs);
            EXPECT_EQ(accounts.use(account).slots, use(account).slots);
            EXPECT_EQ(accounts.use(account).waiting, use(account).waiting);
        }
        EXPECT_LE(nodes.size(), allowed);
        allowed = std::max(static_cast<std::size_t>(slots), std::min(allowed, nodes.size()));
        for (const auto& [handle, cluster] : clusters) {
            const Counts counts = scheduler.counts(handle);
            int present = 0;
            for (const auto& [n, each] : nodes)
                present += each.cluster == handle && each.is != NodeIs::Leaving;
            EXPECT_EQ(counts.present(), present);
        }
        log << "\n";
        return d;
    }
    void start_nodes() {
        for (auto& [handle, each] : nodes)
            if (each.is == NodeIs::Starting) set(handle, NodeIs::Ready);
    }
    void remove_leaving() {
        std::vector<Handle> leaving;
        for (auto& [handle, each] : nodes)
            if (each.is == NodeIs::Leaving && each.tasks.empty()) leaving.push_back(handle);
        for (const Handle handle : leaving) gone(handle);
    }
    std::string why(Handle task) const { return scheduler.explain(task, now); }
};

inline std::vector<Handle> placed(const Decisions& d) {
    std::vector<Handle> tasks;
    for (const auto& assign : d.assign) tasks.push_back(assign.task);
    return tasks;
}

inline Cluster cluster(int min, int max, int at_a_time = 1) {
    return {.min_nodes = min,
            .max_nodes = max,
            .idle_before_scale_down = 120s,
            .jobs_per_node = at_a_time};
}
inline Cluster low(int min, int max) {
    Cluster c = cluster(min, max);
    c.low_priority = true;
    return c;
}

}  // namespace turnout::schedule

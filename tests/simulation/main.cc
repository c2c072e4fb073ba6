// simulation --seed S [--verbose]     one world, told step by step
// simulation --seeds 1..2000          many, until one fails; prints the command that repeats it
// simulation --sqlite …               the server's state in real SQLite, on a disk that loses power
// simulation --mutate NAME --seeds …  with one guard taken away: must fail
// simulation --check-mutations        every guard in turn; fails if one is not missed
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "world.h"

using namespace turnout;
using namespace turnout::simulation;

namespace {

const std::map<std::string, bool Mutation::*> kMutations{
    {"effects-before-commit", &Mutation::effects_before_commit},
    {"no-fence", &Mutation::no_fence},
    {"early-replacement", &Mutation::early_replacement},
    {"supervisor-forgets", &Mutation::supervisor_forgets},
    {"gone-without-proof", &Mutation::gone_without_proof},
    {"list-forgets", &Mutation::list_forgets},
    {"extra-slot", &Mutation::extra_slot},
    {"log-acked-early", &Mutation::log_acked_early},
    {"begun-is-revoked", &Mutation::begun_is_revoked},
    {"rank-forgotten", &Mutation::rank_forgotten},
    {"lease-before-base", &Mutation::lease_before_base},
    {"priority-ignored", &Mutation::priority_ignored},
    {"more-at-once", &Mutation::more_at_once},
    {"backlog-without-limit", &Mutation::backlog_without_limit},
    {"gang-smaller", &Mutation::gang_smaller},
    {"cancel-forgotten", &Mutation::cancel_forgotten},
    {"steps-unordered", &Mutation::steps_unordered},
    {"step-end-forgotten", &Mutation::step_end_forgotten},
    {"events-lost", &Mutation::events_lost},
    {"larger-quota", &Mutation::larger_quota},
    {"limit-not-kept", &Mutation::limit_not_kept},
    {"ended-jobs-unseen", &Mutation::ended_jobs_unseen},
    {"ready-early", &Mutation::ready_early},
    {"replica-forgotten", &Mutation::replica_forgotten},
    {"service-end-forgotten", &Mutation::service_end_forgotten},
    {"instance-left", &Mutation::instance_left},
    {"instance-reused", &Mutation::instance_reused},
};

bool real_database = false;

std::string simulate(std::uint64_t seed, const Mutation& mutation, bool verbose,
                     Coverage& coverage) {
    World world(seed, mutation, verbose, real_database, coverage);
    return world.run();
}

// The first seed of the range that fails.
std::optional<std::uint64_t> first_failure(std::uint64_t from, std::uint64_t to,
                                           const Mutation& mutation, std::string& why,
                                           Coverage& coverage) {
    for (std::uint64_t seed = from; seed <= to; ++seed) {
        why = simulate(seed, mutation, false, coverage);
        if (!why.empty()) return seed;
    }
    return std::nullopt;
}

// Many worlds in which one of these never happened prove less than they seem to.
constexpr const char* kMustHappen[] = {
    "a user has as much as they may",
    "quota: ok",
    "a pool was described while the server runs",
    "agent killed",
    "step given its outputs",
    "agent quit",
    "attempt ended: canceled",
    "both pools have nodes",
    "attempt ended: internal",
    "attempt ended: node_lost",
    "attempt ended: timeout",
    "attempt ended: user_code",
    "cancel: ok",
    "client message lost",
    "commit failed",
    "complete log compared",
    "delete compute: ok",
    "delete job: ok",
    "journal rewritten",
    "lease with token",
    "link cut",
    "link stalled",
    "machine vanished",
    "node rebooted",
    "partition",
    "provider answer lost",
    "provider request doubled",
    "no room for logs",
    "provider request lost",
    "provider cannot tell, and did it",
    "provider cannot tell, and did nothing",
    "provider did not say what is there",
    "provider has no more for now",
    "provider was asked what is there",
    "a node was gone, as its provider's list said",
    "released what nobody knew",
    "provisioning failed",
    "server crashed",
    "server's machine rebooted",
    "silent link given up by the agent",
    "status Canceled",
    "AutoML Canceled",
    "AutoML Failed",
    "sweep Canceled",
    "sweep Completed",
    "sweep Failed",
    "sweep Failed in its environment",
    "status Failed",
    "supervisor killed",
    "task fenced by the supervisor",
    "turn found no room in the store",
    "write found no room in the store",
    "wall clock set",
    "a start took the supervisor with it",
    "a command took the supervisor with it",
    "a lease could not be read",
    "a node was given up with what it did not stop",
    "agent stopped",
    "supervisor stopped",
    "stopped agent replaced",
    "silent supervisor ended",
    "silent supervisor ended, which was to end something",
    "an end could not be read",
    "a rank ended before the others",
    "attempt ended: preempted",
    "attempt taken back before it began",
    "compared with what would be recovered",
    "container instance ended, and went",
    "container instance of another pool",
    "container instance of a trial",
    "container instance waits for a slot",
    "computes of container instances went",
    "complete log of a rank compared",
    "given to a backlog",
    "leased while others of several priorities wait",
    "more bases than a node keeps",
    "preempt: ok",
    "drain: ok",
    "drained",
    "slots: set",
    "revoke came in time",
    "revoke came too late",
    "service is as it is wanted, at the end",
    "service over",
    "service replaced one that was ready",
    "service revised",
    "service counted a failure",
    "service with one replica more, to replace an old one",
    "several tasks at a time on a node",
    "task of a gang started",
};

int usage() {
    std::fprintf(stderr,
                 "usage: simulation [--seed S [--verbose]] [--seeds A..B] [--sqlite] "
                 "[--regressions FILE] [--mutate NAME] [--check-mutations]\n");
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    std::uint64_t from = 1, to = 200;
    bool verbose = false, check_mutations = false;
    Mutation mutation;
    std::string mutated;
    std::vector<std::uint64_t> first;
    for (int i = 1; i < argc; ++i) {
        const std::string flag = argv[i];
        const auto value = [&]() -> std::string { return i + 1 < argc ? argv[++i] : ""; };
        if (flag == "--verbose")
            verbose = true;
        else if (flag == "--sqlite")
            real_database = true;
        else if (flag == "--check-mutations")
            check_mutations = true;
        else if (flag == "--seed")
            from = to = std::strtoull(value().c_str(), nullptr, 10);
        else if (flag == "--seeds") {
            const std::string range = value();
            const std::size_t dots = range.find("..");
            if (dots == std::string::npos) return usage();
            from = std::strtoull(range.c_str(), nullptr, 10);
            to = std::strtoull(range.c_str() + dots + 2, nullptr, 10);
        } else if (flag == "--mutate") {
            mutated = value();
            const auto found = kMutations.find(mutated);
            if (found == kMutations.end()) return usage();
            mutation.*(found->second) = true;
        } else if (flag == "--regressions") {
            std::ifstream file(value());
            for (std::string line; std::getline(file, line);)
                if (!line.empty() && line[0] != '#')
                    first.push_back(std::strtoull(line.c_str(), nullptr, 10));
        } else {
            return usage();
        }
    }

    Coverage coverage;
    std::string why;
    if (check_mutations) {
        int missed = 0;
        for (const auto& [name, member] : kMutations) {
            Mutation one;
            one.*member = true;
            if (const auto seed = first_failure(1, 1000, one, why, coverage)) {
                std::printf("%-24s caught by seed %llu: %s\n", name.c_str(),
                            static_cast<unsigned long long>(*seed), why.c_str());
            } else {
                std::printf("%-24s NOT caught in 1000 seeds\n", name.c_str());
                ++missed;
            }
        }
        return missed == 0 ? 0 : 1;
    }

    const auto begin = std::chrono::steady_clock::now();
    const auto failed = [&](std::uint64_t seed) {
        std::printf(
            "seed %llu fails %s\nrepeat it:  %s --seed %llu%s --verbose\n",
            static_cast<unsigned long long>(seed), why.c_str(), argv[0],
            static_cast<unsigned long long>(seed),
            ((mutated.empty() ? "" : " --mutate " + mutated) + (real_database ? " --sqlite" : ""))
                .c_str());
        return 1;
    };
    for (const std::uint64_t seed : first) {
        why = simulate(seed, mutation, false, coverage);
        if (!why.empty()) return failed(seed);
    }
    for (std::uint64_t seed = from; seed <= to; ++seed) {
        why = simulate(seed, mutation, verbose, coverage);
        if (!why.empty()) return failed(seed);
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const double worlds = static_cast<double>(to - from + 1 + first.size());
    for (const auto& [name, count] : coverage)
        std::printf("%12llu  %s\n", static_cast<unsigned long long>(count), name.c_str());
    if (mutated.empty() && worlds >= 1000)
        for (const char* name : kMustHappen)
            if (!coverage.contains(name)) {
                std::printf("'%s' never happened: the simulation does not test it any more\n",
                            name);
                return 1;
            }
    std::printf("%.0f worlds in %.1f s: %.0f a second\n", worlds, seconds, worlds / seconds);
    return 0;
}

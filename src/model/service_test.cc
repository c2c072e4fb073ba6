#include "model/service.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace turnout {
namespace {

namespace ap = agent_protocol;
using Is = Replica::Is;
using Why = ServicePlan::Stop::Why;

Service some_service(int wanted, int surge = 1) {
    Service service;
    service.workspace = "ws";
    service.name = "s";
    service.wanted = wanted;
    service.surge = surge;
    return service;
}

// "start 1, stop 2 (replaced)": short enough to compare.
std::string said(const ServicePlan& plan) {
    std::string text;
    const auto add = [&](const std::string& words) { text += (text.empty() ? "" : ", ") + words; };
    if (plan.start > 0) add("start " + std::to_string(plan.start));
    for (const auto& stop : plan.stop) {
        const char* why = stop.why == Why::Ending     ? "ending"
                          : stop.why == Why::TooMany  ? "too many"
                          : stop.why == Why::Replaced ? "replaced"
                          : stop.why == Why::Unfit    ? "unfit"
                                                      : "unready";
        add("stop " + std::to_string(stop.number) + " " + why);
    }
    if (plan.over) add("over");
    if (plan.look_at) add("look at " + to_words(*plan.look_at));
    return text.empty() ? "nothing" : text;
}

// Of revisions 1 and 2, by letters: e w s u ? r x.
std::vector<Replica> replicas(std::string_view letters, std::int64_t revision = 1,
                              std::int64_t first = 1) {
    std::vector<Replica> all;
    for (const char c : letters)
        all.push_back({first++, revision,
                       c == 'e'   ? Is::Ending
                       : c == 'w' ? Is::Waiting
                       : c == 's' ? Is::Starting
                       : c == 'u' ? Is::Unready
                       : c == '?' ? Is::Unknown
                       : c == 'r' ? Is::Ready
                                  : Is::Stopping,
                       1s});
    return all;
}
std::vector<Replica> both(std::string_view old, std::string_view newest) {
    std::vector<Replica> all = replicas(old, 1, 1);
    for (const Replica& one : replicas(newest, 2, 11)) all.push_back(one);
    return all;
}

std::string plan(const Service& service, const std::vector<Replica>& all, Span now = 10s) {
    return said(plan_service(service, all, now));
}

TEST(Service, AsManyAsWanted) {
    const Service three = some_service(3);
    EXPECT_EQ(plan(three, {}), "start 3");
    EXPECT_EQ(plan(three, replicas("ws")), "start 1");
    EXPECT_EQ(plan(three, replicas("wsr")), "nothing");
    EXPECT_EQ(plan(three, replicas("r?r")), "nothing") << "a node that cannot be heard has it yet";
    EXPECT_EQ(plan(three, replicas("rrrw")), "stop 4 too many");
    EXPECT_EQ(plan(three, replicas("urrr")), "stop 1 too many") << "the least fit";
    EXPECT_EQ(plan(three, replicas("rrrr")), "stop 4 too many") << "of equals the last";
    EXPECT_EQ(plan(some_service(0), replicas("rx")), "stop 1 too many");
    EXPECT_EQ(plan(some_service(0), {}), "nothing") << "stopped is not over";
    EXPECT_EQ(plan(three, replicas("rre")), "nothing") << "not before it is gone, and why is known";
    EXPECT_EQ(plan(three, replicas("rrre")), "nothing") << "it goes by itself";
}

TEST(Service, WhatIsStoppingCountsUntilItIsGone) {
    EXPECT_EQ(plan(some_service(2, 0), replicas("rx")), "nothing");
    EXPECT_EQ(plan(some_service(2, 1), replicas("rx")), "start 1");
    EXPECT_EQ(plan(some_service(2, 1), replicas("rxx")), "nothing");
}

TEST(Service, ANewRevisionReplacesTheOldOneByOne) {
    Service service = some_service(2);
    want_revision(service, {});
    EXPECT_EQ(service.revision, 2);
    EXPECT_EQ(plan(service, both("rr", "")), "start 1") << "one beyond those wanted";
    EXPECT_EQ(plan(service, both("rr", "w")), "nothing");
    EXPECT_EQ(plan(service, both("rr", "u")), "nothing") << "not before the new one is ready";
    EXPECT_EQ(plan(service, both("rr", "r")), "stop 1 replaced");
    EXPECT_EQ(plan(service, both("xr", "r")), "nothing") << "it is alive until it is gone";
    EXPECT_EQ(plan(service, both("r", "r")), "start 1");
    EXPECT_EQ(plan(service, both("r", "ru")), "nothing");
    EXPECT_EQ(plan(service, both("r", "rr")), "stop 1 replaced");
    EXPECT_EQ(plan(service, both("", "rr")), "nothing");
    EXPECT_EQ(plan(service, both("ur", "")), "start 1, stop 1 unfit")
        << "one that is not ready serves nobody";
    EXPECT_EQ(plan(service, both("wr", "r")), "stop 1 unfit");
    EXPECT_EQ(plan(service, both("r?", "r")), "stop 2 replaced")
        << "of those that may serve first the one of which nobody knows";
}

TEST(Service, AfterARestartOfTheServerNothingIsStoppedForWhatIsNotKnown) {
    Service service = some_service(2);
    want_revision(service, {});
    EXPECT_EQ(plan(service, both("??", "?")), "nothing");
    EXPECT_EQ(plan(service, both("?", "??")), "nothing");
    service.surge = 0;
    EXPECT_EQ(plan(service, both("?", "?")), "nothing");
}

TEST(Service, WithoutSurgeAnOldOneGoesFirst) {
    Service service = some_service(2, 0);
    want_revision(service, {});
    EXPECT_EQ(plan(service, both("rr", "")), "stop 1 replaced");
    EXPECT_EQ(plan(service, both("xr", "")), "nothing") << "one at a time";
    EXPECT_EQ(plan(service, both("r", "")), "start 1");
    EXPECT_EQ(plan(service, both("r", "u")), "nothing");
    EXPECT_EQ(plan(service, both("r", "r")), "stop 1 replaced");
    EXPECT_EQ(plan(service, both("", "r")), "start 1");
    Service home = some_service(1, 0);
    want_revision(home, {});
    EXPECT_EQ(plan(home, both("r", "")), "stop 1 replaced");
    EXPECT_EQ(plan(home, both("x", "")), "nothing") << "no two have the home at once";
    EXPECT_EQ(plan(home, {}), "start 1");
}

TEST(Service, AnUnreadyReplicaIsReplacedAtItsLimit) {
    Service service = some_service(2);
    service.spec.unready_limit = 30s;
    EXPECT_EQ(plan(service, replicas("ru"), 30s), "look at 31 s");
    EXPECT_EQ(plan(service, replicas("ru"), 31s), "stop 2 unready");
    EXPECT_EQ(plan(service, replicas("rs"), 1h), "nothing") << "its environment may take long";
    EXPECT_EQ(plan(service, replicas("r?"), 1h), "nothing");
    service.spec.unready_limit = Span{};
    EXPECT_EQ(plan(service, replicas("ru"), 1000h), "nothing");
}

TEST(Service, TheEndWaitsForTheLastReplica) {
    Service service = some_service(3);
    service.ending = true;
    service.revision = 2;
    EXPECT_EQ(plan(service, both("r", "wx")), "stop 1 ending, stop 11 ending");
    EXPECT_EQ(plan(service, replicas("x")), "nothing");
    EXPECT_EQ(plan(service, {}), "over");
}

TEST(Service, ThePauseGrowsWithFailuresInARow) {
    ap::Restart restart;
    restart.first = 1s;
    restart.longest = 10s;
    std::vector<Span> pauses;
    for (int failures = 0; failures < 8; ++failures)
        pauses.push_back(pause_after(restart, failures));
    EXPECT_EQ(pauses, (std::vector<Span>{0s, 0s, 1s, 2s, 4s, 8s, 10s, 10s}));
    EXPECT_EQ(pause_after(restart, 1'000'000), 10s);
}

TEST(Service, AReplicaThatFailedIsReplacedAfterThePause) {
    Service service = some_service(1);
    const auto fails = [&](Span now, ap::Cause cause = ap::Cause::UserCode,
                           std::optional<Span> ready_for = {}) {
        // The one that was made since.
        const std::int64_t number = ++service.made;
        replica_gone(service, {number, 1, false, cause, "it broke", ready_for}, now);
    };
    fails(10s);
    EXPECT_EQ(plan(service, {}, 10s), "start 1") << "the first time at once";
    fails(10s);
    EXPECT_EQ(plan(service, {}, 10s), "look at 11 s");
    EXPECT_EQ(plan(service, {}, 11s), "start 1");
    fails(11s);
    EXPECT_EQ(plan(service, {}, 11s), "look at 13 s");
    fails(12s);
    EXPECT_EQ(service.failures, 3) << "while one waits anyway it is no further failure";
    EXPECT_EQ(service.trouble, "it broke");
    fails(20s, ap::Cause::Preempted);
    fails(20s, ap::Cause::Canceled);
    replica_gone(service, {1, 1, true, ap::Cause::UserCode, "killed", {}}, 20s);
    replica_gone(service, {1, 0, false, ap::Cause::UserCode, "old", {}}, 20s);
    EXPECT_EQ(service.failures, 3) << "who gave way, was told to, or is of old has not failed";
    fails(400s, ap::Cause::NodeLost, 5min);
    EXPECT_EQ(service.failures, 1) << "it was well for long";
    EXPECT_EQ(plan(service, {}, 400s), "start 1");
    replica_failed(service, ++service.made, "not ready for 30 s", 400s);
    EXPECT_EQ(plan(service, {}, 400s), "look at 6 min 41 s");
    want_revision(service, {});
    EXPECT_EQ(plan(service, {}, 400s), "start 1") << "a new revision is tried at once";
    EXPECT_EQ(service.failures, 0);
    EXPECT_EQ(service.trouble, "");
}

TEST(Service, SeveralFailuresAtOneInstantAreOne) {
    Service service;
    service.made = 2;
    const auto fails = [&](std::int64_t number, Span at) {
        replica_gone(service, {number, service.revision, false, ap::Cause::UserCode, "no", {}}, at);
        return service.failures;
    };
    EXPECT_EQ(fails(1, 10s), 1);
    service.made = 3;  // in its place
    EXPECT_EQ(fails(2, 10s), 1) << "it was there when the first failed";
    EXPECT_EQ(service.not_before, 10s);
    EXPECT_EQ(fails(3, 10s), 2) << "it was made after that, and failed too";
    want_revision(service, service.spec);
    EXPECT_EQ(service.failures, 0);
    EXPECT_EQ(fails(3, 10s), 1) << "of the new revision it is the first";
}

TEST(Service, ExitCodeZeroIsAnEndWhereThePolicySaysSo) {
    Service service = some_service(2);
    replica_gone(service, {1, 1, false, ap::Cause::None, "", {}}, 10s);
    EXPECT_EQ(service.trouble, "its command ended with exit code 0");
    EXPECT_EQ(plan(service, replicas("r")), "start 1");
    service.spec.restart.when = ap::Restart::When::OnFailure;
    replica_gone(service, {1, 1, false, ap::Cause::None, "", {}}, 20s);
    EXPECT_EQ(plan(service, replicas("r"), 20s), "nothing");
    replica_gone(service, {1, 1, false, ap::Cause::UserCode, "broke", {}}, 20s);
    EXPECT_EQ(plan(service, {}, 40s), "start 1");
    replica_gone(service, {1, 1, false, ap::Cause::None, "", {}}, 60s);
    EXPECT_EQ(plan(service, {}, 60s), "nothing");
    want_replicas(service, 1);
    EXPECT_EQ(plan(service, {}, 60s), "start 1") << "whoever asks for it again gets it";
}

TEST(Service, ItsRowComesBack) {
    Service service = some_service(3, 2);
    service.spec.port = 8080;
    service.spec.unready_limit = 1min;
    service.revision = 4;
    service.made = 17;
    service.failures = 2;
    service.done = 1;
    service.ending = true;
    service.trouble = "it broke";
    const Json row = to_json(service);
    EXPECT_EQ(to_json(*service_of_json(row)), row);
    EXPECT_EQ(service_of_json(row)->spec.port, 8080);
    EXPECT_FALSE(service_of_json(Json::object()));
}

TEST(Service, PeopleAreToldWhyItIsNotReady) {
    Service service = some_service(3);
    EXPECT_EQ(why_not_ready(service, replicas("rrr"), 10s), "");
    EXPECT_EQ(why_not_ready(service, replicas("rwsu"), 10s),
              "1 of 3 wanted replicas are ready; 1 waiting for a node; 1 being prepared on a node; "
              "1 running, and not ready yet");
    want_revision(service, {});
    EXPECT_EQ(
        why_not_ready(service, both("rrx", "r?"), 10s),
        "1 of 3 wanted replicas are ready; 1 on a node that cannot be heard; 1 being stopped; "
        "2 of earlier revisions serve until then");
    replica_gone(service, {1, 2, false, ap::Cause::UserCode, "it broke", {}}, 10s);
    EXPECT_EQ(why_not_ready(service, replicas("", 2), 10s),
              "0 of 3 wanted replicas are ready; 1 failure: it broke");
    replica_gone(service, {2, 2, false, ap::Cause::UserCode, "it broke", {}}, 10s);
    EXPECT_EQ(why_not_ready(service, replicas("", 2), 10s),
              "0 of 3 wanted replicas are ready; 2 failures in a row, the last one: it broke; the "
              "next one is started in 1 s");
    service.ending = true;
    EXPECT_EQ(why_not_ready(service, replicas("x"), 10s),
              "it was ended: 1 replica must stop before it is over");
    EXPECT_EQ(why_not_ready(service, {}, 10s), "");
}

// ---- worlds in which anything may happen at any time ----

struct Drawn {
    std::mt19937 dice;
    Service service;
    std::map<std::int64_t, Replica> there;
    Span now = 1s;
    bool faults = true;
    int most = 0;  // that may be alive: fewer are wanted only when they have gone

    explicit Drawn(unsigned seed) : dice(seed) {
        service = some_service(static_cast<int>(draw(1, 5)), static_cast<int>(draw(0, 2)));
        if (draw(0, 1)) service.spec.unready_limit = Span(draw(1, 100) * 1s);
        service.spec.restart.longest = Span(draw(1, 60) * 1s);
        if (draw(0, 3) == 0) service.spec.restart.when = ap::Restart::When::OnFailure;
        most = service.wanted + service.surge;
    }
    std::int64_t draw(std::int64_t low, std::int64_t high) {
        return std::uniform_int_distribution<std::int64_t>(low, high)(dice);
    }
    std::vector<Replica> all() const {
        std::vector<Replica> list;
        for (const auto& [number, one] : there) list.push_back(one);
        return list;
    }
    int serving() const {
        return static_cast<int>(std::count_if(there.begin(), there.end(), [](const auto& one) {
            return one.second.is == Is::Ready;
        }));
    }
    void become(Replica& one, Is is) {
        if (one.is != is) one.since = now;
        one.is = is;
    }
    void gone(std::int64_t number, bool told, ap::Cause cause) {
        const Replica one = there.at(number);
        there.erase(number);
        replica_gone(service,
                     {number, one.revision, told, cause, "it broke",
                      one.is == Is::Ready ? std::optional(now - one.since) : std::nullopt},
                     now);
    }

    // What control does with a plan, and what must be true of it.
    std::optional<Span> act() {
        bool failed = false;
        std::optional<Span> look_at = act_once(failed);
        while (failed) look_at = act_once(failed);
        return look_at;
    }
    std::optional<Span> act_once(bool& failed) {
        failed = false;
        const int served = serving(), before = static_cast<int>(there.size());
        const ServicePlan plan = plan_service(service, all(), now);
        std::set<std::int64_t> stopped;
        for (const auto& stop : plan.stop) {
            EXPECT_TRUE(stopped.insert(stop.number).second) << "told twice";
            EXPECT_NE(there.at(stop.number).is, Is::Stopping) << "told again";
            if (stop.why == Why::Unready) {
                replica_failed(service, stop.number, "unready", now);
                failed = true;
            }
            become(there.at(stop.number), Is::Stopping);
        }
        if (!service.ending && !failed) {
            // Nobody that serves is stopped before there are enough, but one where there is no
            // room for its successor.
            EXPECT_GE(serving(), std::min(served, service.target()) - (service.surge == 0 ? 1 : 0));
        }
        for (int i = 0; i < plan.start; ++i) {
            const std::int64_t number = ++service.made;
            there[number] = {number, service.revision, Is::Waiting, now};
        }
        EXPECT_TRUE(plan.start == 0 || now >= service.not_before);
        EXPECT_LE(static_cast<int>(there.size()),
                  std::max(before, service.target() + service.surge));
        EXPECT_EQ(plan.over, service.ending && there.empty());
        EXPECT_TRUE(!plan.look_at || *plan.look_at > now);
        if (failed) return plan.look_at;
        // What was done leads to nothing more at once.
        const ServicePlan again = plan_service(service, all(), now);
        EXPECT_EQ(again.start, 0);
        EXPECT_TRUE(again.stop.empty()) << said(again);
        return plan.look_at;
    }

    void happens() {
        const std::int64_t what = draw(0, 99);
        if (faults && what < 2) return want_replicas(service, static_cast<int>(draw(0, 5)));
        if (faults && what < 4) return want_revision(service, service.spec);
        if (there.empty()) return;
        auto at = there.begin();
        std::advance(at, draw(0, static_cast<std::int64_t>(there.size()) - 1));
        const std::int64_t number = at->first;
        Replica& one = at->second;
        const bool bad = faults && draw(0, 9) == 0;
        if (one.is == Is::Stopping) {
            if (draw(0, 2) == 0) gone(number, true, ap::Cause::Canceled);
        } else if (bad) {
            const ap::Cause causes[] = {ap::Cause::UserCode, ap::Cause::NodeLost,
                                        ap::Cause::Preempted, ap::Cause::None, ap::Cause::Internal};
            gone(number, false, causes[draw(0, 4)]);
        } else if (faults && draw(0, 9) == 0) {
            become(one, one.is == Is::Ready ? (draw(0, 1) ? Is::Unready : Is::Unknown) : one.is);
        } else {
            become(one, one.is == Is::Waiting    ? Is::Starting
                        : one.is == Is::Starting ? Is::Unready
                                                 : Is::Ready);
        }
    }
};

class DrawnService : public testing::TestWithParam<unsigned> {};

TEST_P(DrawnService, ConvergesAndNeverHasTooMany) {
    for (unsigned i = 0; i < 40; ++i) {
        Drawn world(GetParam() * 40 + i);
        SCOPED_TRACE("seed " + std::to_string(GetParam() * 40 + i));
        world.act();
        for (int step = 0; step < 400; ++step) {
            world.now += Span(world.draw(0, 2000) * 1ms);
            world.happens();
            world.act();
            if (testing::Test::HasFailure()) return;
        }
        world.faults = false;
        if (world.draw(0, 1)) want_replicas(world.service, world.service.wanted);
        bool reached = false;
        for (int step = 0; step < 5000 && !reached; ++step) {
            const std::optional<Span> next = world.act();
            if (next && world.draw(0, 9) == 0) world.now = *next;
            world.now += Span(world.draw(0, 100) * 1ms);
            world.happens();
            const ReplicaCounts counts = count_replicas(world.service, world.all());
            reached = counts.ready == counts.wanted && counts.present == counts.wanted;
            if (testing::Test::HasFailure()) return;
        }
        ASSERT_TRUE(reached) << why_not_ready(world.service, world.all(), world.now);
        ASSERT_EQ(why_not_ready(world.service, world.all(), world.now), "");
        // Told to end, it ends.
        world.service.ending = true;
        for (int step = 0; step < 1000 && !world.there.empty(); ++step) {
            world.act();
            world.happens();
        }
        ASSERT_TRUE(plan_service(world.service, world.all(), world.now).over);
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, DrawnService, testing::Range(0u, 20u));

}  // namespace
}  // namespace turnout

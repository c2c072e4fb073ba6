// Many nodes whose logs come faster than the disk takes them, with the real store: its writer
// stands still until the test lets it go on.
#include "control/agent_links.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <unistd.h>

#include "control/test_world.h"
#include "store/sqlite/sqlite_store.h"
#include "store/sqlite/test_gate.h"
#include "store/test_loop.h"
#include "store/test_world.h"

namespace turnout::control_test {
namespace {

constexpr std::size_t kChunk = 64 << 10;
constexpr int kRanks = 4;   // of a job on its node, each with a log of its own
constexpr int kChunks = 2;  // of each: less than what an agent sends before it is acknowledged

// Both ends of one agent's connection.
struct Wire {
    std::string to_server;
    ap::FrameReader to_agent;
    bool welcomed = false, closed = false;
    bool canceled = false, released = false;
    std::set<std::string> called_for;  // logs, when there was room again
    std::optional<ap::AttemptId> leased;
    std::map<std::string, std::uint64_t> acknowledged;  // so far each of its logs is
    std::function<void(bool)> reader;
    void wake() {
        if (auto waiting = std::exchange(reader, nullptr)) waiting(true);
    }
};

class ServerEnd : public http::Stream {
public:
    ServerEnd(Loop& loop, std::shared_ptr<Wire> wire) : loop_(loop), wire_(std::move(wire)) {}
    Task<Result<std::string>> read() override {
        const auto wire = wire_;
        while (!wire->closed && wire->to_server.empty()) {
            Later<bool> news;
            wire->reader = news.settle();
            co_await news;
        }
        if (wire->closed) co_return fail(Code::Canceled, "Closed", "the connection was closed");
        std::string piece = wire->to_server.substr(0, 32 << 10);
        wire->to_server.erase(0, piece.size());
        co_return piece;
    }
    Task<Result<void>> write(std::string bytes) override {
        wire_->to_agent.feed(bytes);
        for (auto frame = wire_->to_agent.next(); frame && *frame; frame = wire_->to_agent.next()) {
            const auto message = ap::decode_to_agent(**frame);
            if (!message) continue;
            wire_->welcomed |= std::holds_alternative<ap::Welcome>(*message);
            if (const auto* lease = std::get_if<ap::Lease>(&*message)) wire_->leased = lease->id;
            wire_->canceled |= std::holds_alternative<ap::Cancel>(*message);
            wire_->released |= std::holds_alternative<ap::EndAck>(*message);
            if (const auto* ack = std::get_if<ap::LogAck>(&*message)) {
                if (ack->offset == 0) wire_->called_for.insert(ack->stream);
                std::uint64_t& acknowledged = wire_->acknowledged[ack->stream];
                acknowledged = std::max(acknowledged, ack->offset);
            }
        }
        co_return Result<void>{};
    }
    void close() override {
        wire_->closed = true;
        loop_.post([wire = wire_] { wire->wake(); });
    }

private:
    Loop& loop_;
    std::shared_ptr<Wire> wire_;  // shared: the test is its other end
};

class Crowd : public testing::Test, public Effects {
public:
    void SetUp() override {
        std::string name = std::filesystem::temp_directory_path() / "turnout-crowd-XXXXXX";
        folder = ::mkdtemp(name.data());
        SqliteOptions options;
        options.ballast_bytes = 4096;
        options.free_space = [this] { return gate.free_space(); };
        auto opened = open_sqlite_store(loop, folder + "/turnout.db", std::move(options));
        ASSERT_TRUE(opened) << opened.error().message;
        store = std::move(*opened);
        Control::Settings settings;
        settings.slots = 1000;
        settings.commit_pause = settings.busy_commit_pause = settings.client_pause = Span{};
        control.emplace(clock, *store, *this, settings);
        keep_logs(*store);
        ASSERT_TRUE(control->recover());
    }
    void keep_logs(Store& where, std::size_t room = 64 << 20) {
        links.reset();
        tracking.emplace(where, clock, random, loop, room);
        links.emplace(loop, *tracking);
        links->set_control(&*control);
    }
    void TearDown() override {
        gate.open();
        links.reset();
        control.reset();
        tracking.reset();
        loop.drain();
        store.reset();
        loop.drain();
        std::filesystem::remove_all(folder);
    }

    // ---- what control wants of the world ----
    void send(const NodeId& node, ap::ToAgent message) override { links->send(node, message); }
    void provision(const std::string&, const NodeRequest& node) override { wanted.insert(node.id); }
    void release(const std::string&, const NodeId&, const Json&) override {}
    void disconnect(const NodeId& node) override {
        ++disconnected;
        links->disconnect(node);
    }

    // So many nodes, each with its agent.
    void gather(int count) {
        for (int have = 0; have < count;) {
            have =
                std::min(count, have + 100);  // the store has little room yet, so little at a time
            bool made = false;
            control->put_compute(World::cluster("c", have, count),
                                 [&](Result<Put> put) { made = put.has_value(); });
            loop.run_until([&] { return made && static_cast<int>(wanted.size()) == have; });
        }
        for (const NodeId& node : wanted) {
            const auto wire = std::make_shared<Wire>();
            wires[node] = wire;
            ap::Hello hello;
            hello.node = node;
            hello.boot_id = "boot-1";
            wire->to_server = ap::encode(ap::ToServer(hello));
            start(links->serve(node, std::make_unique<ServerEnd>(loop, wire)), [] {});
            loop.run_until([&] { return wire->welcomed; });
        }
        for (int i = 1; i <= count; ++i) {
            bool answered = false;
            control->submit(World::submission("job-" + std::to_string(i), "c"),
                            [&](Result<Put>) { answered = true; });
            loop.run_until([&] { return answered; });
        }
        loop.run_until([&] {
            return std::ranges::all_of(
                wires, [](const auto& one) { return one.second->leased.has_value(); });
        });
    }
    std::string job_of(const NodeId& node) const { return wires.at(node)->leased->job; }
    // What a job of several processes writes.
    static std::map<std::string, std::string> logs() {
        std::map<std::string, std::string> logs;
        for (int rank = 0; rank < kRanks; ++rank) {
            std::string& log = logs["user_logs/std_log_process_" + std::to_string(rank) + ".txt"];
            while (log.size() < kChunks * kChunk)
                log += std::to_string(log.size()) + " of " + std::to_string(rank) + "\n";
            log.resize(kChunks * kChunk);
        }
        logs["azureml-logs/20_environment.txt"] = std::string(1000, 'e');
        return logs;
    }
    // All that an agent has to say of them, without waiting for an answer: what is acknowledged is
    // not said again.
    void says(const NodeId& node) {
        Wire& wire = *wires.at(node);
        for (const auto& [stream, log] : said)
            for (std::uint64_t at = wire.acknowledged[stream]; at < log.size(); at += kChunk)
                wire.to_server += ap::encode(
                    ap::ToServer(ap::LogChunk{*wire.leased, stream, at, log.substr(at, kChunk)}));
        wire.wake();
    }
    // Each some seconds after the last time.
    void all_say_again_until_acknowledged() {
        const auto all = [&] {
            return std::ranges::all_of(wires, [&](const auto& one) {
                return std::ranges::all_of(said, [&](const auto& log) {
                    return one.second->acknowledged[log.first] == log.second.size();
                });
            });
        };
        for (int round = 0; !all(); ++round) {
            ASSERT_LT(round, 100);
            for (const auto& [node, wire] : wires) says(node);
            loop.drain();
            write_logs();
        }
    }
    void write_logs() {
        loop.run_until([&] {
            still.flush();
            return tracking->waiting_log_bytes() == 0;
        });
        loop.drain();
    }
    void expect_whole_logs() {
        for (const auto& [node, wire] : wires) {
            EXPECT_FALSE(wire->closed) << node;
            for (const auto& [stream, log] : said) {
                const auto kept = tracking->read_log("ws", job_of(node), stream, 0, 1 << 30);
                ASSERT_TRUE(kept) << kept.error().message;
                EXPECT_TRUE(*kept == log) << node << "'s " << stream << " has " << kept->size();
            }
        }
    }

    TestLoop loop;
    StillClock clock;
    CountingRandom random;
    Gate gate;
    std::string folder;
    std::unique_ptr<Store> store;
    MemoryStore still;  // in which nothing is durable before the test says so
    const std::map<std::string, std::string> said = logs();
    std::optional<Tracking> tracking;
    std::optional<AgentLinks> links;
    std::optional<Control> control;
    std::set<NodeId> wanted;
    std::map<NodeId, std::shared_ptr<Wire>> wires;
    int disconnected = 0;
};

TEST_F(Crowd, LogsOfManyNodesStandInNobodysWay) {
    gather(300);
    disconnected = 0;
    gate.shut();
    for (const auto& [node, wire] : wires) says(node);
    loop.drain();

    EXPECT_TRUE(tracking->logs_full());
    EXPECT_LT(tracking->waiting_log_bytes(), std::size_t{65} << 20) << "the agents keep the rest";

    std::string answer = "none";
    control->submit(World::submission("theirs", "c"),
                    [&](Result<Put> put) { answer = World::said_put(put); });
    loop.drain();
    ASSERT_EQ(answer, "none") << "nothing is durable yet";
    ASSERT_EQ(disconnected, 0);

    gate.open();
    loop.run_until([&] { return answer != "none"; });
    EXPECT_EQ(answer, "created");
    all_say_again_until_acknowledged();
    EXPECT_EQ(disconnected, 0);
    expect_whole_logs();
}

TEST_F(Crowd, WhatElseTheyHaveToSayIsHeardWhileThereIsNoRoomForLogs) {
    keep_logs(still, 4 << 20);
    gather(30);
    disconnected = 0;
    for (int i = 0; i < 3; ++i) {
        for (const auto& [node, wire] : wires) says(node);
        loop.drain();
        EXPECT_TRUE(tracking->logs_full());
        for (const auto& [node, wire] : wires)
            EXPECT_TRUE(wire->to_server.empty()) << node << " is not listened to";
    }
    EXPECT_LT(tracking->waiting_log_bytes(), std::size_t{5} << 20);

    // One is canceled, half of them end.
    const auto first = wires.begin();
    bool answered = false;
    control->cancel_job("ws", job_of(first->first), [&](Result<void> canceled) {
        answered = true;
        EXPECT_TRUE(canceled);
    });
    loop.run_until([&] { return answered && first->second->canceled; });
    std::vector<std::shared_ptr<Wire>> ended;
    for (auto one = first; one != wires.end() && ended.size() < 15; one = wires.erase(one)) {
        ended.push_back(one->second);
        one->second->to_server += ap::encode(ap::ToServer(ap::EndReport{*one->second->leased, {}}));
        one->second->wake();
    }
    loop.run_until([&] {
        return std::ranges::all_of(ended, [](const auto& wire) { return wire->released; });
    });
    EXPECT_TRUE(tracking->logs_full()) << "still";

    // Who found no room hears when there is some: a canceled one does not try for long.
    for (const auto& [node, wire] : wires) EXPECT_TRUE(wire->called_for.empty()) << node;
    write_logs();
    ASSERT_FALSE(tracking->logs_full());
    int called = 0;
    for (const auto& [node, wire] : wires)
        for (const auto& [stream, log] : said) {
            const bool whole = wire->acknowledged[stream] == log.size();
            called += wire->called_for.contains(stream);
            EXPECT_TRUE(whole || wire->called_for.contains(stream)) << node << " " << stream;
        }
    EXPECT_GT(called, 0);

    all_say_again_until_acknowledged();
    expect_whole_logs();
    EXPECT_EQ(disconnected, 0);
}

}  // namespace
}  // namespace turnout::control_test

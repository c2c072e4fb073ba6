#include "agent/facts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

namespace turnout::agent {
namespace {

namespace fs = std::filesystem;

class NodeFactsTest : public ::testing::Test {
protected:
    std::string root;
    FactSources sources;
    environment::Settings settings;

    void SetUp() override {
        char path[] = "/tmp/turnout-facts-XXXXXX";
        root = mkdtemp(path);
        sources = {root + "/proc", root + "/cgroup", root + "/docker.sock"};
        settings.environment = {"PATH=" + root + "/bin", "HOME=" + root};
        settings.cache = root + "/cache";
    }
    void TearDown() override { fs::remove_all(root); }
    void write(const std::string& path, const std::string& text) {
        fs::create_directories(fs::path(root + "/" + path).parent_path());
        std::ofstream(root + "/" + path) << text;
    }
    void program(const std::string& name, const std::string& text) {
        write("bin/" + name, "#!/bin/sh\n" + text);
        chmod((root + "/bin/" + name).c_str(), 0755);
    }
    agent_protocol::Facts facts() { return find_facts(settings, root, sources); }
};

TEST_F(NodeFactsTest, TheMachineIsWhatItIs) {
    const auto found = facts();
    EXPECT_EQ(found.cores, static_cast<int>(std::thread::hardware_concurrency()));
    EXPECT_GT(found.memory_bytes, std::int64_t{64} << 20);
    EXPECT_GT(found.free_disk_bytes, 0);
    EXPECT_FALSE(found.host.empty());
    EXPECT_EQ(found.address.find("127."), std::string::npos);
    EXPECT_EQ(found.container_engine, "");
    EXPECT_TRUE(find_gpus(settings, sources).empty());
}

TEST_F(NodeFactsTest, ALimitIsTheLeastOfThoseAbove) {
    write("proc/self/cgroup", "0::/pods/one/two\n");
    write("cgroup/pods/one/two/memory.max", "max\n");
    write("cgroup/pods/one/memory.max", "33554432\n");
    write("cgroup/pods/memory.max", "67108864\n");
    write("cgroup/pods/one/cpu.max", "max 100000\n");
    write("cgroup/pods/cpu.max", "25000 100000\n");
    EXPECT_EQ(facts().memory_limit_bytes, 33554432);
    EXPECT_EQ(facts().cpu_limit_millicores, 250);
    EXPECT_EQ(facts().usable_memory(), 33554432);
    EXPECT_EQ(facts().usable_millicores(), 250);
}

TEST_F(NodeFactsTest, LimitsOfTheFirstControlGroupsCountToo) {
    write("proc/self/cgroup", "9:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n");
    write("cgroup/memory/docker/x/memory.limit_in_bytes", "16777216\n");
    write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write("cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "50000\n");
    write("cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(facts().memory_limit_bytes, 16777216);
    EXPECT_EQ(facts().cpu_limit_millicores, 500);
}

TEST_F(NodeFactsTest, MoreThanTheMachineHasIsNoLimit) {
    write("proc/self/cgroup", "0::/\n");
    write("cgroup/memory.max", "1152921504606846976\n");
    write("cgroup/cpu.max", "100000000 100000\n");
    EXPECT_EQ(facts().memory_limit_bytes, 0);
    EXPECT_EQ(facts().usable_memory(), facts().memory_bytes);
}

TEST_F(NodeFactsTest, WhatTheKernelKilledIsCountedInBothVersionsOfControlGroups) {
    EXPECT_EQ(kernel_kills(sources), 0);
    write("cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    EXPECT_EQ(kernel_kills(sources), 2);
    write("cgroup/memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\n");
    EXPECT_EQ(kernel_kills(sources), 3);
}

TEST_F(NodeFactsTest, AnEngineIsNamedIfItAnswers) {
    program("docker", "exit 0");
    EXPECT_EQ(facts().container_engine, "") << "nobody listens";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    sources.docker_socket.copy(address.sun_path, sizeof address.sun_path - 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(socket, 4), 0);
    EXPECT_EQ(facts().container_engine, "docker");
    close(socket);
    program("podman", "exit 0");
    EXPECT_EQ(facts().container_engine, "podman");
}

TEST_F(NodeFactsTest, PythonsAreListedOnceTheNewestFirst) {
    for (const char* version : {"3.8.10", "3.11.2", "3.9.1"})
        write(".pyenv/versions/" + std::string(version) + "/bin/python", "");
    for (const auto& one : fs::directory_iterator(root + "/.pyenv/versions"))
        chmod((one.path() / "bin/python").c_str(), 0755);
    const auto pythons = facts().pythons;
    const auto at = [&](const std::string& version) {
        return std::ranges::find(pythons, version) - pythons.begin();
    };
    EXPECT_LT(at("3.11.2"), at("3.9.1"));
    EXPECT_LT(at("3.9.1"), at("3.8.10"));
    EXPECT_LT(static_cast<std::size_t>(at("3.8.10")), pythons.size());
    EXPECT_EQ(std::ranges::count(pythons, "3.9.1"), 1);
}

TEST_F(NodeFactsTest, GpusAreThoseOfTheDriverWithWhatItsProgramSays) {
    write("proc/driver/nvidia/gpus/0000:1a:00.0/information",
          "Model: \t\t Tesla V100-SXM2-16GB\nIRQ:   \t\t 45\n");
    write("proc/driver/nvidia/gpus/0000:1b:00.0/information", "IRQ: 46\n");
    auto gpus = find_gpus(settings, sources);
    ASSERT_EQ(gpus.size(), 2u);
    EXPECT_EQ(
        std::ranges::count(gpus, std::string("Tesla V100-SXM2-16GB"), &agent_protocol::Gpu::model),
        1);
    EXPECT_EQ(gpus[0].memory_bytes, 0);
    program("nvidia-smi", "echo 'Tesla V100-SXM2-16GB, 16160'; echo 'Tesla V100-SXM2-16GB, 16160'");
    gpus = find_gpus(settings, sources);
    ASSERT_EQ(gpus.size(), 2u);
    EXPECT_EQ(gpus[1].model, "Tesla V100-SXM2-16GB");
    EXPECT_EQ(gpus[1].memory_bytes, std::int64_t{16160} << 20);
    // One that fails, or sees less, changes nothing.
    program("nvidia-smi", "echo 'Failed to initialize NVML'; exit 9");
    EXPECT_EQ(find_gpus(settings, sources).size(), 2u);
    program("nvidia-smi", "echo 'Tesla V100-SXM2-16GB, 16160'");
    EXPECT_EQ(find_gpus(settings, sources)[0].memory_bytes, 0);
}

}  // namespace
}  // namespace turnout::agent

// Hosts for tests: real `sshd` processes on ports of this machine, which let in the user who runs
// the tests, with a folder of its own each. (SHLVL: else bash takes a command that comes by SSH for
// a login, and reads what its user has set up.)
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"
#include "io/posix/sockets.h"
#include "io/posix/test_until.h"
#include "provider/local/harm.h"

namespace turnout {

class TestHosts {
public:
    explicit TestHosts(int count) {
        char path[] = "/tmp/turnout-ssh-XXXXXX";
        root_ = mkdtemp(path);
        if (geteuid() == 0) (void)make_directories("/run/sshd");
        make_key("id");
        for (int i = 0; i < count; ++i) {
            hosts_.push_back({});
            make_key("host" + std::to_string(i));
            EXPECT_TRUE(make_directories(folder(i), 0700));
            begin(i);
        }
    }
    ~TestHosts() {
        for (int i = 0; i < static_cast<int>(hosts_.size()); ++i) {
            end(i);
            for (const std::string& nodes : node_folders(i)) (void)kill_processes_of(nodes);
        }
        (void)remove_tree(root_);
    }

    void begin(int host) {
        Host& one = hosts_.at(static_cast<std::size_t>(host));
        const std::string name = root_ + "/host" + std::to_string(host);
        for (int attempt = 0; attempt < 5 && !is_alive(one.server); ++attempt) {
            if (one.port == 0) {
                const auto free = http::listen_tcp("127.0.0.1:0");
                ASSERT_TRUE(free);
                one.port = http::parse_host_port(free->address).value().port;
            }
            ASSERT_TRUE(write_file_atomically(
                name + ".config",
                "ListenAddress 127.0.0.1:" + std::to_string(one.port) + "\nHostKey " + name +
                    "\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin "
                    "yes\nPasswordAuthentication no\nMaxSessions 10\n"
                    "AllowTcpForwarding yes\nSetEnv SHLVL=5\nAuthorizedKeysFile " +
                    root_ + "/id.pub\n"));
            SpawnRequest request;
            request.program = "/usr/sbin/sshd";
            request.arguments = {request.program, "-D", "-e", "-f", name + ".config"};
            request.environment = {"PATH=/usr/bin:/bin"};
            request.output = request.error = name + ".log";
            const auto server = spawn(request);
            ASSERT_TRUE(server) << "the package openssh-server is needed: "
                                << server.error().message;
            one.server = *server;
            // It listens, or has ended because somebody else has the port.
            EXPECT_TRUE(
                wait_until([&] { return !is_alive(*server) || !http::is_port_free(one.port); }));
        }
    }
    // With all its connections.
    void end(int host) {
        Host& one = hosts_.at(static_cast<std::size_t>(host));
        for (const ProcessSeen& seen : list_processes())
            if (seen.parent == one.server.pid) (void)send_signal(seen.id, SIGKILL);
        (void)send_signal(one.server, SIGKILL);
        EXPECT_TRUE(wait_until([&] { return !is_alive(one.server); }));
        (void)reap(one.server.pid);
    }
    void change_key(int host) {
        end(host);
        const std::string name = "host" + std::to_string(host);
        (void)remove_tree(root_ + "/" + name);
        (void)remove_tree(root_ + "/" + name + ".pub");
        make_key(name);
        begin(host);
    }

    int port(int host) const { return hosts_.at(static_cast<std::size_t>(host)).port; }
    std::string root() const { return root_; }
    std::string key() const { return root_ + "/id"; }
    std::string folder(int host) const { return root_ + "/h" + std::to_string(host); }
    static std::string user() { return geteuid() == 0 ? "root" : name_of_user(); }
    // Of a pool of all of them.
    Json settings(int slots) const {
        Json hosts = Json::array();
        for (int i = 0; i < static_cast<int>(hosts_.size()); ++i)
            hosts.push(Json::object({{"address", "127.0.0.1"},
                                     {"port", port(i)},
                                     {"folder", folder(i)},
                                     {"slots", slots}}));
        return Json::object({{"user", user()}, {"key", key()}, {"hosts", std::move(hosts)}});
    }
    // Where that node is, on whichever host; "" if on none.
    std::string place_of(std::string node) const {
        std::ranges::replace(node, '/', '_');
        for (int i = 0; i < static_cast<int>(hosts_.size()); ++i)
            for (const std::string& one : node_folders(i))
                if (one.ends_with("/" + node)) return one;
        return "";
    }
    int host_of(const std::string& node) const {
        const std::string place = place_of(node);
        for (int i = 0; i < static_cast<int>(hosts_.size()); ++i)
            if (place.starts_with(folder(i) + "/")) return i;
        return -1;
    }

private:
    struct Host {
        int port = 0;
        ProcessId server;
    };

    static std::string name_of_user() {
        const auto status = read_file("/proc/self/environ");
        for (const std::string& one : split(status.value_or(""), '\0'))
            if (one.starts_with("USER=")) return one.substr(5);
        return "root";
    }
    void make_key(const std::string& name) {
        SpawnRequest request;
        request.program = "/usr/bin/ssh-keygen";
        request.arguments = {request.program,   "-q", "-t", "ed25519", "-N", "", "-f",
                             root_ + "/" + name};
        const auto made = spawn(request);
        ASSERT_TRUE(made) << made.error().message;
        EXPECT_TRUE(wait_until([&] { return !is_alive(*made); }));
        (void)reap(made->pid);
    }
    std::vector<std::string> node_folders(int host) const {
        std::vector<std::string> all;
        const auto servers = list_directory(folder(host));
        if (!servers) return all;
        for (const DirectoryEntry& server : *servers) {
            const std::string nodes = folder(host) + "/" + server.name + "/nodes";
            if (const auto found = list_directory(nodes))
                for (const DirectoryEntry& node : *found) all.push_back(nodes + "/" + node.name);
            for (const std::string& node : folders_with_processes(nodes)) {
                const std::string path = nodes + "/" + node;
                if (std::ranges::find(all, path) == all.end()) all.push_back(path);
            }
        }
        return all;
    }

    std::string root_;
    std::vector<Host> hosts_;
};

// The executable that lies beside the test's own.
inline std::string agent_beside() {
    char path[4096];
    const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
    const std::string own(path, size > 0 ? static_cast<std::size_t>(size) : 0);
    return own.substr(0, own.rfind('/')) + "/turnout-agent";
}

}  // namespace turnout

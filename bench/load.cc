// A client that costs little, for the benchmarks: it shares the machine with the server.
//
//     load put KEY=VALUE...   PUTs jobs over several connections, one request on each at a time
//     load one KEY=VALUE...   one job at a time: PUT, then GET until it has ended
//     load get KEY=VALUE...   GETs one path, or those of a file in turn, on one connection
//
// origin=http://HOST:PORT path=/…/jobs/ version=API-VERSION body=FILE (`@NAME@` in it becomes the
// job's name) paths=FILE (get: one on a line) prefix=NAME first=0 count=N connections=8 wait=0|1
// (put: until the last ones have ended). The token is in $TURNOUT_LOAD_TOKEN. The result is one
// line of JSON; progress goes to stderr.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr int kChunk = 10'000;  // jobs whose rate is told as one

[[noreturn]] void die(const std::string& why) {
    std::fprintf(stderr, "load: %s\n", why.c_str());
    std::exit(1);
}

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// One keep-alive connection, on which at most one request is under way.
class Connection {
public:
    Connection(const std::string& host, int port) {
        socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
            die("no IPv4 address: " + host);
        if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            die("cannot connect");
        const int on = 1;
        setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    Connection(const Connection&) = delete;
    ~Connection() { close(socket_); }

    int fd() const { return socket_; }

    void send(std::string_view bytes) {
        began = now();
        received_.clear();
        body_at_ = std::string::npos;
        while (!bytes.empty()) {
            const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) die("the server closed the connection");
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

    // Reads what is there; true once the whole answer is.
    bool receive() {
        char buffer[65536];
        const ssize_t got = recv(socket_, buffer, sizeof buffer, 0);
        if (got <= 0) die("the server closed the connection");
        received_.append(buffer, static_cast<std::size_t>(got));
        if (body_at_ == std::string::npos) {
            const std::size_t end = received_.find("\r\n\r\n");
            if (end == std::string::npos) return false;
            body_at_ = end + 4;
            std::string head = received_.substr(0, end);
            for (char& c : head)
                if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
            const std::size_t length = head.find("\r\ncontent-length:");
            if (length == std::string::npos || head.size() < 12) die("no length: " + head);
            length_ = std::strtoul(head.c_str() + length + 17, nullptr, 10);
            status = std::atoi(head.c_str() + 9);
        }
        return received_.size() >= body_at_ + length_;
    }

    void receive_all() {
        while (!receive()) {
        }
    }

    std::string_view body() const { return std::string_view(received_).substr(body_at_, length_); }

    double began = 0;
    int status = 0;

private:
    int socket_;
    std::string received_;
    std::size_t body_at_ = std::string::npos, length_ = 0;
};

struct Options {
    std::map<std::string, std::string> values;
    std::string host, token, body;
    int port = 0;

    std::string get(const std::string& key, std::string otherwise = "") const {
        const auto found = values.find(key);
        return found == values.end() ? otherwise : found->second;
    }
    int number(const std::string& key, int otherwise) const {
        return std::atoi(get(key, std::to_string(otherwise)).c_str());
    }
    std::string name(int index) const {
        char digits[16];
        std::snprintf(digits, sizeof digits, "%07d", index);
        return get("prefix", "job-") + digits;
    }
    std::string request(std::string_view method, const std::string& path,
                        std::string_view content) const {
        std::string text(method);
        text += " " + path + " HTTP/1.1\r\nHost: " + host + ":" + std::to_string(port) +
                "\r\nAuthorization: Bearer " + token +
                "\r\nContent-Type: application/json\r\nContent-Length: " +
                std::to_string(content.size()) + "\r\n\r\n";
        text += content;
        return text;
    }
    std::string job_path(const std::string& name_) const {
        return get("path") + name_ + "?api-version=" + get("version");
    }
    std::string put(const std::string& name_) const {
        std::string content = body;
        for (std::size_t at = 0; (at = content.find("@NAME@", at)) != std::string::npos;
             at += name_.size())
            content.replace(at, 6, name_);
        return request("PUT", job_path(name_), content);
    }
};

Options parse(int count, char** arguments) {
    Options options;
    for (int i = 2; i < count; ++i) {
        const std::string one = arguments[i];
        const std::size_t cut = one.find('=');
        if (cut == std::string::npos) die("not KEY=VALUE: " + one);
        options.values[one.substr(0, cut)] = one.substr(cut + 1);
    }
    const std::string origin = options.get("origin");
    const std::size_t colon = origin.rfind(':');
    if (!origin.starts_with("http://") || colon < 7) die("origin must be http://HOST:PORT");
    options.host = origin.substr(7, colon - 7);
    options.port = std::atoi(origin.c_str() + colon + 1);
    if (const char* token = std::getenv("TURNOUT_LOAD_TOKEN")) options.token = token;
    if (const std::string file = options.get("body"); !file.empty()) {
        std::ifstream in(file);
        options.body.assign(std::istreambuf_iterator<char>(in), {});
        if (options.body.empty()) die("cannot read " + file);
    }
    return options;
}

std::string quantiles(std::vector<double> seconds) {
    if (seconds.empty()) return "{}";
    std::sort(seconds.begin(), seconds.end());
    const auto at = [&](double share) {
        return seconds[std::min(
                   seconds.size() - 1,
                   static_cast<std::size_t>(share * static_cast<double>(seconds.size())))] *
               1000;
    };
    char text[160];
    std::snprintf(text, sizeof text, "{\"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"max\": %.4f}",
                  at(0.5), at(0.9), at(0.99), seconds.back() * 1000);
    return text;
}

// The job's status, from the text of its answer: the job's own status is the first one in the
// answer.
std::string_view status_of(std::string_view body) {
    constexpr std::string_view mark = R"("status":")";
    const std::size_t at = body.find(mark);
    if (at == std::string_view::npos) return {};
    const std::string_view rest = body.substr(at + mark.size());
    return rest.substr(0, rest.find('"'));
}

// Whether the job has ended, asked once.
bool has_ended(Connection& connection, const Options& options, const std::string& name) {
    connection.send(options.request("GET", options.job_path(name), ""));
    connection.receive_all();
    if (connection.status != 200) die(name + ": " + std::string(connection.body().substr(0, 300)));
    const std::string_view status = status_of(connection.body());
    if (status == "Failed" || status == "Canceled")
        die(name + " is " + std::string(status) + ": " + std::string(connection.body()));
    return status == "Completed";
}

int put(const Options& options) {
    const int count = options.number("count", 1), first = options.number("first", 0);
    std::vector<std::unique_ptr<Connection>> connections;
    std::vector<pollfd> waiting;
    for (int i = 0; i < std::min(count, options.number("connections", 8)); ++i) {
        connections.push_back(std::make_unique<Connection>(options.host, options.port));
        waiting.push_back({connections.back()->fd(), POLLIN, 0});
    }
    std::vector<double> latencies, chunks;
    latencies.reserve(static_cast<std::size_t>(count));
    int sent = 0, answered = 0;
    const double begin = now();
    const double begun =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    double chunk_began = begin;
    for (auto& connection : connections)
        connection->send(options.put(options.name(first + sent++)));
    while (answered < count) {
        if (poll(waiting.data(), waiting.size(), 60'000) <= 0) die("no answer for a minute");
        for (std::size_t i = 0; i < waiting.size(); ++i) {
            Connection& connection = *connections[i];
            if ((waiting[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0 || !connection.receive())
                continue;
            const double at = now();
            if (connection.status != 201)
                die("PUT: " + std::to_string(connection.status) + " " +
                    std::string(connection.body().substr(0, 300)));
            latencies.push_back(at - connection.began);
            if (++answered % kChunk == 0 || answered == count) {
                const int size = answered % kChunk == 0 ? kChunk : answered % kChunk;
                chunks.push_back(size / (at - chunk_began));
                chunk_began = at;
                std::fprintf(stderr, "   %d of %d jobs submitted, %.0f/s\n", answered, count,
                             chunks.back());
            }
            if (sent < count) connection.send(options.put(options.name(first + sent++)));
        }
    }
    const double submitted = now();
    if (options.number("wait", 0) != 0) {
        // Jobs start in their order, more or less: when the last ones have ended there is little
        // left. What it took is told by the ends that the server has recorded.
        for (int back = 0; back < std::min(count, 64); ++back)
            while (!has_ended(*connections[0], options, options.name(first + count - 1 - back)))
                std::this_thread::sleep_for(10ms);
    }
    std::printf(
        "{\"count\": %d, \"begun\": %.6f, \"submit_seconds\": %.6f, \"submit_rate\": %.2f, "
        "\"put_ms\": %s, \"chunk\": %d, \"chunk_rates\": [",
        count, begun, submitted - begin, count / (submitted - begin),
        quantiles(std::move(latencies)).c_str(), kChunk);
    for (std::size_t i = 0; i < chunks.size(); ++i)
        std::printf("%s%.1f", i == 0 ? "" : ", ", chunks[i]);
    std::printf("]}\n");
    return 0;
}

int one(const Options& options) {
    const int count = options.number("count", 1), first = options.number("first", 0);
    Connection connection(options.host, options.port);
    std::vector<double> acknowledged, ended;
    for (int i = 0; i < count; ++i) {
        const std::string name = options.name(first + i);
        const double begin = now();
        connection.send(options.put(name));
        connection.receive_all();
        if (connection.status != 201) die("PUT: " + std::string(connection.body().substr(0, 300)));
        acknowledged.push_back(now() - begin);
        while (!has_ended(connection, options, name)) std::this_thread::sleep_for(300us);
        ended.push_back(now() - begin);
        std::this_thread::sleep_for(
            5ms);  // one at a time: the one before is over for node and disk
    }
    std::printf("{\"count\": %d, \"put_ms\": %s, \"ended_ms\": %s}\n", count,
                quantiles(std::move(acknowledged)).c_str(), quantiles(std::move(ended)).c_str());
    return 0;
}

int get(const Options& options) {
    const int count = options.number("count", 1);
    Connection connection(options.host, options.port);
    std::vector<std::string> requests;
    std::ifstream paths(options.get("paths"));
    for (std::string path; std::getline(paths, path);)
        requests.push_back(options.request("GET", path, ""));
    if (requests.empty()) requests.push_back(options.request("GET", options.get("path"), ""));
    std::vector<double> took;
    std::size_t bytes = 0;
    for (int i = 0; i < count; ++i) {
        const double begin = now();
        connection.send(requests[static_cast<std::size_t>(i) % requests.size()]);
        connection.receive_all();
        took.push_back(now() - begin);
        if (connection.status != 200) {
            std::printf("{\"status\": %d}\n", connection.status);
            return 0;
        }
        bytes = connection.body().size();
    }
    std::printf("{\"count\": %d, \"status\": 200, \"bytes\": %zu, \"ms\": %s}\n", count, bytes,
                quantiles(std::move(took)).c_str());
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    const std::string_view what = count > 1 ? arguments[1] : "";
    if (what == "put") return put(parse(count, arguments));
    if (what == "one") return one(parse(count, arguments));
    if (what == "get") return get(parse(count, arguments));
    std::fprintf(stderr, "usage: load put|one|get KEY=VALUE...\n");
    return 2;
}

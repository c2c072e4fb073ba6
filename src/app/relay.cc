#include "app/relay.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/posix/asio_loop.h"
#include "io/posix/pipe_stream.h"
#include "link/bridge.h"

namespace turnout {
namespace {

constexpr char kRelayUsage[] =
    "usage: turnout-agent relay --stdio [--socket [NAME=]PATH]... [--allow NAME=ADDRESS]...\n"
    "One side of a relay, over standard input and output. What connects to the socket PATH "
    "reaches\n"
    "what the other side allows as NAME ('server', if none is said). The other side may connect "
    "to\n"
    "what is allowed here, and to nothing else: ADDRESS is unix:PATH or a port as "
    "127.0.0.1:8888.\n";

int refuse(const std::string& text) {
    std::fprintf(stderr, "turnout-agent relay: %s\n", text.c_str());
    return 2;
}

}  // namespace

int run_relay(int count, char** arguments) {
    bool stdio = false;
    std::vector<std::pair<std::string, std::string>> doors;  // path, target
    link::Offers offers;
    for (int i = 0; i < count; ++i) {
        const std::string_view option = arguments[i];
        if (option == "--help") return std::fputs(kRelayUsage, stdout), 0;
        if (option == "--stdio") {
            stdio = true;
            continue;
        }
        if ((option != "--socket" && option != "--allow") || i + 1 == count)
            return std::fputs(kRelayUsage, stderr),
                   refuse("unknown or incomplete option '" + std::string(option) + "'");
        const std::string value = arguments[++i];
        const std::size_t at = value.find('=');
        std::string name = at == std::string::npos ? "server" : value.substr(0, at);
        std::string rest = at == std::string::npos ? value : value.substr(at + 1);
        if (const auto fits = link::check_target(name); !fits) return refuse(fits.error().message);
        if (option == "--socket") {
            doors.emplace_back(std::move(rest), std::move(name));
            continue;
        }
        const auto place = link::parse_place(rest);
        if (at == std::string::npos || !place)
            return refuse("--allow: " + (place ? "NAME= is missing" : place.error().message));
        offers.insert_or_assign(std::move(name), *place);
    }
    if (!stdio) return std::fputs(kRelayUsage, stderr), refuse("--stdio is missing");

    umask(077);
    signal(SIGPIPE, SIG_IGN);
    AsioLoop loop;
    const PosixClock clock;
    auto stream = http::make_pipe_stream(loop, Fd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)),
                                         Fd(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)));
    if (!stream) return refuse(stream.error().message);
    link::Bridge bridge(loop, clock, std::move(*stream), std::move(offers));
    for (const auto& [path, target] : doors)
        if (const auto opened = bridge.open_door(path, target); !opened)
            return refuse("--socket: " + opened.error().message);
    loop.on_signal(SIGTERM, [&bridge] { bridge.stop(); });
    loop.on_signal(SIGINT, [&bridge] { bridge.stop(); });
    const Error why = loop.run(bridge.run());
    // That it is over is no fault of this side; who started the relay knows whether it was meant.
    if (why.reason == "RelayStopped") return 0;
    std::fprintf(stderr, "turnout-agent relay: %s\n", why.message.c_str());
    return why.reason == "RelayEnded" ? 0 : 1;
}

}  // namespace turnout

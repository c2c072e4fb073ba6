#include "app/listeners.h"

#include <sys/resource.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "app/address.h"
#include "base/json.h"
#include "io/posix/http_server.h"

namespace turnout {

namespace {

constexpr std::string_view kDefaultTls = "127.0.0.1:8443";

// Descriptors that stay for files, the database and agents, however many connections there are.
constexpr rlim_t kOwnDescriptors = 128;

// A port that was chosen once is kept, since clients know it: another program may have it now.
Failure kept_port_taken(const Error& why, const std::string& address, const std::string& option) {
    return fail(
        Code::FailedPrecondition, "PortTaken",
        why.message + ". The port " + port_of(address) +
            " is this server's since it was first started: end the program that has it, or choose "
            "another with `turnout up " +
            option + " " + host_of(address) + ":0` (clients then run `turnout env` again)",
        address);
}

}  // namespace

http::Limits connection_limits() {
    http::Limits limits;
    rlimit files{};
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return limits;
    if (files.rlim_cur < files.rlim_max) {
        files.rlim_cur = std::min<rlim_t>(files.rlim_max, 65'536);
        if (setrlimit(RLIMIT_NOFILE, &files) != 0) getrlimit(RLIMIT_NOFILE, &files);
    }
    const rlim_t left = files.rlim_cur > 2 * kOwnDescriptors ? files.rlim_cur - kOwnDescriptors
                                                             : files.rlim_cur / 2;
    limits.connections =
        std::min<std::size_t>(limits.connections, left / 4);  // TLS, plain, programs, agents
    return limits;
}

Result<void> Listeners::open(const std::string& listen, const std::string& plain_listen,
                             http::Handler of_nodes) {
    const Json kept = TURNOUT_TRY(read_document(instance_.ports()));
    TURNOUT_TRY(open_tls(listen, kept));
    TURNOUT_TRY(open_plain(plain_listen, kept));
    TURNOUT_TRY(open_programs(kept));
    unix_ = TURNOUT_TRY(
        http::listen_unix(loop_, instance_.agent_socket(), std::move(of_nodes), limits_));
    // What comes from another machine is nobody of this one, though a relay has brought it here.
    relayed_ = TURNOUT_TRY(http::listen_unix(
        loop_, instance_.relayed_socket(),
        [this](const http::Request& request, http::BodyReader& body) {
            return handle_relayed(request, body);
        },
        limits_));
    return {};
}

// A port that was chosen once is kept, since clients have it in their environment.
Result<void> Listeners::open_tls(const std::string& listen, const Json& kept) {
    if (!listen.empty() && port_of(listen) != "0") {
        tls_ = TURNOUT_TRY(listen_tls_on(listen));
    } else if (const Json* address = kept.find("tls");
               address && (listen.empty() || host_of(listen) == host_of(address->as_string()))) {
        Result<std::unique_ptr<http::Listener>> again = listen_tls_on(address->as_string());
        if (!again && listen.empty())
            return kept_port_taken(again.error(), address->as_string(), "--listen");
        tls_ = again ? std::move(*again) : TURNOUT_TRY(listen_tls_on(listen));
    } else if (!listen.empty()) {
        tls_ = TURNOUT_TRY(listen_tls_on(listen));
    } else {
        Result<std::unique_ptr<http::Listener>> usual = listen_tls_on(std::string(kDefaultTls));
        tls_ = usual ? std::move(*usual) : TURNOUT_TRY(listen_tls_on("127.0.0.1:0"));
    }
    return {};
}

Result<void> Listeners::open_plain(const std::string& plain_listen, const Json& kept) {
    if (!plain_listen.empty()) {
        if (!is_this_machine_only(host_of(plain_listen)))
            return invalid(
                "--plain-listen is '" + plain_listen +
                    "': without TLS only a loopback address is served, such as 127.0.0.1:0",
                "--plain-listen");
        plain_ = TURNOUT_TRY(http::listen_plain(loop_, plain_listen, of_clients(), limits_));
    } else {
        const std::string address = kept.at("plain").as_string("127.0.0.1:0");
        Result<std::unique_ptr<http::Listener>> listening =
            http::listen_plain(loop_, address, of_clients(), limits_);
        if (!listening) return kept_port_taken(listening.error(), address, "--plain-listen");
        plain_ = std::move(*listening);
    }
    return {};
}

// On the hosts of the two others. The ports are kept where they are free, since links name them;
// where another program has one, another is as good.
Result<void> Listeners::open_programs(const Json& kept) {
    const auto try_both = [](const std::string& host, const std::string& before,
                             auto listen) -> Result<std::unique_ptr<http::Listener>> {
        if (!before.empty() && host_of(before) == host)
            if (Result<std::unique_ptr<http::Listener>> again = listen(before)) return again;
        return listen(host + ":0");
    };
    const auto tls = [this](const std::string& address) {
        return http::listen_tls(loop_, address, certificates_, of_programs_, limits_);
    };
    const auto plain = [this](const std::string& address) {
        return http::listen_plain(loop_, address, of_programs_, limits_);
    };
    programs_tls_ =
        TURNOUT_TRY(try_both(host_of(tls_->address()), kept.at("programs_tls").as_string(), tls));
    programs_plain_ = TURNOUT_TRY(
        try_both(host_of(plain_->address()), kept.at("programs_plain").as_string(), plain));
    return {};
}

Result<std::unique_ptr<http::Listener>> Listeners::listen_tls_on(const std::string& address) {
    return http::listen_tls(loop_, address, certificates_, of_clients(), limits_);
}

Result<void> Listeners::keep_ports() const {
    Json ports = Json::object();
    ports.set("tls", tls_->address());
    ports.set("plain", plain_->address());
    ports.set("programs_tls", programs_tls_->address());
    ports.set("programs_plain", programs_plain_->address());
    return write_document(instance_.ports(), ports, 0600);
}

http::Handler Listeners::of_clients() {
    return [this](const http::Request& request, http::BodyReader& body) {
        return router_.handle(services_, request, body);
    };
}

Task<http::Response> Listeners::handle_relayed(const http::Request& request,
                                               http::BodyReader& body) {
    http::Request from_there = request;
    from_there.peer.loopback = false;
    from_there.peer.address = "a host of a pool";
    http::Response response = co_await router_.handle(services_, from_there, body);
    co_return response;
}

}  // namespace turnout

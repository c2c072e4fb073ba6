#include "provider/ssh/hosts.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/text.h"
#include "io/posix/files.h"
#include "io/posix/sockets.h"
#include "provider/variables.h"

#include <unistd.h>

namespace turnout {

namespace {

using resources::Kind;
using resources::Reading;

constexpr std::size_t kMostHosts = 1000;
constexpr int kMostSlotsOfHost = 100;
constexpr const char* kHostShape =
    "expected a host: [USER@]HOST[:PORT], or its address, user, port, key, …";

bool fits(std::string_view text, std::string_view more) {
    return !text.empty() && text.size() <= 255 && text.front() != '-' &&
           std::ranges::all_of(text, [&](char c) {
               return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      more.find(c) != std::string_view::npos;
           });
}
bool fits_as_address(std::string_view text) {
    return fits(text, ".:-_");
}
bool fits_as_user(std::string_view text) {
    return fits(text, ".-_");
}
// Absolute, or beneath the home folder.
bool fits_as_folder(std::string_view text) {
    return !text.empty() && text.size() <= 60 &&
           std::ranges::none_of(text, [](unsigned char c) { return c < ' ' || c == 0x7f; }) &&
           std::ranges::none_of(split(text, '/'),
                                [](const std::string& part) { return part == ".."; });
}

void check_hosts(Reading& reading, const std::string& pointer, const Json& value);

// What a host and the whole pool can say.
std::vector<resources::Field> common_fields() {
    return {
        {.yaml = "user", .rest = "", .kind = Kind::Text, .help = "Who logs in there."},
        {.yaml = "port",
         .rest = "",
         .kind = Kind::Whole,
         .help = "Of its SSH.",
         .least = 1,
         .most = 65535},
        {.yaml = "key",
         .rest = "",
         .kind = Kind::Text,
         .help = "File of the private key, on the server's machine."},
        {.yaml = "password_file",
         .rest = "",
         .kind = Kind::Text,
         .help = "File with the password, where there is no key."},
        {.yaml = "jump",
         .rest = "",
         .kind = Kind::Text,
         .help = "[USER@]HOST[:PORT] through which it is reached."},
        {.yaml = "folder",
         .rest = "",
         .kind = Kind::Text,
         .help = "Where its nodes have their files; `.turnout` in the home folder if absent."},
    };
}

const resources::Description& host_description() {
    static const resources::Description host = [] {
        resources::Description one = {
            .kind = "host", .type = "", .title = "a host", .help = "", .fields = common_fields()};
        one.fields.push_back({.yaml = "address",
                              .rest = "",
                              .kind = Kind::Text,
                              .need = resources::Need::Required,
                              .help = "its name or IP address"});
        one.fields.push_back({.yaml = "slots",
                              .rest = "",
                              .kind = Kind::Whole,
                              .help = "How many nodes it carries; 1 if absent.",
                              .least = 1,
                              .most = kMostSlotsOfHost});
        one.fields.push_back({.yaml = "host_key",
                              .rest = "",
                              .kind = Kind::Text,
                              .help = "Its key's fingerprint, `SHA256:…`."});
        return one;
    }();
    return host;
}

std::string with_folder(const std::string& path, const std::string& folder) {
    return path.empty() || path.starts_with('/') ? path : folder + "/" + path;
}

SshHost read_host(const Json& one, const Json& pool, const std::string& folder) {
    SshHost host;
    const auto text = [&](std::string_view key) {
        const Json& own = one.at(key);
        return own.is_string() ? own.as_string() : pool.at(key).as_string();
    };
    host.user = text("user");
    host.port = static_cast<int>(one.at("port").as_int(pool.at("port").as_int(22)));
    host.key = with_folder(text("key"), folder);
    host.password_file = with_folder(text("password_file"), folder);
    // The nearer one counts where both levels name a way in.
    if (one.at("password_file").is_string() && !one.at("key").is_string()) host.key.clear();
    host.jump = text("jump");
    if (const std::string there = text("folder"); !there.empty()) host.folder = there;
    host.slots =
        static_cast<int>(std::clamp<std::int64_t>(one.at("slots").as_int(1), 1, kMostSlotsOfHost));
    host.host_key = one.at("host_key").as_string();
    host.attached = one.at("attached").as_bool();  // of what was attached: no file can say it
    host.secret = one.at("secret").as_string();
    if (one.is_string()) {
        if (const auto place = parse_ssh_place(one.as_string())) {
            host.address = place->address;
            if (!place->user.empty()) host.user = place->user;
            if (place->port != 0) host.port = place->port;
        }
    } else {
        host.address = one.at("address").as_string();
    }
    return host;
}

void check_common(Reading& reading, const std::string& pointer, const Json& value) {
    if (const Json& user = value.at("user"); user.is_string() && !fits_as_user(user.as_view()))
        reading.refuse(pointer_to(pointer, "user"), "expected the name of a user");
    if (const Json& jump = value.at("jump"); jump.is_string() && !parse_ssh_place(jump.as_string()))
        reading.refuse(pointer_to(pointer, "jump"), "expected [USER@]HOST[:PORT]");
    if (const Json& folder = value.at("folder");
        folder.is_string() && !fits_as_folder(folder.as_view()))
        reading.refuse(pointer_to(pointer, "folder"),
                       "expected a folder's path of at most 60 characters, without '..'");
}

void check_hosts(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_list(pointer, value)) return;
    if (value.items().empty()) return reading.refuse(pointer, "expected at least one host");
    if (value.items().size() > kMostHosts)
        return reading.refuse(pointer, "expected at most " + std::to_string(kMostHosts) + " hosts");
    for (std::size_t i = 0; i < value.items().size(); ++i) {
        const std::string here = pointer_to(pointer, i);
        const Json& one = value.items()[i];
        if (one.is_string()) {
            if (!parse_ssh_place(one.as_string())) reading.refuse(here, kHostShape);
        } else if (one.is_object()) {
            resources::check(host_description(), reading, here);
            check_common(reading, here, one);
            if (const Json& at = one.at("address");
                at.is_string() && !fits_as_address(at.as_view()))
                reading.refuse(pointer_to(here, "address"), "expected a name or an IP address");
            if (const Json& key = one.at("host_key");
                key.is_string() && !key.as_view().starts_with("SHA256:"))
                reading.refuse(pointer_to(here, "host_key"),
                               "expected a fingerprint as `ssh-keygen -l` prints it: SHA256:…");
        } else {
            reading.refuse(here, kHostShape);
        }
    }
}

// What only the whole tells.
void check_pool(Reading& reading, const std::string& pointer, const Json& value) {
    check_common(reading, pointer, value);
    check_variables(reading, pointer, value);
    std::set<std::string> names;
    const auto& hosts = value.at("hosts").items();
    for (std::size_t i = 0; i < hosts.size(); ++i) {
        const std::string here = pointer_to(pointer_to(pointer, "hosts"), i);
        const SshHost host = read_host(hosts[i], value, "/");
        if (host.address.empty()) continue;  // told already
        if (host.user.empty())
            reading.refuse(here,
                           "expected a user who logs in there: 'user' of the host or of the "
                           "pool");
        if (host.key.empty() && host.password_file.empty())
            reading.refuse(here, "expected 'key' or 'password_file', of the host or of the pool");
        if (!names.insert(host.name()).second)
            reading.refuse(here, host.name() +
                                     " is there twice: 'slots' of a host says how many "
                                     "nodes it carries");
    }
}

}  // namespace

std::string SshHost::name() const {
    const bool six = address.find(':') != std::string::npos;
    return user + "@" + (six ? "[" + address + "]" : address) +
           (port == 22 ? "" : ":" + std::to_string(port));
}

const resources::Description& ssh_settings() {
    static const resources::Description settings = [] {
        resources::Description pool = {.kind = "settings",
                                       .type = "",
                                       .title = "a pool of SSH hosts",
                                       .help = "",
                                       .fields = common_fields()};
        pool.fields.push_back({.yaml = "hosts",
                               .rest = "",
                               .kind = Kind::Special,
                               .need = resources::Need::Required,
                               .help = "a list of the machines",
                               .special = {.shape = "list of hosts",
                                           .check = check_hosts,
                                           .to_rest = nullptr,
                                           .from_rest = nullptr}});
        pool.fields.push_back({.yaml = "python",
                               .rest = "",
                               .kind = Kind::Text,
                               .help = "Interpreter of its nodes; `python3` of PATH if absent."});
        pool.fields.push_back({.yaml = "variables",
                               .rest = "",
                               .kind = Kind::TextMap,
                               .help = "Of the environment of its agents, as UV_INDEX_URL."});
        pool.check = check_pool;
        return pool;
    }();
    return settings;
}

std::vector<SshHost> ssh_hosts(const Json& settings, const std::string& folder) {
    std::vector<SshHost> hosts;
    for (const Json& one : settings.at("hosts").items()) {
        SshHost host = read_host(one, settings, folder);
        if (!host.address.empty()) hosts.push_back(std::move(host));
    }
    return hosts;
}

int ssh_slots(const Json& settings) {
    int slots = 0;
    for (const SshHost& host : ssh_hosts(settings, "/")) slots += host.slots;
    return slots;
}

Json to_json(const SshHost& host) {
    Json json = Json::object({{"address", host.address},
                              {"port", host.port},
                              {"user", host.user},
                              {"folder", host.folder}});
    for (const auto& [name, value] :
         {std::pair{"key", host.key}, std::pair{"passwordFile", host.password_file},
          std::pair{"hostKey", host.host_key}, std::pair{"jump", host.jump},
          std::pair{"secret", host.secret}})
        if (!value.empty()) json.set(name, value);
    if (host.attached) json.set("attached", true);
    return json;
}

SshHost ssh_host_from_json(const Json& json) {
    SshHost host;
    host.address = json.at("address").as_string();
    host.port = static_cast<int>(json.at("port").as_int(22));
    host.user = json.at("user").as_string();
    host.folder = json.at("folder").as_string(host.folder);
    host.key = json.at("key").as_string();
    host.password_file = json.at("passwordFile").as_string();
    host.host_key = json.at("hostKey").as_string();
    host.jump = json.at("jump").as_string();
    host.secret = json.at("secret").as_string();
    host.attached = json.at("attached").as_bool();
    return host;
}

namespace {

// Where a machine that is to be attached is described, if it is.
struct Described {
    Json host, pool;  // as pools.yaml has them
    SshHost read;
};

std::optional<Described> described(const MachineWanted& wanted, std::span<const Pool> pools) {
    std::vector<Described> same_address;
    for (const Pool& pool : pools) {
        if (pool.provider != "ssh") continue;
        for (const Json& one : pool.settings.at("hosts").items()) {
            const SshHost host = read_host(one, pool.settings, "/");
            if (host.address != wanted.host || host.attached) continue;
            if (host.port == (wanted.port == 0 ? 22 : wanted.port))
                return Described{one, pool.settings, host};
            same_address.push_back({one, pool.settings, host});
        }
    }
    // The usual port is what clients say where nobody said any.
    const bool unsaid = wanted.port == 0 || wanted.port == 22;
    if (unsaid && same_address.size() == 1) return std::move(same_address.front());
    return std::nullopt;
}

// One colon would be a port, which has a place of its own.
bool is_machine_address(std::string_view text) {
    return fits_as_address(text) && std::ranges::count(text, ':') != 1;
}

}  // namespace

Result<AttachedMachine> ssh_machine(const MachineWanted& wanted, std::span<const Pool> pools) {
    if (!is_machine_address(wanted.host))
        return invalid(
            "expected the name or IP address of a machine as the last part of the "
            "resource id, found " +
                shown(wanted.host),
            "properties.resourceId");
    if (wanted.port < 0 || wanted.port > 65535)
        return invalid("expected a port from 1 to 65535, found " + std::to_string(wanted.port),
                       "properties.properties.sshPort");
    const std::string account = "properties.properties.administratorAccount";
    if (!wanted.user.empty() && !fits_as_user(wanted.user))
        return invalid("expected the name of a user who logs in there, found " + shown(wanted.user),
                       account + ".username");
    if (!wanted.host_key.empty() &&
        (!wanted.host_key.starts_with("SHA256:") || wanted.host_key.size() > 100))
        return invalid(
            "tag turnout.host_key: expected a fingerprint as `ssh-keygen -l` prints it, "
            "SHA256:…, found " +
                shown(wanted.host_key),
            "tags.turnout.host_key");
    const std::optional<Described> known = described(wanted, pools);
    const std::string user = wanted.user.empty() && known ? known->read.user : wanted.user;
    if (user.empty()) return invalid("expected a user who logs in there", account + ".username");
    if (wanted.secret.empty() && !(known && known->read.user == user))
        return invalid("expected a password or a private key for '" + user +
                           "': no pool of this "
                           "server has a way into '" +
                           wanted.host + "' as that user",
                       account + ".password");
    Json host = Json::object(
        {{"address", wanted.host},
         {"port", known              ? known->read.port
                  : wanted.port == 0 ? 22
                                     : wanted.port},
         {"user", user},
         {"folder", (known ? known->read.folder : SshHost().folder) + "-" + wanted.folder},
         {"attached", true}});
    Json settings = Json::object();
    if (!wanted.secret.empty()) host.set("secret", wanted.secret);
    if (known) {
        std::vector<std::string_view> of_host = {"jump", "host_key"};
        if (wanted.secret.empty()) of_host.insert(of_host.end(), {"key", "password_file"});
        for (const std::string_view name : of_host)
            for (const Json* const from : {&known->host, &known->pool})
                if (const Json& value = from->at(name); value.is_string() && !host.has(name))
                    host.set(name, value);
        // As everywhere, the nearer way in counts.
        if (known->host.at("password_file").is_string() && !known->host.at("key").is_string())
            host.erase("key");
        for (const std::string_view name : {"python", "variables"})
            if (known->pool.has(name)) settings.set(name, known->pool.at(name));
    }
    if (!wanted.host_key.empty()) host.set("host_key", wanted.host_key);
    AttachedMachine machine;
    machine.provider = "ssh";
    machine.address = wanted.host;
    machine.user = user;
    machine.port = static_cast<int>(host.at("port").as_int());
    settings.set("hosts", Json::array({std::move(host)}));
    machine.settings = std::move(settings);
    return machine;
}

Result<SshPlace> parse_ssh_place(const std::string& text) {
    SshPlace place;
    std::string rest = text;
    if (const std::size_t at = rest.find('@'); at != std::string::npos) {
        place.user = rest.substr(0, at);
        rest = rest.substr(at + 1);
        if (!fits_as_user(place.user)) return invalid(shown(text) + " names no user");
    }
    const bool with_port = rest.starts_with('[') || std::ranges::count(rest, ':') == 1;
    if (with_port) {
        const http::HostPort parsed = TURNOUT_TRY(http::parse_host_port(rest, 22));
        place.address = parsed.host;
        place.port = parsed.port;
    } else {
        place.address = rest;
    }
    if (!fits_as_address(place.address)) return invalid(shown(text) + " names no host");
    return place;
}

}  // namespace turnout

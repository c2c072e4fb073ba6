#include "model/endpoint.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::string_view kComputes = "online.";
constexpr std::size_t kShortestEndpoint = 3, kLongestEndpoint = 32;
constexpr int kMostMirrored = 50;

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

Traffic traffic_in(const Json& json) {
    Traffic traffic;
    for (const auto& [name, share] : json.members())
        traffic.emplace_back(name, static_cast<int>(share.as_int()));
    return traffic;
}

std::int64_t millis(Span span) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(span).count();
}

template <class State, std::size_t n>
std::optional<State> parse(std::string_view text, const std::array<State, n>& all) {
    for (const State one : all)
        if (equal_ignoring_case(name_of(one), text)) return one;
    return std::nullopt;
}

constexpr std::array kAuths = {EndpointAuth::Key, EndpointAuth::AmlToken, EndpointAuth::AadToken};
constexpr std::array kStates = {OnlineDeployment::State::Creating,
                                OnlineDeployment::State::Updating,
                                OnlineDeployment::State::Succeeded, OnlineDeployment::State::Failed,
                                OnlineDeployment::State::Deleting};

void write_times(Json& json, Instant created, Instant modified, const Authorship& made) {
    json.set("created", created.micros);
    json.set("modified", modified.micros);
    put_authorship(json, made);
}

}  // namespace

std::string_view name_of(EndpointAuth auth) {
    switch (auth) {
        case EndpointAuth::Key: return "Key";
        case EndpointAuth::AmlToken: return "AMLToken";
        case EndpointAuth::AadToken: return "AADToken";
    }
    return "";
}

std::string_view name_of(OnlineDeployment::State state) {
    using State = OnlineDeployment::State;
    switch (state) {
        case State::Creating: return "Creating";
        case State::Updating: return "Updating";
        case State::Succeeded: return "Succeeded";
        case State::Failed: return "Failed";
        case State::Deleting: return "Deleting";
    }
    return "";
}

Json to_json(const Traffic& traffic) {
    Json json = Json::object();
    for (const auto& [name, share] : traffic) json.set(name, share);
    return json;
}

Json to_json(const OnlineEndpoint& endpoint) {
    Json json = Json::object({{"workspace", endpoint.workspace},
                              {"name", endpoint.name},
                              {"auth", std::string(name_of(endpoint.auth))},
                              {"traffic", to_json(endpoint.traffic)},
                              {"mirror", to_json(endpoint.mirror)},
                              {"properties", endpoint.properties},
                              {"envelope", endpoint.envelope},
                              {"pool", endpoint.pool},
                              {"sealed", endpoint.sealed}});
    if (endpoint.deleting) json.set("deleting", true);
    write_times(json, endpoint.created, endpoint.modified, endpoint.made);
    return json;
}

Result<OnlineEndpoint> endpoint_of_json(const Json& json) {
    OnlineEndpoint endpoint;
    endpoint.workspace = json.at("workspace").as_string();
    endpoint.name = json.at("name").as_string();
    const auto auth = parse(json.at("auth").as_view(), kAuths);
    if (!auth || endpoint.name.empty()) return internal("an endpoint's row cannot be read");
    endpoint.auth = *auth;
    endpoint.traffic = traffic_in(json.at("traffic"));
    endpoint.mirror = traffic_in(json.at("mirror"));
    endpoint.properties = json.at("properties");
    endpoint.envelope = json.at("envelope");
    endpoint.pool = json.at("pool").as_string();
    endpoint.sealed = json.at("sealed").as_string();
    endpoint.deleting = json.at("deleting").as_bool();
    endpoint.created = Instant{json.at("created").as_int()};
    endpoint.modified = Instant{json.at("modified").as_int()};
    endpoint.made = authorship_of(json);
    return endpoint;
}

Json to_json(const OnlineDeployment& deployment) {
    const RequestSettings& requests = deployment.requests;
    Json json = Json::object({{"workspace", deployment.workspace},
                              {"endpoint", deployment.endpoint},
                              {"name", deployment.name},
                              {"properties", deployment.properties},
                              {"envelope", deployment.envelope},
                              {"timeoutMs", millis(requests.timeout)},
                              {"concurrency", requests.concurrency},
                              {"queueMs", millis(requests.queue)},
                              {"instances", deployment.instances},
                              {"compute", deployment.compute},
                              {"state", std::string(name_of(deployment.state))},
                              {"change", deployment.change},
                              {"task", deployment.task}});
    if (!deployment.why.empty()) json.set("why", deployment.why);
    if (!deployment.log_of.empty()) json.set("logOf", deployment.log_of);
    if (!deployment.good.is_null()) {
        json.set("good", deployment.good);
        json.set("goodInstances", deployment.good_instances);
    }
    write_times(json, deployment.created, deployment.modified, deployment.made);
    return json;
}

Result<OnlineDeployment> deployment_of_json(const Json& json) {
    OnlineDeployment deployment;
    const auto state = parse(json.at("state").as_view(), kStates);
    deployment.workspace = json.at("workspace").as_string();
    deployment.endpoint = json.at("endpoint").as_string();
    deployment.name = json.at("name").as_string();
    if (!state || deployment.name.empty()) return internal("a deployment's row cannot be read");
    deployment.state = *state;
    deployment.properties = json.at("properties");
    deployment.envelope = json.at("envelope");
    deployment.requests.timeout = std::chrono::milliseconds(json.at("timeoutMs").as_int());
    deployment.requests.concurrency = static_cast<int>(json.at("concurrency").as_int(1));
    deployment.requests.queue = std::chrono::milliseconds(json.at("queueMs").as_int());
    deployment.instances = static_cast<int>(json.at("instances").as_int(1));
    deployment.compute = json.at("compute").as_string();
    deployment.why = json.at("why").as_string();
    deployment.change = json.at("change").as_int(1);
    deployment.task = json.at("task");
    deployment.good = json.at("good");
    deployment.good_instances = static_cast<int>(json.at("goodInstances").as_int());
    deployment.log_of = json.at("logOf").as_string();
    deployment.created = Instant{json.at("created").as_int()};
    deployment.modified = Instant{json.at("modified").as_int()};
    deployment.made = authorship_of(json);
    return deployment;
}

std::string service_of(std::string_view endpoint, std::string_view deployment) {
    return std::string(endpoint) + "_" + std::string(deployment);
}

std::string inference_compute(std::string_view pool, std::string_view size) {
    return std::string(kComputes) + std::string(pool) + "." + to_lower(size);
}

bool is_inference_compute(std::string_view compute) {
    return compute.starts_with(kComputes);
}

bool is_endpoint_name(std::string_view name) {
    return name.size() >= kShortestEndpoint && name.size() <= kLongestEndpoint &&
           is_letter(name.front()) && name.back() != '-' && std::ranges::all_of(name, [](char c) {
               return is_letter(c) || is_digit(c) || c == '-';
           });
}

Result<Traffic> traffic_of(const Json& said, std::string_view member) {
    const std::string place = "properties." + std::string(member);
    Traffic traffic;
    if (said.is_null()) return traffic;
    if (!said.is_object())
        return invalid(place + ": expected percentages by the names of deployments, found " +
                           said.dump().substr(0, 80),
                       place);
    for (const auto& [name, share] : said.members()) {
        const std::int64_t percent = share.is_number() ? share.as_int(-1) : -1;
        if (percent < 0 || percent > 100)
            return invalid(place + "." + name.substr(0, 64) +
                               ": expected a whole percentage of 0 to 100, found " +
                               share.dump().substr(0, 80),
                           place);
        if (percent > 0) traffic.emplace_back(name, static_cast<int>(percent));
    }
    return traffic;
}

Result<void> check_traffic(const Traffic& traffic, const Traffic& mirror,
                           const std::vector<std::string>& deployments) {
    const auto check_names = [&](const Traffic& shares, const std::string& place) -> Result<void> {
        for (const auto& [name, share] : shares)
            if (std::ranges::find(deployments, name) == deployments.end())
                return invalid(place + "." + name.substr(0, 64) +
                                   ": the endpoint has no deployment of this name" +
                                   did_you_mean(name, deployments),
                               place);
        return {};
    };
    const std::string of_traffic = "properties.traffic", of_mirror = "properties.mirrorTraffic";
    TURNOUT_TRY(check_names(traffic, of_traffic));
    TURNOUT_TRY(check_names(mirror, of_mirror));
    int sum = 0;
    for (const auto& [name, share] : traffic) sum += share;
    if (sum != 0 && sum != 100)
        return invalid(of_traffic + ": expected percentages that add up to 100, or to 0; found " +
                           std::to_string(sum),
                       of_traffic);
    if (mirror.size() > 1)
        return invalid(
            of_mirror + ": expected one deployment, found " + std::to_string(mirror.size()),
            of_mirror);
    for (const auto& [name, share] : mirror) {
        if (share > kMostMirrored)
            return invalid(of_mirror + "." + name + ": expected at most " +
                               std::to_string(kMostMirrored) + " percent, found " +
                               std::to_string(share),
                           of_mirror);
        if (std::ranges::find(traffic, name, [](const auto& one) -> const std::string& {
                return one.first;
            }) != traffic.end())
            return invalid(of_mirror + "." + name +
                               ": expected a deployment without traffic of its own, found one "
                               "with some",
                           of_mirror);
    }
    return {};
}

std::string_view chosen(const Traffic& traffic, std::uint64_t roll) {
    std::uint64_t sum = 0;
    for (const auto& [name, share] : traffic) sum += static_cast<std::uint64_t>(share);
    if (sum == 0) return {};
    std::uint64_t left = roll % sum;
    for (const auto& [name, share] : traffic) {
        if (left < static_cast<std::uint64_t>(share)) return name;
        left -= static_cast<std::uint64_t>(share);
    }
    return {};
}

std::size_t Latencies::step_of(Span took) {
    const double tenths = static_cast<double>(std::max<std::int64_t>(took.count(), 1)) / 100.0;
    if (tenths <= 1) return 0;
    const auto step = static_cast<std::size_t>(std::ceil(std::log(tenths) / std::log(1.1)));
    return std::min(step, kSteps - 1);
}

void Latencies::add(Span took) {
    ++steps_[step_of(took)];
    ++count_;
}

std::optional<Span> Latencies::within(double share) const {
    if (count_ == 0) return std::nullopt;
    const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t step = 0; step < kSteps; ++step) {
        seen += steps_[step];
        if (seen >= std::max<std::uint64_t>(wanted, 1))
            return Span(static_cast<std::int64_t>(
                std::llround(100.0 * std::pow(1.1, static_cast<double>(step)))));
    }
    return std::nullopt;
}

}  // namespace turnout

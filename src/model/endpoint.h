// Online endpoints and the deployments behind them. Pure: the nouns, their rows, and which
// deployment answers a request.
//
// An endpoint is an address with credentials and a split of its traffic; a deployment is a model
// with what serves it, in one replica or several. What runs is a service of its own for each
// deployment (model/service.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/author.h"

namespace turnout {

// How a request shows that it may score.
enum class EndpointAuth {
    Key,       // one of the endpoint's two keys
    AmlToken,  // a token of this endpoint that ends by itself
    AadToken   // a person's or a job's own token, with the right to score
};
std::string_view name_of(EndpointAuth auth);  // as REST says it: "Key" "AMLToken" "AADToken"

// Names of deployments with their percentages, in the order in which they were said.
using Traffic = std::vector<std::pair<std::string, int>>;
Json to_json(const Traffic& traffic);

struct OnlineEndpoint {
    std::string workspace;  // id
    std::string name;
    EndpointAuth auth = EndpointAuth::Key;
    Traffic traffic;  // percentages that add up to 100, or none
    Traffic mirror;   // at most one deployment, which gets copies of that many of 100 requests
    Json properties = Json::object();  // as it was sent, of what is kept and shown
    Json envelope = Json::object();    // location, tags, identity, kind
    std::string pool;                  // that its location means
    bool deleting = false;
    Instant created{}, modified{};
    Authorship made;
    std::string sealed;  // its keys (vault/vault.h); never shown
};
Json to_json(const OnlineEndpoint& endpoint);
Result<OnlineEndpoint> endpoint_of_json(const Json& json);

// Limits of what one replica gets at a time.
struct RequestSettings {
    Span timeout = 5s;    // from when it is sent to the replica
    int concurrency = 1;  // requests at a time
    Span queue = 500ms;   // the longest wait for a replica that has room
};

struct OnlineDeployment {
    // Deleting: what runs is being ended, then the row goes.
    enum class State { Creating, Updating, Succeeded, Failed, Deleting };

    std::string workspace, endpoint, name;
    Json properties = Json::object();  // as they were sent, without what the server says
    Json envelope = Json::object();    // location, tags, sku, identity, kind
    RequestSettings requests;
    int instances = 1;
    std::string compute;  // its replicas' own; never changes

    State state = State::Creating;
    std::string why;          // it failed
    std::int64_t change = 1;  // grows with each PUT and PATCH
    Json task;                // that is wanted
    // The last one that became ready, with as many replicas as it had; null: none has. It serves
    // while a change is under way, and again where that failed.
    Json good;
    int good_instances = 0;
    std::string log_of;  // the job whose log tells why it failed
    Instant created{}, modified{};
    Authorship made;

    bool settled() const { return state == State::Succeeded || state == State::Failed; }
};
std::string_view name_of(OnlineDeployment::State state);  // "Creating" …
Json to_json(const OnlineDeployment& deployment);
Result<OnlineDeployment> deployment_of_json(const Json& json);

// "endpoint_deployment": no name of either has a '_'.
std::string service_of(std::string_view endpoint, std::string_view deployment);

// The compute on which deployments of that size have their replicas, in that pool. Nobody can give
// a compute of their own such a name; jobs are refused there.
std::string inference_compute(std::string_view pool, std::string_view size);
bool is_inference_compute(std::string_view compute);

// 3 to 32 letters, digits and '-', a letter first, and no '-' at the end.
bool is_endpoint_name(std::string_view name);

// What REST says under `traffic` or `mirrorTraffic` (`member`): whole percentages of 0 to 100.
// Those of 0 are left out.
Result<Traffic> traffic_of(const Json& said, std::string_view member);
// Each is a deployment that there is; they add up to 100, or to 0; a mirror is one deployment, with
// at most half of the requests, and has no traffic of its own.
Result<void> check_traffic(const Traffic& traffic, const Traffic& mirror,
                           const std::vector<std::string>& deployments);

// Where a request goes: `roll` is any number, and of all numbers each deployment gets its share.
// "" = nobody has any traffic.
std::string_view chosen(const Traffic& traffic, std::uint64_t roll);

// How long requests took: a histogram whose steps grow by a tenth, so that a percentile is right
// to a tenth.
class Latencies {
public:
    void add(Span took);
    std::uint64_t count() const { return count_; }
    // The time within which that share of them was over; nothing while there are none.
    std::optional<Span> within(double share) const;

private:
    static constexpr std::size_t kSteps = 180;  // from 100 µs to over an hour
    static std::size_t step_of(Span took);
    std::array<std::uint64_t, kSteps> steps_{};
    std::uint64_t count_ = 0;
};

}  // namespace turnout

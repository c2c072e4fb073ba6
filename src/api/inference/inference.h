// Online endpoints: their rows, the life of their deployments, and who answers a request.
//
// A deployment is a service (control/services.h). What is wanted of it is its row; a watch sees to
// it that the service is so, and writes down what became of it: it succeeded when all replicas of
// the new task are ready and none of the old one is left, and failed when they end again and again
// or take too long. Then the last task that did well is put back, or what runs is ended if there
// is none. A watch is found again by the row's state, so a server that dies goes on with it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/api.h"
#include "base/lru.h"
#include "control/control.h"
#include "model/endpoint.h"
#include "model/workspace.h"
#include "store/turns.h"

namespace turnout::api {

struct EndpointKeys {
    Secret primary, secondary;
};

// What a deployment has answered since the server started.
struct RequestCounts {
    std::uint64_t requests = 0, errors = 0;  // errors: any status but 2xx
    std::map<int, std::uint64_t> by_status;
    Latencies latencies;
    std::deque<std::string> last;  // lines of its access log, oldest first
};

class Inference {
public:
    // Both outlive it.
    Inference(Services& services, Vault& vault);

    // ---- rows. Nothing: there is none ----
    Result<std::optional<OnlineEndpoint>> endpoint(std::string_view wsid, std::string_view name);
    Result<std::vector<OnlineEndpoint>> endpoints(std::string_view wsid);
    Result<std::optional<OnlineDeployment>> deployment(std::string_view wsid,
                                                       std::string_view endpoint,
                                                       std::string_view name);
    Result<std::vector<OnlineDeployment>> deployments(std::string_view wsid,
                                                      std::string_view endpoint);

    // The same for requests: parsed once for each revision of the row. Null: there is none.
    template <class T>
    using Known = std::shared_ptr<const T>;  // shared: requests outlive what they began with
    Result<Known<OnlineEndpoint>> known_endpoint(std::string_view wsid, std::string_view name);
    Result<Known<OnlineDeployment>> known_deployment(std::string_view wsid,
                                                     std::string_view endpoint,
                                                     std::string_view name);

    // Made to what is true in its turn; times and authors are set here. True: it is new. An
    // endpoint gets its keys with that.
    using EndpointChange = std::function<Result<void>(
        OnlineEndpoint& now, bool is_new, const std::vector<OnlineDeployment>& deployments)>;
    Task<Result<bool>> change_endpoint(std::string wsid, std::string name, Author by,
                                       EndpointChange change);
    using DeploymentChange = std::function<Result<void>(OnlineDeployment& now, bool is_new)>;
    Task<Result<bool>> change_deployment(std::string wsid, std::string endpoint, std::string name,
                                         Author by, DeploymentChange change);
    // The row stays until nothing of it runs any more. FailedPrecondition while it has traffic,
    // unless its endpoint goes too.
    Task<Result<void>> delete_deployment(std::string wsid, std::string endpoint, std::string name);
    Task<Result<void>> delete_endpoint(std::string wsid, std::string name);

    // ---- keys ----
    Result<EndpointKeys> keys(const OnlineEndpoint& endpoint);
    Task<Result<void>> regenerate(std::string wsid, std::string name, bool primary, Author by);
    // Of EndpointAuth::AmlToken: good until then, or until the primary key is another one.
    Result<Secret> token(const OnlineEndpoint& endpoint, Instant expires);
    Result<bool> is_token(const OnlineEndpoint& endpoint, std::string_view token);

    // The compute of deployments of that size is there.
    Task<Result<std::string>> ensure_compute(std::string wsid, std::string pool, std::string size);

    // ---- what runs ----
    std::optional<Control::ServiceView> service(const OnlineDeployment& deployment) const;
    // The last lines of a replica's log; `stream` as tracking names it. "" = there is none yet.
    Result<std::string> log(const OnlineDeployment& deployment, std::string_view stream,
                            std::size_t lines) const;
    RequestCounts& counts(const OnlineDeployment& deployment);
    int in_flight(const OnlineDeployment& deployment) const;

    // Goes on with what an earlier life of the server began. Once, at the start.
    void resume();

    // ---- requests ----
    // A place at a replica that is ready, the one with the fewest requests; given back when it is
    // destroyed.
    class Place {
    public:
        Place() = default;
        Place(Inference& of, std::string service, Control::ServiceView::OfReplica replica);
        Place(Place&& other) noexcept;
        Place& operator=(Place&& other) noexcept;
        ~Place();
        const Control::ServiceView::OfReplica& replica() const { return replica_; }

    private:
        void leave();
        Inference* of_ = nullptr;
        std::string service_;
        Control::ServiceView::OfReplica replica_;
    };
    // Waits as long as the deployment lets requests wait. ResourceExhausted: too many wait, or for
    // too long; Unavailable: no replica is ready. `avoid`: jobs of replicas that were tried.
    Task<Result<Place>> place(Known<OnlineDeployment> deployment, std::set<std::string> avoid,
                              Stop* stop);

private:
    // One that waits for a place, until it is woken once.
    struct Waiting {
        std::optional<Later<bool>::Settle> settle;
        void wake() {
            if (auto once = std::exchange(settle, std::nullopt)) (*once)(true);
        }
    };
    struct Live {
        std::map<std::string, int> at;                 // requests at a replica, by its job
        std::deque<std::shared_ptr<Waiting>> waiting;  // shared with its timer
        RequestCounts counts;
    };

    void watch(const std::string& key);
    Task<void> keep_watching(std::string key);
    Task<bool> look(std::string key);  // true: it is over
    Task<bool> remove(OnlineDeployment deployment);
    Task<Result<void>> put_service(OnlineDeployment deployment, Json task, int instances);
    Task<Result<void>> settle(OnlineDeployment deployment, OnlineDeployment::State state,
                              std::string why, std::string log_of);
    Result<void> seal(OnlineEndpoint& endpoint, const EndpointKeys& keys);
    Secret new_key();

    Services& services_;
    Vault& vault_;
    Turns turns_;                               // by "{wsid}/{endpoint}"
    std::set<std::string> watched_;             // keys of deployments
    std::map<std::string, std::int64_t> told_;  // key → the change that control was told
    std::map<std::string, Live> live_;          // by "{wsid}/{service}"
    Lru<std::pair<std::uint64_t, Known<OnlineEndpoint>>> known_endpoints_{256};
    Lru<std::pair<std::uint64_t, Known<OnlineDeployment>>> known_deployments_{256};
    Lru<std::pair<std::string, EndpointKeys>> keys_{256};  // by key, with what was sealed
};

// In api/inference/*_routes.cc and front.cc.
void add_endpoint_routes(Router& router, Services& services);
void add_scoring_routes(Router& router, Services& services);

}  // namespace turnout::api

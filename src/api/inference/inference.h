// Online endpoints: their rows, the life of their deployments, and who answers a request.
//
// A deployment is a service (control/services.h). What is wanted of it is its row; a watch sees to
// it that the service is so, and writes down what became of it: it succeeded when all replicas of
// the new task are ready and none of the old one is left, and failed when they end again and again
// or take too long. Then the last task that did well is put back, or what runs is ended if there
// is none. A watch is found again by the row's state, so a server that dies goes on with it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/api.h"
#include "api/inference/bodies.h"
#include "api/inference/places.h"
#include "base/lru.h"
#include "control/control.h"
#include "model/endpoint.h"
#include "model/workspace.h"
#include "store/turns.h"

namespace turnout::api {

struct EndpointKeys {
    Secret primary, secondary;
};

class Inference {
public:
    // Of bodies of requests, all together.
    static constexpr std::size_t kMostHeld = std::size_t{512} << 20;

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
    // Goes on with what an earlier life of the server began. Once, at the start.
    void resume();

    // ---- requests ----
    // Those of that deployment, made if there are none yet; of one whose row is gone they are
    // nobody else's.
    std::shared_ptr<Places> places(const OnlineDeployment& deployment);
    // Null: it was not asked since the server started.
    const Places* known_places(const OnlineDeployment& deployment) const;
    Bodies& bodies() { return bodies_; }

private:
    // A deployment whose row is not settled.
    struct Watch {
        std::int64_t told = 0;  // the change that control was told
        Span progress{};        // since boot: when it was told, or came nearer to it
        int ready = 0;          // the most of the new task there were
        int old = 0;            // the fewest of earlier ones
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
    Turns turns_;                           // by "{wsid}/{endpoint}"
    std::map<std::string, Watch> watched_;  // by the deployments' keys
    // By the deployments' keys; shared with requests, the last of which may end after it is gone.
    std::map<std::string, std::shared_ptr<Places>> places_;
    Bodies bodies_{kMostHeld};
    Lru<std::pair<std::uint64_t, Known<OnlineEndpoint>>> known_endpoints_{256};
    Lru<std::pair<std::uint64_t, Known<OnlineDeployment>>> known_deployments_{256};
    Lru<std::pair<std::string, EndpointKeys>> keys_{256};  // by key, with what was sealed
};

// In api/inference/*_routes.cc and front.cc.
void add_endpoint_routes(Router& router, Services& services);
void add_scoring_routes(Router& router, Services& services);

}  // namespace turnout::api

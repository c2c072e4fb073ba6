// A Kubernetes cluster, by its API server: one namespace, as one context of a kubeconfig. One
// request, one function; what they mean together is the provider's.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "provider/kubernetes/kubeconfig.h"
#include "provider/kubernetes/wire.h"

namespace turnout {

// Errors say Kubernetes' own words; their codes are those of `refused_by_api`, and Unavailable
// where it does not answer. Held by shared_ptr: who asks holds it until the answer is there.
class KubeCluster : public std::enable_shared_from_this<KubeCluster> {
public:
    struct Place {
        std::string kubeconfig, context, name_space;  // as a pool says them
        auto operator<=>(const Place&) const = default;
    };
    // `environment`: ours, of which the kubeconfig's own program gets what it says it needs.
    KubeCluster(AsioLoop& loop, Place place, std::vector<std::string> environment);

    const Place& place() const { return place_; }
    std::string words() const;  // "kubernetes /etc/kube.conf, namespace jobs", for people
    // That of the pods, once the kubeconfig was read; until then as the pool says.
    std::string name_space() const;

    Task<Result<Json>> version();
    // All pods of that server.
    Task<Result<std::vector<PodSeen>>> pods(std::string instance);
    Task<Result<void>> create(Json pod);         // Conflict: there is one of that name
    Task<Result<void>> remove(std::string pod);  // one that is gone is removed
    // What was done for it last, in the cluster's words; "" if that is not known.
    Task<std::string> news_of(std::string pod);
    // Whether we may: verb, resource ("pods/exec"), in the namespace or for all of the cluster.
    Task<Result<bool>> may(std::string verb, std::string resource, bool everywhere);
    // {name, ready, cores, memoryBytes, gpus} of the machines of the cluster.
    Task<Result<std::vector<Json>>> machines(std::string gpu_resource);

    // A program in a pod, its input and output.
    Task<Result<std::unique_ptr<http::Stream>>> begin(std::string pod,
                                                      std::vector<std::string> command);
    // One that is given that, and runs to its end: what it said. Unavailable: it is not to be
    // reached (yet); FailedPrecondition: it failed, and what it said.
    Task<Result<std::string>> run(std::string pod, std::vector<std::string> command,
                                  std::string input, Span timeout);

private:
    struct Session {
        std::shared_ptr<http::Client> client;
        std::string server, name_space;
        Secret token;
        Span since{};          // boot
        bool changes = false;  // what was read may be another by now
    };
    using SessionPtr = std::shared_ptr<const Session>;
    struct Answer {
        int status = 0;
        std::string body;
        std::unique_ptr<http::Stream> stream;
    };
    static Task<Result<SessionPtr>> session(std::shared_ptr<KubeCluster> self, bool afresh);
    static Task<Result<SessionPtr>> open(std::shared_ptr<KubeCluster> self);
    static Task<Result<SaidCredentials>> ask_program(std::shared_ptr<KubeCluster> self,
                                                     KubeAccess::Program program,
                                                     std::string folder);
    // `path`: behind the server's; "{ns}" in it is the namespace.
    static Task<Result<Answer>> ask(std::shared_ptr<KubeCluster> self, std::string doing,
                                    std::string method, std::string path, std::string body,
                                    bool upgrade = false);

    AsioLoop& loop_;
    PosixClock clock_;
    const Place place_;
    const std::vector<std::string> environment_;
    SessionPtr session_;
    bool opening_ = false;
    std::vector<std::function<void()>> waiting_;
    Result<SessionPtr> opened_ = SessionPtr();
};

}  // namespace turnout

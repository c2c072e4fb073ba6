// The public API: rows of routes over the services. Every request from outside passes `Router`,
// which decodes the path once, finds the row, checks who is asking, and turns errors into ARM's
// `{"error": {"code", "message", "target", "details"}}`.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "access/guard.h"
#include "access/run_reach.h"
#include "api/actions.h"
#include "base/json.h"
#include "base/lru.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "io/http.h"
#include "io/loop.h"
#include "model/author.h"
#include "model/compute.h"
#include "model/pool.h"
#include "model/time_zone.h"
#include "store/turns.h"

namespace turnout {
class Store;
class Control;
class Blobs;
class Catalog;
class Tracking;
class Drills;
struct DrillKind;
class Space;
class Vault;
}  // namespace turnout

namespace turnout::api {

namespace studio {
class Pack;
}
class Audit;
class Gateway;
class Inference;
class StoredUse;
struct Route;

// Who is asking.
struct Principal {
    enum class Kind { Nobody, User, Run, Node } kind = Kind::Nobody;
    std::string name;  // "admin"; of a run: the job; of a node: its NodeId
    std::string
        workspace;         // Run: id of the workspace it is confined to; User: the same, of a token
    std::string job;       // Run; User: the job that acts for them, if it was its token
    int attempt = 0;       // Run
    std::string key = {};  // User: row of the API key that this is, or was made with; "" = none
    bool read_only = false;  // User: the token only reads
    bool exchanged = false;  // User: an access token, got with a key; or a session
    bool session = false;    // User: a browser, which sends its cookie whoever makes it ask
};

// Issues and checks tokens (api/authority.cc). API keys are random and stored hashed; access
// tokens are JWTs (HS256) with the audience that was asked for, because the SDK compares it.
class Authority {
public:
    virtual ~Authority() = default;
    // A JWT for that principal, `aud` = audience, `tid` = the instance's tenant, valid for `life`.
    virtual Secret mint(const Principal& principal, std::string_view audience, Span life) = 0;
    // A bearer: JWT of ours, or an API key. Run tokens hold only while their attempt is current,
    // and what was made with an API key only while that holds.
    virtual Result<Principal> check(std::string_view token) = 0;
    // The same of a browser's cookie, which holds for the origin at which its user logged in.
    virtual Result<Principal> check_session(std::string_view cookie, std::string_view origin) = 0;
    // Of one that `check` refused: this server has given it, and it does not hold any more.
    virtual bool was_given(std::string_view /*token*/) { return true; }
    // What a user may do, by their roles and by what the token is for.
    virtual bool may(const Principal& user, std::string_view action,
                     const access::Scope& scope) = 0;
    virtual bool may_somewhere(const Principal& user, std::string_view action) = 0;
    // That workspace, or that compute, is gone: with it go the roles on it and the API keys that
    // are for it alone.
    virtual Task<Result<void>> forget(access::Scope gone) = 0;
    // `oid` in tokens: a GUID made of the name.
    virtual std::string object_id(const Principal& principal) const = 0;
    // Whose that is; nothing: nobody's.
    virtual Result<std::optional<std::string>> user_with_object_id(std::string_view /*id*/) {
        return std::optional<std::string>();
    }
    // By what a signed link names on whose rights it rests: a user with the token that was used, or
    // a run. Part of what is signed.
    virtual std::string holder(const Principal& principal) const = 0;
    // Whoever that is, as long as the user is not disabled, the token not revoked, the attempt the
    // current one.
    virtual Result<Principal> check_holder(std::string_view holder) = 0;
    // The key with which SAS links and studio links are signed.
    virtual const Secret& link_key() const = 0;
    virtual const std::string& tenant() const = 0;
};

// A run that asks, as far as that stays the same (api/run_reach.h).
struct KnownRun {
    std::uint64_t revision = 0;  // of its job's row
    access::RunReach reach = {};
    std::string acts_for = {};  // the user for whom it acts; "" = itself alone
};
struct Registered {
    std::uint64_t changes = 0;  // of the catalog, see there
    access::Places places = {};
};

struct ServerInfo {
    std::string version;
    std::string tls_origin;    // "https://127.0.0.1:8443": fallback when a request has no Host
    std::string plain_origin;  // "http://127.0.0.1:8080": only loopback peers are told of it
    // Where programs of users are served, such as notebooks: ports of the same host.
    std::string programs_tls_port, programs_plain_port;
    std::string data_folder;
    std::string fault;  // what is wrong with the server itself, for people; "" = nothing
    // This machine, which carries the nodes of all pools yet.
    struct Machine {
        int cores = 0;
        double memory_gb = 0;
        int gpus = 0;
    } machine;
};

struct Services {
    const Clock& clock;
    Random& random;
    Loop& loop;
    Store& store;
    Control& control;
    Blobs& blobs;
    Catalog& assets;
    Tracking& tracking;
    Authority& authority;
    ServerInfo info;
    // Harm on purpose: what a provider offers (null: nothing), and the cut of a node's link for so
    // long.
    std::function<Drills*(const std::string& provider)> drills = {};
    std::function<void(const NodeId& node, Span how_long)> cut_link = {};
    Space* space = nullptr;  // null: this server's machine is not looked at
    Vault* vault = nullptr;  // null: this server keeps no secrets
    // Computes by their key, parsed, with the revision of their row.
    Lru<std::pair<std::uint64_t, Compute>> computes{64};
    Audit* audit = nullptr;          // null: nothing is recorded
    Lru<KnownRun> runs{256};         // by "{wsid}/{job}"
    Lru<Registered> registered{16};  // by workspace
    // Of code: the digest of its files -> the same whatever the ends of its lines are.
    Lru<std::string> code_digests{256};
    access::Guard* guard = nullptr;  // null: nobody is slowed down
    StoredUse* stored = nullptr;     // null: what is stored is not counted
    Gateway* gateway = nullptr;      // null: no task is reached from outside
    TimeZones zones = {};            // none: nothing is done at times of the clock
    Inference* inference = nullptr;  // null: this server has no endpoints
    Turns removals;                  // of jobs, by "{wsid}/{job}": one at a time removes one
    std::set<std::string> watched_instances;  // whose operation is seen to (arm/personal.cc)
    // A machine that is to be attached, as its provider will reach it; and what was found there:
    // {reachable, message, hostKey, os, system, cores, memoryBytes, gpus, python, …}.
    std::function<Result<AttachedMachine>(const MachineWanted&)> machine_of = {};
    std::function<Task<Json>(const AttachedMachine&)> check_machine = {};
    // The machines of a pool that is not on this one, of which somebody has looked at them; of
    // containers the one that carries them all. None: nothing is known.
    std::function<std::vector<ServerInfo::Machine>(const Pool&)> machines_of = {};
    const studio::Pack* portal = nullptr;  // null: this build has no portal
};

// The drills that need nothing of a provider (arm/drills.cc).
std::vector<DrillKind> server_drills();

enum class Access {
    Open,  // no credential: metadata, discovery, health
    // Without a 'sig' in the query and without a good bearer: 401. Otherwise the route itself
    // checks its signed link (SAS, studio, log URLs) or call.principal, which is set when a good
    // bearer came along (Nobody otherwise): a User reaches all, a Run only what belongs to its
    // workspace, which the route compares.
    Signed,
    User,  // a user's bearer
    // A user's bearer, or the run token of the workspace in the path ({ws} or {wsid}) as far as the
    // route's action is one of runs (access/run_reach.h).
    Run,
    // A user's bearer, or that of a run with `identity: user_identity`: it then is the user who
    // submitted it. So it is on rows of Run, where the run itself is refused.
    Behalf,
    AnyRun,  // a user's bearer, or any run's: what is the same for all
    Node,    // a node's token
};

// One request on its way through a row.
struct Call {
    const http::Request& request;
    http::BodyReader& body;
    std::vector<std::pair<std::string_view, std::string>>
        params;  // from the path, each decoded once; names are the route's
    std::vector<std::pair<std::string, std::string>> query;  // decoded
    Principal principal;
    std::string origin;  // scheme://host:port that the client used: links in replies begin with it
    std::string plain_origin;  // for log URLs and SAS: http for a loopback peer, else `origin`
    // Of links for people: http for who asked this machine under its own address, so that no
    // certificate has to be trusted; else `origin`, as behind a tunnel or a proxy. Of what comes
    // through a node the server's own, since the node's listener ends with the task.
    std::string page_origin;
    const Route* route = nullptr;  // once it is found
    // For the audit: what it is about, where the path does not say it. Never a secret.
    std::string about = {};
    // And the action that the answer is worth, where it gives more than the route says.
    std::string_view gave = {};
    // A record that is being written already, for an answer of that status.
    std::optional<std::pair<int, Later<Result<void>>>> recorded = {};
    // Of a refusal: that it is worth trying again then.
    Span retry_after{};

    const std::string& param(std::string_view name) const;
    std::string_view query_value(std::string_view name) const;  // "" if absent
    Task<Result<Json>> json(std::size_t limit = 4 << 20);       // the body, parsed
};

using Action = std::function<Task<Result<http::Response>>(Call& call)>;

struct Route {
    std::string method;   // "GET"; HEAD falls back to GET
    std::string pattern;  // "/a/{x}/b/{rest...}"; literal segments match without regard to case
    Access access;
    Action action;
    // Place in the path and name of each parameter; filled by Router::add.
    std::vector<std::pair<std::size_t, std::string>> parameters = {};
    std::optional<Need> need = {};  // of a user; from the table in actions.cc
};

class Router {
public:
    void add(std::string method, std::string pattern, Access access, Action action);
    const std::vector<Route>& routes() const { return routes_; }  // a test walks them
    Task<http::Response> handle(Services& services, const http::Request& request,
                                http::BodyReader& body) const;

private:
    struct Node;
    static const Node* find(const Node* node, std::span<const std::string_view> segments,
                            std::size_t at);
    static Result<void> bind(const Route& route, std::span<const std::string_view> segments,
                             Call& call);
    Task<http::Response> answer(Services& services, Call& call) const;

    std::vector<Route> routes_;
    std::shared_ptr<Node> root_;
};

// As Authority::check, for a request that came with it: who guesses has to wait (access/guard.h).
// `name`: that it was given with, "" = none.
Result<Principal> check_token(Services& services, Call& call, std::string_view token,
                              std::string_view name = "");
// One request more of whoever that is, within their budget: else ResourceExhausted,
// "TooManyRequests".
Result<void> spend(Services& services, Call& call, const Principal& who);

// The token of "Authorization: Bearer TOKEN"; "" if there is none.
std::string_view bearer_of(const http::Request& request);

// Who does what the call asks for: a user, or the one who submitted the job whose token it is.
Result<Author> author_of(Services& services, const Principal& who);
inline Result<Author> author_of(Services& services, const Call& call) {
    return author_of(services, call.principal);
}

// A number of the query; without it `fallback`. What is no whole number from `least` on is refused
// by name.
Result<std::int64_t> whole_number_of(const Call& call, std::string_view name, std::int64_t fallback,
                                     std::int64_t least);
// What a handler may do in one go: one that looks at many rows lets other requests have their turn
// now and then, and ends when its client has left.
//   if (turn.over()) { TURNOUT_CO_TRY_VOID(co_await turn.pass()); }
class Turn {
public:
    Turn(Services& services, const Call& call);
    explicit Turn(Services& services);  // of work that nobody waits for
    bool over();                        // asked for each row or so
    Task<Result<void>> pass();

private:
    const Clock& clock_;
    Loop& loop_;
    Stop* stop_;
    Span began_;
    int steps_ = 0;
};

http::Response json_response(int status, const Json& body);
http::Response error_response(const Error& error);  // ARM's shape and the code's HTTP status
// ARM path of a workspace:
// "/subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.MachineLearningServices/workspaces/{ws}"
inline constexpr std::string_view kWorkspacePattern =
    "/subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.MachineLearningServices/"
    "workspaces/{ws}";

// Each folder of api/ adds its rows.
void add_discovery_routes(Router& router,
                          Services& services);  // api/arm: metadata, msi token, discovery, health
void add_arm_routes(Router& router,
                    Services& services);  // api/arm: workspaces, datastores, computes, assets, jobs
// api/arm: secrets of workspaces. The vault outlives the router.
void add_secret_routes(Router& router, Services& services, Vault& vault);
void add_blob_routes(Router& router, Services& services);  // api/blob
void add_history_routes(Router& router,
                        Services& services);  // api/history: run history, data plane, log URLs
void add_mlflow_routes(Router& router, Services& services);  // api/mlflow
void add_portal_routes(Router& router,
                       Services& services);  // api/portal: the studio page of one job
void add_upkeep_routes(Router& router,
                       Services& services);  // api/upkeep: what takes space, and how it goes
// Goes on with deletions that an earlier life of the server began. Once, at the start.
void resume_removals(Services& services);
// Machines whose check an earlier life of the server began.
void resume_attachments(Services& services);
// What an earlier life of the server began with compute instances.
void resume_instances(Services& services);
// Applies the retention (api/upkeep/retention.h) every hour, from some minutes after the start on.
void keep_retention(Services& services);

}  // namespace turnout::api

// A service: a task that stays up, in one replica or several. Compute instances and deployments of
// models are services. Pure: what is wanted, what is seen and the time go in, and what is to be
// done comes out; `control` does it (control/services.h).
//
//   replica:  waiting ─► starting ─► unready ◄─► ready ─► ending | stopping ─► gone
//
// * A replica is a job: it goes through the same scheduler, leases, fences, logs and ledger as any
//   other one, and waits again where its node was lost or needed elsewhere. It is not to end by
//   itself: when its job is over, for whatever reason, the replica is gone, and another one, with a
//   number of its own, is made in its place. Its node looks whether it is ready
//   (protocol/service_spec.h says how, and why a node never starts a command anew by itself).
// * A new revision of the task replaces the old one replica by replica. At no time are there more
//   replicas than wanted and `surge`, counting those that are being stopped and those whose node is
//   lost: a lost node's replica is replaced when it is proved gone, like any attempt. An old
//   replica that is ready goes when a new one is ready in its place; one that is not ready serves
//   nobody and goes first. Without surge there is no room for that: then one old replica goes
//   before its successor comes, one at a time. (A compute instance, whose home no two may have at
//   once, has one replica and no surge.) A new revision that does not become ready leaves the old
//   one as it is, and says why.
// * Where replicas end again and again, the next start waits: not after the first end, then
//   `restart.first`, doubled each time up to `restart.longest`. Being ready for that long wipes it
//   out. Who gave way to others has not failed. A pause belongs to the revision: a new one, or
//   another number wanted, is tried at once.
// * Told to end, it stops all its replicas and is over when the last of them is gone.
//
// Stored are the wish (Service: revision, wanted, surge, ending), how many replicas were made and
// how often they failed; the replicas are stored as the jobs that they are. Readiness is not:
// after a restart of the server it is unknown until the nodes say it again, and an unknown replica
// of an old revision is taken for one that serves, of a new one for one that does not yet. Nor is
// the pause: it begins anew, so that no wall clock is trusted with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "protocol/agent_protocol.h"
#include "protocol/service_spec.h"

namespace turnout {

inline constexpr int kMaxReplicas = 1000;
inline constexpr std::size_t kMaxServiceName = 200;

struct Service {
    std::string workspace;  // id
    std::string name;
    std::int64_t revision = 1;  // of its task; grows
    int wanted = 1;             // replicas; 0: it is stopped
    int surge = 1;              // beyond those, while one revision replaces another
    bool ending = false;
    agent_protocol::ServiceSpec spec;  // of the newest revision

    // ---- what became of it ----
    std::int64_t made = 0;  // the number of its last replica
    int failures = 0;       // ends in a row of replicas of this revision
    int done = 0;           // ended with exit code 0, where that is an end (Restart::OnFailure)
    std::string trouble;    // how the last one of this revision failed, for people

    // Not stored.
    Span not_before{};              // since boot: no replica is made before
    std::optional<Span> failed_at;  // since boot: the last failure that counts
    std::int64_t failed_made = 0;   // and what `made` was then

    int target() const { return ending ? 0 : wanted > done ? wanted - done : 0; }
};

Json to_json(const Service& service);
Result<Service> service_of_json(const Json& json);

// "name.12": the job of a replica. A number whose name some other job has is passed over.
std::string replica_name(std::string_view service, std::int64_t number);

struct Replica {
    std::int64_t number = 0;
    std::int64_t revision = 0;
    // Less fit to serve first.
    enum class Is {
        Ending,    // its command has ended: it is about to be gone
        Waiting,   // for a node
        Starting,  // its node prepares it
        Unready,   // its command runs
        Unknown,   // its node cannot be heard, or has not said it since the server started
        Ready,
        Stopping  // it was told to end, or to give way
    } is = Is::Waiting;
    Span since{};  // since boot: it is so

    bool alive() const { return is != Is::Stopping; }
};
std::string_view name_of(Replica::Is is);  // "waiting" …

// What is to be done now.
struct ServicePlan {
    int start = 0;  // so many replicas of the newest revision
    struct Stop {
        std::int64_t number = 0;
        enum class Why {
            Ending,
            TooMany,
            Replaced,  // by one of a new revision that is ready
            Unfit,     // of an old revision, and not ready
            Unready    // for too long
        } why = Why::Ending;
    };
    std::vector<Stop> stop;
    bool over = false;            // it was to end, and nothing of it is left
    std::optional<Span> look_at;  // since boot: until then time alone changes nothing
};
std::string_view words_of(ServicePlan::Stop::Why why);

// `replicas`: all that are not gone. Where one stops since it was not ready for too long nothing
// else is planned: it is to be asked again when that failure is known (replica_failed).
ServicePlan plan_service(const Service& service, const std::vector<Replica>& replicas, Span now);

struct ReplicaEnd {
    std::int64_t number = 0;
    std::int64_t revision = 0;
    bool told = false;  // to end, by its service or by a person
    agent_protocol::Cause cause = agent_protocol::Cause::None;
    std::string message;
    std::optional<Span> ready_for;  // how long it was, last; nothing: it was not
};
// A replica is gone; it is not among those of the next plan.
void replica_gone(Service& service, const ReplicaEnd& end, Span now);
// One is stopped since it did not become ready: it failed, whatever becomes of it.
void replica_failed(Service& service, std::int64_t number, std::string_view trouble, Span now);

// What is wanted changes: another number of replicas, or a new revision of the task. What went
// wrong before does not count any more.
void want_replicas(Service& service, int wanted);
void want_revision(Service& service, const agent_protocol::ServiceSpec& spec);

// The pause before the next start, after so many failures in a row.
Span pause_after(const agent_protocol::Restart& restart, int failures);

struct ReplicaCounts {
    int wanted = 0;
    int ready = 0;    // of the newest revision
    int present = 0;  // of any, those that are being stopped too
    int old = 0;      // of earlier revisions
};
ReplicaCounts count_replicas(const Service& service, const std::vector<Replica>& replicas);
// "2 of 3 replicas are ready; the third …": why it is not all that is wanted; for people. "" if it
// is.
std::string why_not_ready(const Service& service, const std::vector<Replica>& replicas, Span now);

}  // namespace turnout

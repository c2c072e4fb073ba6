// Runs that ask: what access/run_reach.h decides, with what it needs to know looked up.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "access/run_reach.h"
#include "api/api.h"
#include "model/workspace.h"
#include "protocol/agent_protocol.h"

namespace turnout::api {

// A tag of runs and experiments that a job made: its name. Set by the server.
inline constexpr std::string_view kCreatorTag = "turnout.job";

// It is the run itself, one that it made, or a child of its group.
Result<bool> owns(Services& services, const Principal& run, std::string_view id);
// Whom the run acts for: the user who submitted its job with `identity: user_identity`, in its
// workspace only.
Result<std::optional<Principal>> user_of(Services& services, const Principal& run);

// Whoever asks may do that to everything in the workspace: a user, of whom the router has asked it
// already, or a run that acts for one who may.
Result<bool> may_all(Services& services, const Call& call, std::string_view action);
// PermissionDenied of a run, unless it is about its own or it acts for a user who may.
Result<void> check_owns(Services& services, const Call& call, std::string_view action,
                        std::string_view id);
// The words for it.
Failure beyond_reach(const Principal& run);

// `permission`: see RunReach.
Result<bool> reaches(Services& services, const Principal& run, std::string_view container,
                     std::string_view name, char permission);
Result<access::Listed> listed_for(Services& services, const Call& call, std::string_view container,
                                  std::string_view prefix);
// PermissionDenied of a run, unless it may read all that is there.
Result<void> check_reads_place(Services& services, const Call& call, std::string_view container,
                               std::string_view prefix);
// PermissionDenied of a run, unless that is among its own artifacts or registered. `path`: "" =
// all.
Result<void> check_reads_artifacts(Services& services, const Call& call, std::string_view run,
                                   std::string_view path);
// PermissionDenied of a run, unless it may read all that is at that URI of the workspace. Asked
// before it registers it, too: others could read it then.
Result<void> check_reads_uri(Services& services, const Call& call, const Workspace& workspace,
                             std::string_view uri);

// Where a URI leads in this workspace; nothing if that is elsewhere.
Result<std::optional<agent_protocol::BlobFolder>> place_of(Services& services,
                                                           const Workspace& workspace,
                                                           std::string_view uri);

// Does a signed link still hold: is whoever it was made for there, and may they do one of these in
// that workspace? PermissionDenied. "" (of an earlier build) holds to its end.
Result<void> check_holder(Services& services, std::string_view holder,
                          std::initializer_list<std::string_view> actions, const std::string& wsid);

// The query of a link that is a run: for clients that take links only. It may what the run may, and
// ends with it.
std::string run_link(const Secret& token);
// The token in such a link; "" if it is none.
std::string_view token_of_link(const Call& call);
// A link that is that run, which asks.
std::string link_of_run(const Services& services, const Principal& run);

}  // namespace turnout::api

// Who may do what with which blob.
//
//   signed link   what its grant says: container, prefix, permissions, until it expires
//   user          everything
//   run           read and list in every container of its job's workspace (code uploads too);
//                 write where the job's named outputs go, and in the artifact container below
//                 "ExperimentRun/dcid.{job}/"; delete only in the latter; what is not there yet it
//                 may create where the SDK uploads assets, below "LocalUpload/"
//   node, nobody  nothing
#pragma once

#include <string>
#include <string_view>

#include "api/api.h"

namespace turnout::api {

// `permission` is one of "rwcdl" (see SasGrant; 'c' creates what is not there). For 'l', `name` is
// the prefix that is listed.
// Beside those: a link that is a run (`run_link`), for clients that take links only. It may what
// the run may, and ends with it.
Result<void> authorize_blob(const Services& services, const Call& call, std::string_view container,
                            std::string_view name, char permission);

// The query of such a link.
std::string run_link(const Secret& token);

}  // namespace turnout::api

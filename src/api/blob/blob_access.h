// Who may do what with which blob.
//
//   signed link   what its grant says: container, prefix, permissions, until it expires
//   user          everything
//   run           read and list in every container of its job's workspace (code uploads too);
//                 write where the job's named outputs go, and in the artifact container below
//                 "ExperimentRun/dcid.{job}/"; delete only in the latter
//   node, nobody  nothing
#pragma once

#include <string_view>

#include "api/api.h"

namespace turnout::api {

// `permission` is one of "rwcdl" (see SasGrant; 'c' creates what is not there). For 'l', `name` is
// the prefix that is listed.
Result<void> authorize_blob(const Services& services, const Call& call, std::string_view container,
                            std::string_view name, char permission);

}  // namespace turnout::api

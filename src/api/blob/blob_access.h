// Who may do what with which blob.
//
//   signed link   what its grant says: container, prefix, permissions, until it expires
//   user          everything
//   run           what its job names, data and what is registered: access/run_reach.h
//   node, nobody  nothing
#pragma once

#include <string>
#include <string_view>

#include "api/api.h"

namespace turnout::api {

// `permission` is one of "rwcdl" (see SasGrant; 'c' creates what is not there). For 'l', `name` is
// the prefix that is listed.
Result<void> authorize_blob(Services& services, const Call& call, std::string_view container,
                            std::string_view name, char permission);

}  // namespace turnout::api

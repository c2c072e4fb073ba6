// The portal's files on the way to a browser.
#pragma once

#include "api/api.h"

namespace turnout::api::studio {

// The one page in which the portal runs, whatever its path: a script of this server, and nothing
// else. Only where services.portal is there.
http::Response shell(Services& services);

}  // namespace turnout::api::studio

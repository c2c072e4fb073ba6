// Where logins by an identity provider have their settings and their connections from.
#pragma once

#include "api/login/logins.h"
#include "app/instance.h"
#include "io/posix/asio_loop.h"

namespace turnout {

// oidc.yaml of the data folder, read anew each time, and what its `client_secret_file` has in it,
// which nobody but the server's user may be able to read. Both outlive what is made of it.
api::LoginSources login_sources(AsioLoop& loop, const Instance& instance);

}  // namespace turnout

// The folder with the Dockerfile from which the image of an environment is built.
#pragma once

#include <cstdint>
#include <string>

#include "api/api.h"
#include "model/built_image.h"
#include "model/workspace.h"

namespace turnout::api::arm {

struct BuildContext {
    std::string container, prefix;  // in the blob service; the prefix is "" or ends with '/'
    std::string dockerfile;         // beneath it
    std::string hash;               // hex, of all that is in it
    std::uint64_t bytes = 0;
};

// Of an environment with a `build`. Refused where it is not in this workspace's storage, has no
// such Dockerfile, or is larger than a context may be. `shown`: what the environment is called.
Result<BuildContext> find_build_context(Services& services, const Workspace& workspace,
                                        const std::string& shown, const Json& properties);

// What `image` is to be built from, for a node of that workspace. FailedPrecondition: the
// environment, or its context, is not what it was when the job came.
Result<BuildContext> context_of_image(Services& services, const std::string& workspace,
                                      const BuiltImage& image);

}  // namespace turnout::api::arm

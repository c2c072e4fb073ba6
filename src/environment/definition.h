// From what a user defined (a conda file, an image, a curated name) to what a node prepares: a
// `TaskEnvironment`. Pure: the server calls it at submission, so that a definition that cannot work
// is refused there.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "protocol/agent_protocol.h"

namespace turnout::environment {

// An environment resource, by its own members.
struct Definition {
    std::string name;        // "my-env:3", for people
    std::string image;       // "mcr.microsoft.com/…"; "" = none
    std::string conda_file;  // YAML text; "" = none
};

// With a conda file: a venv of the same packages from PyPI. Pins are translated exactly and never
// relaxed. Without one: the machine's own interpreter, or the image's. A conda file that cannot be
// read, or that asks for something a venv cannot give (`-r` lines, other languages), is
// InvalidArgument.
Result<agent_protocol::TaskEnvironment> resolve(const Definition& definition);
// For a pool whose nodes have no image (`image: host`): that it is not started is said in a notice.
void without_image(agent_protocol::TaskEnvironment& environment);

// The machine's own interpreter, nothing to prepare. `interpreter` "" = python3 of the machine.
agent_protocol::TaskEnvironment user_managed(std::string name, std::string interpreter);

// SHA-256 in hex over what determines the built folder (kind, python, requirements); the cache key
// on a node. The order in which requirements are listed does not matter.
std::string hash_of(const agent_protocol::TaskEnvironment& environment);

}  // namespace turnout::environment

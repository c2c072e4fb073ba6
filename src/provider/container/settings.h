// What a pool of containers says in its `settings`.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "resources/describe.h"

namespace turnout {

struct ContainerSettings {
    enum class Pull { Missing, Always, Never };
    std::string socket = "/var/run/docker.sock";  // of the engine: Docker's API on a Unix socket
    std::string image;                            // of what names no other
    Pull pull = Pull::Missing;
    std::string network;            // "": the engine's usual one
    std::uint32_t user = 1000;      // uid and gid of all that runs in it
    std::int64_t processes = 8192;  // at a time, threads too
    bool builds = true;             // images from Dockerfiles
    std::string python;             // interpreter of jobs without an environment
    std::vector<std::pair<std::string, std::string>> variables;
};

// The names of `settings`, checked as a part of pools.yaml.
const resources::Description& container_settings();
// Of checked settings.
ContainerSettings read_container_settings(const Json& settings);

// Whether an engine may be asked for it: "debian:12", "ghcr.io/a/b@sha256:…".
bool fits_as_image(std::string_view text);
// What a pull asks for: the name, and the tag, which is "" beside a digest.
std::pair<std::string, std::string> split_image(const std::string& image);

}  // namespace turnout

// Images that are built from a Dockerfile: how an environment with a `build` names the image that
// its node is to have. The name says which environment, so that whoever builds it finds the
// context.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/pool.h"

namespace turnout {

inline constexpr std::string_view kBuiltImages = "turnout.build/";
// As kPulling: how a provider begins what it says meanwhile.
inline constexpr std::string_view kBuilding = "building image ";

struct BuiltImage {
    std::string environment;  // of the node's workspace
    std::string version;
    std::string context;  // hex: a hash of all its files, their names and the Dockerfile's
    bool operator==(const BuiltImage&) const = default;
};

// "turnout.build/{environment}/{version}@{context}"
std::string name_of(const BuiltImage& image);
// Nothing: it is no such name.
std::optional<BuiltImage> read_built_image(std::string_view name);
// For people: "my-env:3".
std::string shown_name(const BuiltImage& image);

// Whether its nodes can have an image that is not there yet.
bool builds_images(const Pool& pool);

}  // namespace turnout

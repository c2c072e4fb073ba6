#include "provider/container/settings.h"

#include <algorithm>

#include "base/text.h"
#include "provider/variables.h"

namespace turnout {

namespace {

using resources::Kind;
using resources::Reading;

constexpr std::size_t kLongestSocket = 100;  // a Unix socket's path has an end
constexpr std::size_t kLongestImage = 512;

bool fits_as_network(std::string_view text) {
    return !text.empty() && text.size() <= 128 && text.front() != '-' &&
           std::ranges::all_of(text, [](char c) {
               return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                      c == '-' || c == '.';
           });
}

void check_container_pool(Reading& reading, const std::string& pointer, const Json& value) {
    check_variables(reading, pointer, value);
    if (const Json& socket = value.at("socket");
        socket.is_string() &&
        (!socket.as_view().starts_with('/') || socket.as_view().size() > kLongestSocket))
        reading.refuse(pointer_to(pointer, "socket"),
                       "expected the absolute path of the engine's Unix socket, of at most " +
                           std::to_string(kLongestSocket) + " characters");
    if (const Json& image = value.at("image"); image.is_string() && !fits_as_image(image.as_view()))
        reading.refuse(pointer_to(pointer, "image"),
                       "expected the name of an image, such as python:3.11");
    if (const Json& network = value.at("network");
        network.is_string() && !fits_as_network(network.as_view()))
        reading.refuse(pointer_to(pointer, "network"),
                       "expected none, host, bridge or the name of a network of the engine");
}

}  // namespace

const resources::Description& container_settings() {
    static const resources::Description pool = {
        .kind = "settings",
        .type = "",
        .title = "the settings of a pool of containers",
        .help = "",
        .fields =
            {
                {.yaml = "socket",
                 .rest = "",
                 .kind = Kind::Text,
                 .help = "The engine's socket; `/var/run/docker.sock` if absent."},
                {.yaml = "image",
                 .rest = "",
                 .kind = Kind::Text,
                 .need = resources::Need::Required,
                 .help = "the image of what names no other"},
                {.yaml = "pull",
                 .rest = "",
                 .kind = Kind::Choice,
                 .help = "When an image is pulled; `missing` if absent.",
                 .choices = {{"missing", "missing"}, {"always", "always"}, {"never", "never"}}},
                {.yaml = "builds",
                 .rest = "",
                 .kind = Kind::Flag,
                 .help = "Whether images are built there from Dockerfiles; true if absent."},
                {.yaml = "network",
                 .rest = "",
                 .kind = Kind::Text,
                 .help = "Of its containers; the engine's usual one if absent."},
                {.yaml = "user",
                 .rest = "",
                 .kind = Kind::Whole,
                 .help = "Number of the user that runs in them; 1000 if absent.",
                 .least = 1,
                 .most = 2'097'151},  // what fits into the head of an archive
                {.yaml = "pids",
                 .rest = "",
                 .kind = Kind::Whole,
                 .help = "Processes and threads of one; 8192 if absent.",
                 .least = 64,
                 .most = 4'000'000},
                {.yaml = "python",
                 .rest = "",
                 .kind = Kind::Text,
                 .help = "Interpreter of jobs without an environment of their own."},
                {.yaml = "variables",
                 .rest = "",
                 .kind = Kind::TextMap,
                 .help = "Of the environment of its agents."},
            },
        .check = check_container_pool};
    return pool;
}

ContainerSettings read_container_settings(const Json& settings) {
    ContainerSettings read;
    read.socket = settings.at("socket").as_string(read.socket);
    read.image = settings.at("image").as_string();
    read.network = settings.at("network").as_string();
    read.python = settings.at("python").as_string();
    read.builds = settings.at("builds").as_bool(read.builds);
    if (const std::string pull = settings.at("pull").as_string(); pull == "always")
        read.pull = ContainerSettings::Pull::Always;
    else if (pull == "never")
        read.pull = ContainerSettings::Pull::Never;
    read.user = static_cast<std::uint32_t>(settings.at("user").as_int(read.user));
    read.processes = settings.at("pids").as_int(read.processes);
    for (const auto& [name, value] : settings.at("variables").members())
        read.variables.emplace_back(name, value.is_string() ? value.as_string() : value.dump());
    return read;
}

bool fits_as_image(std::string_view text) {
    // It becomes a part of a path that the engine is asked for.
    return !text.empty() && text.size() <= kLongestImage &&
           text.find("..") == std::string_view::npos && text.find("//") == std::string_view::npos &&
           (is_digit(text.front()) || (text.front() >= 'a' && text.front() <= 'z') ||
            (text.front() >= 'A' && text.front() <= 'Z')) &&
           std::ranges::all_of(text, [](char c) {
               return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      std::string_view("._-/:@").find(c) != std::string_view::npos;
           });
}

std::pair<std::string, std::string> split_image(const std::string& image) {
    if (image.find('@') != std::string::npos) return {image, ""};
    const std::size_t colon = image.rfind(':'), slash = image.rfind('/');
    if (colon == std::string::npos || (slash != std::string::npos && colon < slash))
        return {image, "latest"};  // a colon before the last '/' is that of a port
    return {image.substr(0, colon), image.substr(colon + 1)};
}

}  // namespace turnout

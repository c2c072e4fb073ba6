#include "provider/slurm/settings.h"

#include <algorithm>

#include "base/text.h"
#include "provider/variables.h"

namespace turnout {

namespace {

using resources::Kind;
using resources::Reading;

constexpr std::size_t kLongestShared = 50;  // the path of a Unix socket beneath it has an end
constexpr std::size_t kLongestOption = 256;

// A word that is given to Slurm's programs behind an option's name. It never begins one itself.
bool fits_as_option(std::string_view text, std::string_view more) {
    return !text.empty() && text.size() <= kLongestOption && text.front() != '-' &&
           std::ranges::all_of(text, [&](char c) {
               return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      more.find(c) != std::string_view::npos;
           });
}

// Slurm puts something else in the place of '%' and '\' where it reads a path.
bool fits_as_path(std::string_view text) {
    return text.starts_with('/') && text.size() <= kLongestOption &&
           fits_as_option(text.substr(1), "/._-+@=,") &&
           std::ranges::none_of(split(text, '/'),
                                [](const std::string& part) { return part == ".."; });
}

void check_slurm_pool(Reading& reading, const std::string& pointer, const Json& value) {
    check_variables(reading, pointer, value);
    const auto option = [&](const char* name, std::string_view more, const char* expected) {
        if (const Json& one = value.at(name);
            one.is_string() && !fits_as_option(one.as_view(), more))
            reading.refuse(pointer_to(pointer, name), expected);
    };
    option("partition", "._-,", "expected the name of a partition, or several with commas");
    option("account", "._-", "expected the name of an account");
    option("qos", "._-", "expected the name of a QOS");
    option("constraint", "._-&|*()[]:,",
           "expected features of nodes, as `sbatch --constraint` has them");
    option("gres", "._-:,/=", "expected generic resources, such as gpu:a100:2");
    if (const Json& folder = value.at("folder");
        folder.is_string() &&
        (!fits_as_path(folder.as_view()) || folder.as_view().size() > kLongestShared))
        reading.refuse(pointer_to(pointer, "folder"),
                       "expected the absolute path of a folder, of at most " +
                           std::to_string(kLongestShared) + " letters, digits and any of /._-+@=,");
    if (const Json& config = value.at("config");
        config.is_string() && !fits_as_path(config.as_view()))
        reading.refuse(pointer_to(pointer, "config"), "expected the absolute path of a slurm.conf");
}

resources::Field option_field(std::string name, std::string help) {
    return {.yaml = std::move(name), .rest = "", .kind = Kind::Text, .help = std::move(help)};
}

}  // namespace

const resources::Description& slurm_settings() {
    static const resources::Description pool = {
        .kind = "settings",
        .type = "",
        .title = "the settings of a pool of a Slurm cluster",
        .help = "",
        .fields =
            {
                {.yaml = "folder",
                 .rest = "",
                 .kind = Kind::Text,
                 .need = resources::Need::Required,
                 .help = "a folder that the server and all compute nodes see under that path"},
                option_field("partition",
                             "Where its pilots are submitted; Slurm's usual one if absent."),
                option_field("account", "As `sbatch --account`."),
                option_field("qos", "As `sbatch --qos`."),
                option_field("constraint", "As `sbatch --constraint`."),
                option_field("gres", "As `sbatch --gres`, for each node."),
                {.yaml = "walltime",
                 .rest = "",
                 .kind = Kind::Seconds,
                 .help = "How long a node may live; what the partition gives if absent.",
                 .least = 120,
                 .most = 365 * 24 * 3600},
                option_field("config", "Of Slurm's programs, as SLURM_CONF."),
                option_field("python", "Interpreter of jobs without an environment of their own."),
                {.yaml = "variables",
                 .rest = "",
                 .kind = Kind::TextMap,
                 .help = "Of the environment of its agents."},
            },
        .check = check_slurm_pool};
    return pool;
}

SlurmSettings read_slurm_settings(const Json& settings) {
    SlurmSettings read;
    read.folder = settings.at("folder").as_string();
    while (read.folder.size() > 1 && read.folder.ends_with('/')) read.folder.pop_back();
    read.config = settings.at("config").as_string();
    read.partition = settings.at("partition").as_string();
    read.account = settings.at("account").as_string();
    read.qos = settings.at("qos").as_string();
    read.constraint = settings.at("constraint").as_string();
    read.gres = settings.at("gres").as_string();
    read.walltime = std::chrono::seconds(settings.at("walltime").as_int());
    read.python = settings.at("python").as_string();
    for (const auto& [name, value] : settings.at("variables").members())
        read.variables.emplace_back(name, value.is_string() ? value.as_string() : value.dump());
    return read;
}

}  // namespace turnout

#include "environment/curated.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "environment/definition.h"
#include "yaml/yaml.h"

namespace turnout::environment {
namespace {

using agent_protocol::TaskEnvironment;

// Jobs say AzureML-sklearn-1.5 where the registry has sklearn-1.5, and the other way round.
std::string_view bare(std::string_view text) {
    constexpr std::string_view prefix = "AzureML-";
    return equal_ignoring_case(text.substr(0, prefix.size()), prefix) ? text.substr(prefix.size())
                                                                      : text;
}
// curated.yml as it was built.
extern "C" {
extern const char turnout_curated_begin[];
extern const char turnout_curated_end[];
}
asm(R"(
    .pushsection .rodata
    .global turnout_curated_begin
    .global turnout_curated_end
turnout_curated_begin:
    .incbin ")" TURNOUT_CURATED_FILE R"("
turnout_curated_end:
    .byte 0
    .popsection
)");

// Every name, those that are refused too. The file is ours: a test looks at all of it.
std::vector<Curated> make_table() {
    const auto file =
        parse_yaml({turnout_curated_begin,
                    static_cast<std::size_t>(turnout_curated_end - turnout_curated_begin)},
                   "curated.yml");
    TURNOUT_CHECK(file.has_value(), "curated.yml cannot be read");
    std::vector<Curated> table;
    for (const Json& each : file->value.at("environments").items()) {
        Curated& curated = table.emplace_back();
        curated.name = each.at("name").as_string();
        curated.description = each.at("description").as_string();
        curated.image = each.at("image").as_string();
        if (curated.image.empty())
            curated.image = "mcr.microsoft.com/azureml/curated/" + std::string(bare(curated.name));
        curated.versions = static_cast<int>(each.at("versions").as_int(1));
        curated.refused = each.at("refused").as_string();
        if (const std::string notice = each.at("notice").as_string(); !notice.empty())
            curated.notice = curated.name + " " + notice;
        for (const Json& line : each.at("own").items())
            curated.requirements.push_back(line.as_string());
        for (const Json& list : each.at("uses").items())
            for (const Json& line : file->value.at("packages").at(list.as_view()).items())
                curated.requirements.push_back(line.as_string());
    }
    // Those that can be had come first.
    std::stable_partition(table.begin(), table.end(),
                          [](const Curated& curated) { return curated.refused.empty(); });
    return table;
}

std::span<const Curated> whole_table() {
    static const std::vector<Curated> table = make_table();  // constant, made at first use
    return table;
}

const Curated* find_named(std::string_view name) {
    for (const Curated& curated : whole_table())
        if (equal_ignoring_case(curated.name, name)) return &curated;
    for (const Curated& curated : whole_table())
        if (equal_ignoring_case(bare(curated.name), bare(name))) return &curated;
    return nullptr;
}

}  // namespace

std::span<const Curated> curated_environments() {
    const auto all = whole_table();
    const auto end = std::find_if(all.begin(), all.end(),
                                  [](const Curated& curated) { return !curated.refused.empty(); });
    return all.first(static_cast<std::size_t>(end - all.begin()));
}

const Curated* find_curated(std::string_view name) {
    const Curated* found = find_named(name);
    return found && found->refused.empty() ? found : nullptr;
}

Result<void> check_curated(std::string_view name) {
    const Curated* found = find_named(name);
    if (!found || found->refused.empty()) return {};
    return fail(
        Code::InvalidArgument, "EnvironmentNotSupported",
        "curated environment '" + found->name + "' cannot be had here: it " + found->refused,
        found->name);
}

Result<TaskEnvironment> resolve_curated(std::string_view name, std::string_view version) {
    TURNOUT_TRY(check_curated(name));
    const Curated* curated = find_curated(name);
    if (!curated) {
        std::vector<std::string> names;
        for (const Curated& known : curated_environments()) names.emplace_back(known.name);
        return not_found("curated environment '" + std::string(name) + "' does not exist" +
                             did_you_mean(name, names) + "; 'azureml' has:\n  " +
                             join(names, "\n  "),
                         std::string(name));
    }
    int number = curated->versions;
    if (!version.empty() && !equal_ignoring_case(version, "latest")) {
        auto [end, error] =
            std::from_chars(version.data(), version.data() + version.size(), number);
        if (error != std::errc() || end != version.data() + version.size() || number < 1 ||
            number > curated->versions)
            return not_found("curated environment '" + std::string(curated->name) +
                                 "' has no version '" + std::string(version) + "'; it has 1 to " +
                                 std::to_string(curated->versions),
                             std::string(version));
    }
    TaskEnvironment environment;
    environment.name = std::string(curated->name) + ":" + std::to_string(number);
    environment.kind = TaskEnvironment::Kind::Venv;
    environment.requirements = curated->requirements;
    if (!curated->notice.empty()) environment.notices.emplace_back(curated->notice);
    environment.hash = hash_of(environment);
    return environment;
}

}  // namespace turnout::environment

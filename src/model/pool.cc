#include "model/pool.h"

#include <algorithm>

#include "base/text.h"
#include "resources/describe.h"
#include "yaml/yaml.h"

namespace turnout {

namespace {

constexpr std::size_t kMostPools = 100;
constexpr double kMostPrice = 1e9;
constexpr std::int64_t kShortestLoss = 60, kLongestLoss = 7 * 24 * 3600;  // seconds

bool fits_as_name(std::string_view name) {
    const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
    return !name.empty() && name.size() <= 40 && letter(name.front()) && name.back() != '-' &&
           std::ranges::all_of(
               name, [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; });
}

const resources::Description& description() {
    using resources::Kind;
    static const resources::Description prices = {
        .kind = "price_per_hour",
        .type = "",
        .title = "the price of a node's hour",
        .help = "",
        .fields = {
            {.yaml = "dedicated", .rest = "", .kind = Kind::Number, .help = "Of a dedicated node."},
            {.yaml = "low_priority",
             .rest = "",
             .kind = Kind::Number,
             .help = "Of one that gives way."}}};
    static const resources::Description pool = {
        .kind = "pool",
        .type = "",
        .title = "a pool",
        .help = "",
        .fields = {
            {.yaml = "provider", .rest = "", .kind = Kind::Text, .help = "How its nodes are had."},
            {.yaml = "slots",
             .rest = "",
             .kind = Kind::Whole,
             .help = "How many nodes it has room for.",
             .least = 1,
             .most = kMostSlots},
            {.yaml = "lost_node_time",
             .rest = "",
             .kind = Kind::Seconds,
             .help = "Without contact for so long a node ends what it runs, and counts as lost.",
             .least = kShortestLoss,
             .most = kLongestLoss},
            {.yaml = "image",
             .rest = "",
             .kind = Kind::Choice,
             .help = "What the image of an environment means.",
             .choices = {{"host", "host"},
                         {"engine", "engine"},
                         {"venv", "venv",
                          "is what `host` does: the Python part of an environment is built on the "
                          "node's own interpreter, its image is not used"},
                         {"refuse", "refuse",
                          "is not possible yet: jobs with an image run without it (`host`)"}}},
            {.yaml = "isolation",
             .rest = "",
             .kind = Kind::Choice,
             .help = "What keeps the jobs of one workspace from those of another.",
             .choices = {{"shared_uid", "shared_uid"},
                         {"workspace_uid", "workspace_uid"},
                         {"workspace_namespaces", "workspace_namespaces"}}},
            {.yaml = "price_per_hour",
             .rest = "",
             .kind = Kind::Object,
             .help = "What an hour of a node costs.",
             .object = &prices},
            {.yaml = "settings",
             .rest = "",
             .kind = Kind::AnyMap,
             .help = "What its provider has to know."},
        }};
    return pool;
}

// What it means follows from how its nodes are had.
void check_image(const PoolProvider& provider, const Json& said, resources::Reading& reading,
                 const std::string& pointer) {
    const std::string policy = said.as_string();
    if (policy == "engine" && !provider.images)
        reading.refuse(pointer, "expected host, found 'engine': provider '" + provider.name +
                                    "' starts no containers, so jobs have their environment "
                                    "without its image");
    if (policy == "host" && provider.images)
        reading.refuse(pointer, "expected engine, found 'host': the nodes of provider '" +
                                    provider.name + "' are containers of the job's image");
}

Pool read_pool(const std::string& name, const Json& from) {
    Pool pool;
    pool.name = name;
    if (from.at("provider").is_string()) pool.provider = from.at("provider").as_string();
    if (from.at("settings").is_object()) pool.settings = from.at("settings");
    if (const std::int64_t slots = from.at("slots").as_int(); slots > 0)
        pool.slots = static_cast<int>(slots);
    if (const std::int64_t seconds = from.at("lost_node_time").as_int(); seconds > 0)
        pool.lost_node_after = std::chrono::seconds(seconds);
    const auto price = [&](std::string_view tier) -> std::optional<double> {
        const Json& value = from.at("price_per_hour").at(tier);
        if (!value.is_number()) return std::nullopt;
        return value.as_double();
    };
    pool.price = {price("dedicated"), price("low_priority")};
    const auto* isolation = resources::find_choice(
        description().find("isolation")->choices,
        from.at("isolation").as_string(std::string(name_of(pool.isolation))));
    for (const Isolation level : {Isolation::WorkspaceUid, Isolation::WorkspaceNamespaces})
        if (isolation && isolation->yaml == name_of(level)) pool.isolation = level;
    return pool;
}

}  // namespace

std::string_view name_of(ImagePolicy policy) {
    switch (policy) {
        case ImagePolicy::Host: return "host";
        case ImagePolicy::Engine: return "engine";
    }
    return "";
}

std::string_view name_of(Isolation level) {
    switch (level) {
        case Isolation::SharedUid: return "shared_uid";
        case Isolation::WorkspaceUid: return "workspace_uid";
        case Isolation::WorkspaceNamespaces: return "workspace_namespaces";
    }
    return "";
}

Result<std::vector<Pool>> read_pools(std::string_view text, const std::string& file,
                                     std::span<const PoolProvider> providers) {
    YamlDocument document = TURNOUT_TRY(parse_yaml(text, file, {.bytes = 1 << 20}));
    resources::Reading reading(document, resources::no_files());
    std::vector<Pool> pools(1);
    pools.front().name = kDefaultPool;
    const Json& whole = document.value;
    if (!whole.is_null() && reading.expect_mapping("", whole)) {
        for (const auto& [key, value] : whole.members())
            if (key != "pools")
                reading.refuse(pointer_to("", key), "is not a key of this file: expected 'pools'");
        const Json& all = whole.at("pools");
        if (!all.is_null() && reading.expect_mapping("/pools", all)) {
            if (all.members().size() > kMostPools)
                reading.refuse("/pools", "expected at most " + std::to_string(kMostPools) +
                                             " pools, found " +
                                             std::to_string(all.members().size()));
            for (const auto& [name, value] : all.members()) {
                const std::string at = pointer_to("/pools", name);
                if (!fits_as_name(name))
                    reading.refuse(at,
                                   "expected a pool's name: up to 40 small letters, digits and "
                                   "'-', beginning with a letter");
                if (!value.is_null() && reading.expect_mapping(at, value))
                    resources::check(description(), reading, at);
                Pool pool = read_pool(name, value);
                for (const std::string_view tier : {"dedicated", "low_priority"}) {
                    const Json& price = value.at("price_per_hour").at(tier);
                    if (price.is_number() &&
                        !(price.as_double() >= 0 && price.as_double() < kMostPrice))
                        reading.refuse(
                            pointer_to(pointer_to(at, "price_per_hour"), tier),
                            "expected a price from 0, below 1,000,000,000, found " + price.dump());
                }
                const auto of = std::ranges::find(providers, pool.provider, &PoolProvider::name);
                if (of == providers.end()) {
                    std::vector<std::string> known;
                    for (const PoolProvider& one : providers) known.push_back(one.name);
                    reading.refuse(pointer_to(at, "provider"),
                                   "expected " + join(known, " or ") + ", found '" +
                                       pool.provider.substr(0, 64) + "'" +
                                       did_you_mean(pool.provider, known));
                } else {
                    if (value.at("settings").is_object())
                        resources::check(of->settings, reading, pointer_to(at, "settings"));
                    else
                        for (const resources::Field& field : of->settings.fields)
                            if (field.need == resources::Need::Required)
                                reading.refuse(at, "expected 'settings' with '" + field.yaml +
                                                       "': " + field.help);
                    check_image(*of, value.at("image"), reading, pointer_to(at, "image"));
                    if (of->images) pool.image = ImagePolicy::Engine;
                    if (of->one_machine && name != kDefaultPool && value.at("slots").is_null())
                        reading.refuse(at,
                                       "expected 'slots', how many nodes it has room for: the "
                                       "machine's own number is that of pool 'local'");
                }
                if (name == kDefaultPool)
                    pools.front() = std::move(pool);
                else
                    pools.push_back(std::move(pool));
            }
        }
    }
    TURNOUT_TRY(resources::result_of(reading));
    return pools;
}

}  // namespace turnout

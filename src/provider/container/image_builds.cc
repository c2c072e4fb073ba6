#include "provider/container/image_builds.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "model/compute.h"

namespace turnout {

namespace {

constexpr Span kLook = 50ms;
constexpr int kTries = 6;  // of what may pass

// Of a workspace alone: what its Dockerfiles copied into it is nobody else's.
std::string tag_of(const ImageBuilds::Wanted& wanted) {
    return "turnout-built:" +
           to_hex(sha256(wanted.instance + "\n" + wanted.workspace + "\n" + wanted.image.context))
               .substr(0, 40);
}

// Every Dockerfile takes them without an ARG line, and they do not stay in the image.
bool is_proxy(std::string_view variable) {
    constexpr std::array<std::string_view, 4> kProxies = {"http_proxy", "https_proxy", "ftp_proxy",
                                                          "no_proxy"};
    return std::ranges::any_of(kProxies,
                               [&](auto proxy) { return equal_ignoring_case(variable, proxy); });
}

}  // namespace

Task<void> ImageBuilds::run(std::shared_ptr<ImageBuilds> self, std::shared_ptr<Engine> engine,
                            Engine::Build what, std::string key, std::shared_ptr<Build> build) {
    std::function<bool(std::string)> says = [self, build](std::string words) {
        build->words = std::move(words);
        return build->waiters > 0 && !self->over_;
    };
    build->went = co_await engine->build(std::move(what), std::move(says));
    build->done = true;
    if (!self->over_) self->builds_.erase(key);  // another one may have begun since it was ended
}

Task<Result<std::string>> ImageBuilds::built(std::shared_ptr<Engine> engine,
                                             ContainerSettings settings, Wanted wanted,
                                             std::function<void(std::string)> says,
                                             std::function<bool()> waits_no_more) {
    const std::shared_ptr<ImageBuilds> self = shared_from_this();
    const std::string tag = tag_of(wanted), name = shown_name(wanted.image);
    const auto never = [&](const std::string& why) {
        return fail(Code::InvalidArgument, kImageNotThere,
                    "the image of environment '" + name + "' cannot be built: " + why,
                    name_of(wanted.image));
    };
    const Failure ended = fail(Code::Canceled, "Canceled", "the node is not wanted any more");
    Result<Json> there = co_await engine->image(tag);
    if (waits_no_more()) co_return ended;
    if (there) co_return there->at("Id").as_string();
    if (there.error().code == Code::Unavailable) co_return Failure(there.error());
    if (!settings.builds) co_return never("the pool's settings say `builds: false`");
    if (!find_) co_return never("this server has no contexts");

    // A larger node's build may go well where a smaller one's did not.
    const std::string key = engine->socket() + " " + tag + " " + std::to_string(wanted.memory) +
                            " " + std::to_string(wanted.cores);
    std::shared_ptr<Build> build;
    if (const auto found = builds_.find(key); found != builds_.end()) {
        build = found->second;
    } else {
        Result<ImageContext> context = find_(wanted.workspace, wanted.image);
        if (!context) {
            if (context.error().code == Code::Unavailable) co_return Failure(context.error());
            co_return never(context.error().message);
        }
        Engine::Build what;
        what.tag = tag;
        what.dockerfile = context->dockerfile;
        what.context = std::move(context->tar);
        what.labels = Json::object(
            {{std::string(kServerLabel), wanted.instance}, {"turnout.environment", name}});
        what.network = settings.network;
        what.pull = settings.pull == ContainerSettings::Pull::Always;
        what.memory = wanted.memory;
        what.cores = wanted.cores;
        for (const auto& [variable, value] : settings.variables)
            if (is_proxy(variable)) what.arguments.emplace_back(variable, value);
        build = std::make_shared<Build>();
        builds_[key] = build;
        start(run(self, engine, std::move(what), key, build), [] {});
    }
    const std::string begun = std::string(kBuilding) + "of environment " + name;
    ++build->waiters;
    bool left = false;
    while (!build->done && !left) {
        // Again and again: a step may take longer than a node has time to start.
        says(build->words.empty() ? begun : begun + ": " + build->words);
        co_await loop_.sleep(kLook);
        left = waits_no_more();
    }
    --build->waiters;
    if (left) co_return ended;
    if (!build->went) {
        const Error& why = build->went.error();
        if (why.code == Code::InvalidArgument) co_return never(why.message);
        if (why.code != Code::Canceled && ++failed_[key] >= kTries) {
            failed_.erase(key);
            co_return never("tried " + std::to_string(kTries) + " times: " + why.message);
        }
        co_return fail(Code::Unavailable, why.reason, why.message);
    }
    failed_.erase(key);
    // What was sent is what was asked for, if that is what is still there.
    if (const Result<ImageContext> same = find_(wanted.workspace, wanted.image); !same) {
        TURNOUT_CO_TRY_VOID(co_await engine->remove_image(tag));
        co_return never(same.error().message);
    }
    there = co_await engine->image(tag);
    if (!there) co_return Failure(there.error());
    co_return there->at("Id").as_string();
}

}  // namespace turnout

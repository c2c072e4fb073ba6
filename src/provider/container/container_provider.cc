#include "provider/container/container_provider.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "link/bridge.h"
#include "model/more_memory.h"
#include "provider/container/engine.h"
#include "provider/container/settings.h"
#include "provider/container/wire.h"
#include "provider/node_id.h"

namespace turnout {

namespace {

constexpr Span kFirstTry = 200ms, kLongestTry = 5s;
constexpr Span kRelayHeld = 10s;
constexpr Span kLookAtEnd = 100ms;
constexpr Span kLongestEndRetry = 30s;
// A registry may be away for a moment.
constexpr int kPullTries = 6;
constexpr Span kPullAgain = 2s, kLongestPullPause = 30s;
// The agent beside the task: what it holds is not taken from the size's promise.
constexpr std::int64_t kAgentMemory = 64 << 20;
constexpr std::string_view kAgentInside = "/turnout/bin/turnout-agent";

constexpr double kGiB = 1024.0 * 1024 * 1024;

// One that is of no use with less is not made smaller.
Result<void> fits(const NodeRequest& request, const Json& facts) {
    const std::int64_t cores = facts.at("cores").as_int();
    // In tenths, cut off.
    const double memory =
        std::floor(static_cast<double>(facts.at("memoryBytes").as_int()) / kGiB * 10) / 10;
    if (!request.exact ||
        ((cores <= 0 || request.cores <= cores) && (memory <= 0 || request.memory_gb <= memory)))
        return {};
    return invalid("a container of " + std::to_string(request.cores) + " cores and " +
                       gigabyte_words(request.memory_gb) +
                       " does not fit on the engine's machine, which has " + std::to_string(cores) +
                       " cores and " + gigabyte_words(memory),
                   "size");
}

// What a node has: its size, or the engine's machine if that is less. 0: as the engine has it.
struct Slot {
    std::int64_t cores = 0, memory = 0;
};

Slot slot_of(const NodeRequest& request, const Json& facts) {
    const auto at_most = [](std::int64_t wanted, std::int64_t there) {
        return there > 0 ? std::min(wanted, there) : wanted;
    };
    Slot slot;
    slot.cores = at_most(request.cores, facts.at("cores").as_int());
    if (request.memory_gb > 0)
        slot.memory = at_most(static_cast<std::int64_t>(request.memory_gb * kGiB) + kAgentMemory,
                              facts.at("memoryBytes").as_int());
    return slot;
}

std::string name_of_container(const std::string& instance, std::string node) {
    std::ranges::replace(node, '/', '.');
    return "turnout-" + instance + "-" + node;
}

}  // namespace

// All of it is used on the loop, which outlives it. Its coroutines hold it as `self`; once the
// provider has ended it is `over`, and nothing more is told.
struct ContainerProvider::State : std::enable_shared_from_this<ContainerProvider::State> {
    struct Place {
        std::shared_ptr<Engine> engine;
        std::string container;  // its id, "" while there is none
        std::string user;       // that runs in it
        bool relaying = false;
        std::shared_ptr<link::Bridge> bridge;
    };
    struct Known {
        std::shared_ptr<Engine> engine;
        std::optional<Error> trouble;  // of what was asked last
        Json facts;                    // as it said last; null: nothing yet
    };
    using PlacePtr = std::shared_ptr<Place>;

    State(AsioLoop& a_loop, ContainerProviderOptions an_options, ProviderEvents some_events)
        : loop(a_loop),
          options(std::move(an_options)),
          events(std::move(some_events)),
          builds(std::make_shared<ImageBuilds>(loop, options.context)) {}

    AsioLoop& loop;
    PosixClock clock;
    const ContainerProviderOptions options;
    const ProviderEvents events;
    const std::shared_ptr<ImageBuilds> builds;
    std::string instance;
    link::Offers offers;
    std::map<std::string, Known> engines;  // by socket
    std::map<NodeId, PlacePtr> places;
    std::map<NodeId, NodeRequest> wanted;  // of those that are being started: as said last
    std::set<NodeId> leaving;
    std::string agent, uv;  // their bytes, once they are needed
    bool over = false;

    Known& known(const std::string& socket) {
        Known& one = engines[socket];
        if (!one.engine) one.engine = std::make_shared<Engine>(loop, socket);
        return one;
    }
    void say(const NodeId& node, std::string text) const {
        if (!over && events.says) events.says(node, std::move(text));
    }
    // As it was asked for: it may be wanted with another image by now.
    bool unwanted(const NodeId& node, const std::string& image) const {
        const auto found = wanted.find(node);
        return over || leaving.contains(node) || found == wanted.end() ||
               (found->second.image != image && !found->second.image.empty());
    }
    PlacePtr place_of(const NodeId& node, const std::string& socket) {
        PlacePtr& place = places[node];
        if (!place) place = std::make_shared<Place>();
        if (!place->engine) place->engine = known(socket).engine;
        return place;
    }
    static Json handle_of(const std::string& socket) { return Json::object({{"socket", socket}}); }
    void forget(const NodeId& node) {
        const auto found = places.find(node);
        if (found == places.end()) return;
        if (found->second->bridge) found->second->bridge->stop();
        places.erase(found);
    }
    template <class T>
    void heard(const std::string& socket, const Result<T>& answer) {
        known(socket).trouble = answer ? std::nullopt : std::optional(answer.error());
    }

    static Task<Result<Json>> look(std::shared_ptr<State> self, std::string socket);
    static Task<Result<void>> read_programs(std::shared_ptr<State> self);
    static Task<Result<std::string>> pulled(std::shared_ptr<State> self, NodeId id,
                                            std::shared_ptr<Engine> engine, std::string image,
                                            ContainerSettings::Pull policy);
    static Task<Result<std::string>> built(std::shared_ptr<State> self, NodeRequest request,
                                           std::shared_ptr<Engine> engine, BuiltImage image,
                                           ContainerSettings settings, Json facts);
    Json document_of(const NodeRequest& request, const ContainerSettings& settings,
                     const std::string& image, const std::string& image_id,
                     const Json& facts) const;
    static Task<Result<void>> begin(std::shared_ptr<State> self, NodeRequest request);
    static Task<void> provide(std::shared_ptr<State> self, NodeId id);
    static Task<void> let_go(std::shared_ptr<State> self, NodeId id);
    static Task<Result<void>> end_all(std::shared_ptr<State> self, NodeId id, PlacePtr place);
    void keep_relay(const NodeId& id, const PlacePtr& place);
    static Task<void> relay(std::shared_ptr<State> self, NodeId id, PlacePtr place);
    static Task<void> list_one(std::shared_ptr<State> self, std::string socket,
                               std::shared_ptr<std::map<NodeId, FoundNode>> found);
    static Task<void> list_all(std::shared_ptr<State> self, Answer answer);
};

// ---- what is read once ----

Task<Result<void>> ContainerProvider::State::read_programs(std::shared_ptr<State> self) {
    for (const bool is_agent : {true, false}) {
        const std::string path = is_agent ? self->options.agent : self->options.uv;
        if (path.empty() || !(is_agent ? self->agent : self->uv).empty()) continue;
        std::function<Result<std::string>()> read = [path] { return read_file(path, 256 << 20); };
        Result<std::string> bytes = co_await apart(self->loop, std::move(read));
        if (bytes)
            (is_agent ? self->agent : self->uv) = std::move(*bytes);
        else if (is_agent)
            co_return Failure(bytes.error());
    }
    co_return Result<void>();
}

// What the engine is; remembered.
Task<Result<Json>> ContainerProvider::State::look(std::shared_ptr<State> self, std::string socket) {
    const std::shared_ptr<Engine> engine = self->known(socket).engine;
    Result<Json> facts = co_await engine->look();
    if (facts) self->known(socket).facts = *facts;
    co_return facts;
}

// ---- provision ----

// The image's id, when the engine has it.
Task<Result<std::string>> ContainerProvider::State::pulled(std::shared_ptr<State> self, NodeId id,
                                                           std::shared_ptr<Engine> engine,
                                                           std::string image,
                                                           ContainerSettings::Pull policy) {
    if (!fits_as_image(image))
        co_return fail(Code::InvalidArgument, kImageNotThere,
                       "expected the name of an image, such as python:3.11, found " + shown(image),
                       image);
    if (policy != ContainerSettings::Pull::Always) {
        const Result<Json> there = co_await engine->image(image);
        if (there) co_return there->at("Id").as_string();
        if (there.error().code == Code::Unavailable) co_return Failure(there.error());
        if (policy == ContainerSettings::Pull::Never)
            co_return fail(Code::InvalidArgument, kImageNotThere,
                           "image '" + image +
                               "' is not there, and the pool's settings say `pull: never`: " +
                               there.error().message,
                           image);
    }
    Result<void> done;
    const Failure ended = fail(Code::Canceled, "Canceled", "the node is not wanted any more");
    Span pause = kPullAgain;
    for (int i = 1;; ++i) {
        self->say(id, std::string(kPulling) + image);
        auto told = std::make_shared<Span>(self->clock.since_boot());
        std::function<void(std::string)> says = [self, id, image, told](const std::string& words) {
            if (self->clock.since_boot() - *told < 1s) return;
            *told = self->clock.since_boot();
            self->say(id, std::string(kPulling) + image + ": " + words);
        };
        done = co_await engine->pull(image, std::move(says));
        if (self->over) co_return ended;
        if (done || done.error().code != Code::Unavailable || i == kPullTries) break;
        self->say(id, done.error().message + "; tried again in " + to_words(pause));
        for (Span left = pause; left > Span{}; left -= 1s) {
            co_await self->loop.sleep(std::min<Span>(left, 1s));
            if (self->unwanted(id, image)) co_return ended;
        }
        pause = std::min(kLongestPullPause, pause * 2);
    }
    if (!done) {
        // One that is pulled always may be there all the same, but not what was asked for.
        const Result<Json> engine_there = co_await engine->look();
        Error why = engine_there ? done.error() : engine_there.error();
        if (engine_there) {
            why.reason = kImageNotThere;
            why.subject = image;
        }
        co_return Failure(std::move(why));
    }
    const Result<Json> there = co_await engine->image(image);
    if (!there) co_return Failure(there.error());
    co_return there->at("Id").as_string();
}

// The same of one that is built from a Dockerfile.
Task<Result<std::string>> ContainerProvider::State::built(std::shared_ptr<State> self,
                                                          NodeRequest request,
                                                          std::shared_ptr<Engine> engine,
                                                          BuiltImage image,
                                                          ContainerSettings settings, Json facts) {
    ImageBuilds::Wanted wanted;
    wanted.workspace = request.id.substr(0, request.id.find('/'));
    wanted.image = std::move(image);
    wanted.instance = self->instance;
    const Slot slot = slot_of(request, facts);
    wanted.memory = slot.memory;
    wanted.cores = slot.cores;
    std::function<bool()> unwanted = [self, id = request.id, name = request.image] {
        return self->unwanted(id, name);
    };
    auto told = std::make_shared<Span>();
    std::function<void(std::string)> says = [self, id = request.id, told](std::string words) {
        if (self->clock.since_boot() - *told < 1s) return;
        *told = self->clock.since_boot();
        self->say(id, std::move(words));
    };
    co_return co_await self->builds->built(std::move(engine), std::move(settings),
                                           std::move(wanted), std::move(says), std::move(unwanted));
}

Json ContainerProvider::State::document_of(const NodeRequest& request,
                                           const ContainerSettings& settings,
                                           const std::string& image, const std::string& image_id,
                                           const Json& facts) const {
    const std::string user = std::to_string(settings.user);
    Json command = Json::array();
    const auto say_words = [&](std::initializer_list<std::string> words) {
        for (const std::string& word : words) command.push(word);
    };
    // Environments are built for one interpreter: another image has another folder.
    const std::string hash = to_hex(sha256(image_id)).substr(0, 16);
    say_words({"init", "--server", "unix:/turnout/run/server.sock", "--node", request.id,
               "--folder", "/turnout/node", "--cache", "/turnout/cache/" + hash, "--token-file",
               "/turnout/node.token", "--image", request.image});
    if (!uv.empty()) say_words({"--uv", "/turnout/bin/uv"});
    if (!settings.python.empty()) say_words({"--python", settings.python});
    // Who is no user of the image has a home, and a name, all the same.
    Json variables = Json::array(
        {"HOME=/turnout/home", "USER=turnout", "LOGNAME=turnout", "TMPDIR=/turnout/tmp"});
    for (const auto& [name, value] : settings.variables) variables.push(name + "=" + value);

    const std::string workspace = request.id.substr(0, request.id.find('/'));
    Json labels = Json::object({{std::string(kServerLabel), instance},
                                {std::string(kNodeLabel), request.id},
                                {std::string(kImageLabel), request.image}});
    Json cache = Json::object(
        {{"Type", "volume"},
         {"Source", "turnout-" + instance + "-" + workspace + "-" + user},
         {"Target", "/turnout/cache"},
         {"VolumeOptions",
          Json::object({{"Labels", Json::object({{std::string(kServerLabel), instance}})}})}});
    Json host = Json::object({{"CapDrop", Json::array({"ALL"})},
                              {"SecurityOpt", Json::array({"no-new-privileges"})},
                              {"Privileged", false},
                              {"PidsLimit", settings.processes},
                              {"Mounts", Json::array({std::move(cache)})}});
    const Slot slot = slot_of(request, facts);
    if (slot.cores > 0) host.set("NanoCpus", slot.cores * 1'000'000'000);
    if (slot.memory > 0) {
        host.set("Memory", slot.memory);
        host.set("MemorySwap", slot.memory);  // that is: no swap
        host.set("ShmSize", slot.memory / 2);
    }
    if (!settings.network.empty()) host.set("NetworkMode", settings.network);
    if (request.gpus > 0 && facts.at("nvidia").as_bool())
        host.set(
            "DeviceRequests",
            Json::array({Json::object({{"Driver", "nvidia"},
                                       {"Count", request.gpus},
                                       {"Capabilities", Json::array({Json::array({"gpu"})})}})}));
    return Json::object({{"Image", image},
                         {"Entrypoint", Json::array({std::string(kAgentInside)})},
                         {"Cmd", std::move(command)},
                         {"Env", std::move(variables)},
                         {"User", user + ":" + user},
                         {"WorkingDir", "/turnout/node"},
                         {"Labels", std::move(labels)},
                         {"StopSignal", "SIGTERM"},
                         {"HostConfig", std::move(host)}});
}

Task<Result<void>> ContainerProvider::State::begin(std::shared_ptr<State> self,
                                                   NodeRequest request) {
    const auto stopped = [self, id = request.id] {
        return self->over || self->leaving.contains(id);
    };
    const Failure ended = fail(Code::Canceled, "Canceled", "the node is not wanted any more");
    const ContainerSettings settings = read_container_settings(request.settings);
    const std::string socket = request.handle.at("socket").as_string(settings.socket);
    const PlacePtr place = self->place_of(request.id, socket);
    const std::shared_ptr<Engine> engine = place->engine;
    place->user = std::to_string(settings.user);

    Result<std::vector<Engine::Found>> there =
        co_await engine->list(std::string(kNodeLabel), request.id);
    if (stopped()) co_return ended;
    self->heard(socket, there);
    if (!there) co_return Failure(there.error());
    std::erase_if(*there, [](const Engine::Found& one) { return one.state == "removing"; });
    std::optional<Engine::Found> own;
    for (const Engine::Found& one : *there)
        if (one.image == request.image && (one.state == "running" || one.state == "exited"))
            own = one;
    if (own && own->state == "running") {
        place->container = own->id;
        self->keep_relay(request.id, place);
        co_return Result<void>();
    }
    std::string id;
    Archive files;
    if (own) {
        id = own->id;  // with what the agent wrote down there: it tells what became of its tasks
    } else {
        TURNOUT_CO_TRY_VOID(co_await read_programs(self));
        TURNOUT_CO_TRY(const Json facts, co_await look(self, engine->socket()));
        if (stopped()) co_return ended;
        TURNOUT_CO_TRY_VOID(fits(request, facts));
        const std::string image = request.image.empty() ? settings.image : request.image;
        // Before the one in its place ends: if there is no such image, that goes on.
        Result<std::string> has_image = std::string();
        if (const auto from_dockerfile = read_built_image(image))
            has_image = co_await built(self, request, engine, *from_dockerfile, settings, facts);
        else
            has_image = co_await pulled(self, request.id, engine, image, settings.pull);
        if (stopped()) co_return ended;
        TURNOUT_CO_TRY(const std::string image_id, std::move(has_image));
        for (const Engine::Found& one : *there) {
            Result<void> gone = co_await engine->remove(one.id);
            if (stopped()) co_return ended;
            if (!gone) co_return gone;
        }
        self->say(request.id, "starting a container of " + image);
        // Before anything of it is there.
        if (self->events.handle) self->events.handle(request.id, handle_of(engine->socket()));
        TURNOUT_CO_TRY(
            id, co_await engine->create(
                    name_of_container(self->instance, request.id),
                    self->document_of(request, settings, read_built_image(image) ? image_id : image,
                                      image_id, facts)));
        if (stopped()) co_return ended;
        for (const char* const folder : {"turnout", "turnout/bin"}) files.folder(folder, 0, 0755);
        files.file("turnout/bin/turnout-agent", 0, 0755, self->agent);
        if (!self->uv.empty()) files.file("turnout/bin/uv", 0, 0755, self->uv);
        for (const char* const folder :
             {"turnout/node", "turnout/run", "turnout/home", "turnout/cache", "turnout/tmp"})
            files.folder(folder, settings.user, 0700);
    }
    files.file("turnout/node.token", settings.user, 0400,
               self->options.node_token(request.id).reveal());
    TURNOUT_CO_TRY_VOID(co_await engine->put(id, files.take()));
    if (stopped()) co_return ended;
    TURNOUT_CO_TRY_VOID(co_await engine->start(id));
    if (stopped()) co_return ended;
    place->container = id;
    self->keep_relay(request.id, place);
    self->say(request.id, "its agent was started in a container of " + socket);
    co_return Result<void>();
}

Task<void> ContainerProvider::State::provide(std::shared_ptr<State> self, NodeId id) {
    for (;;) {
        const NodeRequest request = self->wanted.at(id);
        Result<void> done = co_await begin(self, request);
        if (self->over) co_return;
        const bool again = self->wanted.at(id).image != request.image;
        if (!again || self->leaving.contains(id)) self->wanted.erase(id);
        if (self->leaving.contains(id)) co_return;
        // What was given up since another image is wanted did not fail.
        if (!done && done.error().code != Code::Canceled) self->events.failed(id, done.error());
        if (!again || self->over) co_return;
    }
}

void ContainerProvider::provision(const NodeRequest& node) {
    State& s = *state_;
    if (s.leaving.contains(node.id)) return;
    const bool fresh = !s.wanted.contains(node.id);
    s.wanted[node.id] = node;
    // So that a list that fails to reach its engine names it.
    const std::string usual = read_container_settings(node.settings).socket;
    (void)s.place_of(node.id, node.handle.at("socket").as_string(usual));
    if (!fresh) return;
    s.loop.post([state = state_, id = node.id] {
        if (!state->over) turnout::start(State::provide(state, id), [] {});
    });
}

// ---- release ----

// Its agent was told to leave; what has not left in time is killed.
Task<Result<void>> ContainerProvider::State::end_all(std::shared_ptr<State> self, NodeId id,
                                                     PlacePtr place) {
    const std::shared_ptr<Engine> engine = place->engine;
    const Span until = self->clock.since_boot() + self->options.leaving;
    for (;;) {
        TURNOUT_CO_TRY(const std::vector<Engine::Found> there,
                       co_await engine->list(std::string(kNodeLabel), id));
        if (self->over) co_return Result<void>();
        bool runs = false;
        for (const Engine::Found& one : there)
            if (one.state == "running") {
                runs = true;
                place->container = one.id;
                self->keep_relay(id, place);  // what it is told goes through it
            }
        if (runs && self->clock.since_boot() < until) {
            co_await self->loop.sleep(kLookAtEnd);
            if (self->over) co_return Result<void>();
            continue;
        }
        for (const Engine::Found& one : there) {
            TURNOUT_CO_TRY_VOID(co_await engine->remove(one.id));
            if (self->over) co_return Result<void>();
        }
        // The engine's word that none is left is the proof.
        TURNOUT_CO_TRY(const std::vector<Engine::Found> left,
                       co_await engine->list(std::string(kNodeLabel), id));
        if (left.empty() || self->over) co_return Result<void>();
        co_await self->loop.sleep(kLookAtEnd);
        if (self->over) co_return Result<void>();
    }
}

Task<void> ContainerProvider::State::let_go(std::shared_ptr<State> self, NodeId id) {
    while (self->wanted.contains(id) && !self->over) co_await self->loop.sleep(20ms);
    Span pause = 500ms;
    for (;;) {
        if (self->over) co_return;
        // Of one without a handle nobody knows where it is, or whether it ever was.
        std::vector<std::string> sockets;
        if (!self->places.contains(id))
            for (const auto& [socket, known] : self->engines) sockets.push_back(socket);
        bool unknown = false;
        for (const std::string& socket : sockets) {
            const std::shared_ptr<Engine> engine = self->known(socket).engine;
            const Result<std::vector<Engine::Found>> there =
                co_await engine->list(std::string(kNodeLabel), id);
            if (self->over) co_return;
            unknown = unknown || !there;
            if (there && !there->empty()) (void)self->place_of(id, socket);
        }
        const auto found = self->places.find(id);
        if (found == self->places.end() && !unknown) break;
        if (found == self->places.end()) {
            co_await self->loop.sleep(pause);
            pause = std::min(kLongestEndRetry, pause * 2);
            continue;
        }
        const PlacePtr place = found->second;
        const Result<void> done = co_await end_all(self, id, place);
        if (self->over) co_return;
        self->heard(place->engine->socket(), done);
        if (done) break;
        co_await self->loop.sleep(pause);
        pause = std::min(kLongestEndRetry, pause * 2);
    }
    self->forget(id);
    self->leaving.erase(id);
    self->events.gone(id);
}

void ContainerProvider::release(const NodeId& node, const Json& handle) {
    State& s = *state_;
    if (!s.leaving.insert(node).second) return;
    if (const std::string socket = handle.at("socket").as_string(); !socket.empty())
        (void)s.place_of(node, socket);
    s.loop.post([state = state_, node] {
        if (!state->over) turnout::start(State::let_go(state, node), [] {});
    });
}

// ---- the relay ----

void ContainerProvider::State::keep_relay(const NodeId& id, const PlacePtr& place) {
    if (over || place->relaying) return;
    place->relaying = true;
    turnout::start(relay(shared_from_this(), id, place), [] {});
}

Task<void> ContainerProvider::State::relay(std::shared_ptr<State> self, NodeId id, PlacePtr place) {
    const auto wanted_still = [self, id, place] {
        const auto found = self->places.find(id);
        return !self->over && found != self->places.end() && found->second == place;
    };
    Span pause = kFirstTry;
    while (wanted_still()) {
        const std::string container = place->container;
        const Span began = self->clock.since_boot();
        std::vector<std::string> command = {std::string(kAgentInside), "relay", "--stdio",
                                            "--socket", "/turnout/run/server.sock"};
        Result<std::unique_ptr<http::Stream>> stream =
            co_await place->engine->run(container, std::move(command), place->user);
        if (!wanted_still()) break;
        if (stream) {
            const auto bridge = std::make_shared<link::Bridge>(self->loop, self->clock,
                                                               std::move(*stream), self->offers);
            place->bridge = bridge;
            (void)co_await bridge->run();
            place->bridge.reset();
            if (!wanted_still()) break;
        } else if (stream.error().code == Code::NotFound && container == place->container) {
            break;  // it went behind our back; who is asked for again gets another
        }
        if (self->clock.since_boot() - began > kRelayHeld) pause = kFirstTry;
        if (container != place->container) continue;  // another took its place
        co_await self->loop.sleep(pause);
        pause = std::min(kLongestTry, pause * 2);
    }
    place->relaying = false;
}

// ---- list ----

Task<void> ContainerProvider::State::list_one(std::shared_ptr<State> self, std::string socket,
                                              std::shared_ptr<std::map<NodeId, FoundNode>> found) {
    const std::shared_ptr<Engine> engine = self->known(socket).engine;
    std::set<NodeId> before;
    for (const auto& [id, place] : self->places)
        if (place->engine == engine) before.insert(id);
    Result<std::vector<Engine::Found>> there =
        co_await engine->list(std::string(kServerLabel), self->instance);
    if (self->over) co_return;
    self->heard(socket, there);
    const auto add = [&](const NodeId& id, FoundNode::Is is) {
        (*found)[id] = {is, id, handle_of(socket)};
    };
    if (there) {
        for (const Engine::Found& one : *there) {
            if (!fits_as_node(one.node) || one.state == "removing") continue;
            // What has ended may be started again.
            add(one.node, one.state == "running" ? FoundNode::Is::Alive : FoundNode::Is::Unknown);
        }
    } else {
        for (const NodeId& id : before) add(id, FoundNode::Is::Unknown);
    }
    for (const auto& [id, place] : self->places) {
        if (place->engine != engine) continue;
        if (self->leaving.contains(id))
            add(id, FoundNode::Is::Ending);
        else if (self->wanted.contains(id) && !found->contains(id))
            add(id, FoundNode::Is::Starting);
    }
}

Task<void> ContainerProvider::State::list_all(std::shared_ptr<State> self, Answer answer) {
    const auto found = std::make_shared<std::map<NodeId, FoundNode>>();
    std::vector<std::string> sockets;
    for (const auto& [socket, known] : self->engines) sockets.push_back(socket);
    for (const std::string& socket : sockets) {
        co_await list_one(self, socket, found);
        if (self->over) co_return;
    }
    std::vector<FoundNode> nodes;
    for (auto& [id, one] : *found) nodes.push_back(std::move(one));
    answer(std::move(nodes));
}

void ContainerProvider::list(Answer answer) {
    state_->loop.post([state = state_, answer = std::move(answer)] {
        if (!state->over) turnout::start(State::list_all(state, answer), [] {});
    });
}

// ---- the rest ----

ContainerProvider::ContainerProvider(AsioLoop& loop, ContainerProviderOptions options,
                                     ProviderEvents events)
    : state_(std::make_shared<State>(loop, std::move(options), std::move(events))) {}

ContainerProvider::~ContainerProvider() {
    state_->over = true;
    state_->builds->end();
    for (const auto& [id, place] : state_->places)
        if (place->bridge) place->bridge->stop();
}

Result<void> ContainerProvider::open() {
    State& s = *state_;
    TURNOUT_TRY(make_directories(s.options.folder, 0700));
    const std::string name_file = s.options.folder + "/instance";
    if (access(name_file.c_str(), F_OK) != 0) {
        PosixRandom random;
        TURNOUT_TRY(write_file_atomically(name_file, to_hex(random.bytes(6)) + "\n", 0600));
    }
    const std::string name = TURNOUT_TRY(read_file(name_file));
    s.instance = std::string(trim(name));
    s.offers["server"] = TURNOUT_TRY(http::unix_address(s.options.server_socket));
    return {};
}

void ContainerProvider::set_pools(std::span<const Pool> pools) {
    for (const Pool& pool : pools) {
        const std::string socket = read_container_settings(pool.settings).socket;
        if (state_->engines.contains(socket)) continue;
        (void)state_->known(socket);
        // So that what does not fit there is known before it is asked for.
        state_->loop.post([state = state_, socket] {
            if (!state->over)
                turnout::start(State::look(state, socket), [](const Result<Json>&) {});
        });
    }
}

Capabilities ContainerProvider::capabilities() const {
    Capabilities can;
    can.images = true;
    can.handles = true;
    return can;
}

Json ContainerProvider::describe(const Json& settings) const {
    State& s = *state_;
    const std::string socket = read_container_settings(settings).socket;
    Json one = Json::object({{"host", "unix://" + socket}});
    const auto found = s.engines.find(socket);
    std::int64_t nodes = 0;
    for (const auto& [id, place] : s.places) nodes += place->engine->socket() == socket;
    one.set("nodes", nodes);
    const bool trouble = found != s.engines.end() && found->second.trouble;
    one.set("state", trouble ? "avoided" : nodes > 0 ? "connected" : "unused");
    if (trouble) one.set("message", found->second.trouble->message);
    if (found != s.engines.end() && found->second.facts.is_object())
        for (const char* const name : {"cores", "memoryBytes"})
            one.set(name, found->second.facts.at(name));
    return Json::array({std::move(one)});
}

Task<Json> ContainerProvider::check(Json settings) {
    const std::shared_ptr<State> state = state_;
    const ContainerSettings pool = read_container_settings(settings);
    // Of its own: the file may not be what the server works by.
    const auto engine = std::make_shared<Engine>(state->loop, pool.socket);
    Json one = Json::object({{"host", "unix://" + pool.socket}});
    const Result<Json> facts = co_await engine->look();
    one.set("reachable", facts.has_value());
    if (!facts) {
        one.set("message", facts.error().message);
        co_return Json::array({std::move(one)});
    }
    one.set("system", facts->at("name").as_string() + " " + facts->at("version").as_string() +
                          " (API " + facts->at("api").as_string() + ")");
    for (const char* name : {"cores", "memoryBytes", "machine", "cgroup", "images", "limits"})
        one.set(name, facts->at(name));
    const Result<Json> image = co_await engine->image(pool.image);
    Json image_says = Json::object({{"name", pool.image}, {"there", image.has_value()}});
    if (!image && image.error().code != Code::NotFound)
        image_says.set("message", image.error().message);
    if (!image && pool.pull == ContainerSettings::Pull::Never)
        image_says.set("message", "it is not there, and `pull: never` keeps it from being pulled");
    one.set("image", std::move(image_says));
    const Result<std::vector<Engine::Found>> there =
        co_await engine->list(std::string(kServerLabel), state->instance);
    if (there) one.set("nodes", static_cast<std::int64_t>(there->size()));
    // Where its files are on this machine, as they are for a socket of this machine mostly.
    const std::string root = facts->at("root").as_string();
    if (const Result<std::uint64_t> space = free_space(root))
        one.set("freeBytes", static_cast<std::int64_t>(*space));
    co_return Json::array({std::move(one)});
}

}  // namespace turnout

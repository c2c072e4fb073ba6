// A container engine, by Docker's API on a Unix socket: Docker's and Podman's alike. One request,
// one function; what they mean together is the provider's.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"

namespace turnout {

// Errors say the engine's own words. Unavailable: it cannot be reached, or not now; NotFound: there
// is no such container or image; Conflict: it is not in a state for that; InvalidArgument: it will
// not do that. Whoever asks holds it until the answer is there.
class Engine {
public:
    Engine(AsioLoop& loop, std::string socket);
    const std::string& socket() const { return socket_; }

    // What it is: {name, version, api, cores, memoryBytes, cgroup, machine, root, images,
    // nvidia, limits}.
    Task<Result<Json>> look();

    // Its document, with Id and Config.
    Task<Result<Json>> image(std::string name);
    // `says`: how far it is. The error's code is InvalidArgument where the registry or the engine
    // says no, and Unavailable where another try may do.
    Task<Result<void>> pull(std::string name, std::function<void(std::string)> says);

    struct Build {
        std::string tag;                            // what it is called from then on
        std::string dockerfile;                     // beneath its context
        std::unique_ptr<http::BodyReader> context;  // a tar
        Json labels = Json::object();
        std::string network;  // of its steps; "": the engine's usual one
        bool pull = false;    // what it is built on, also where the engine has some of that name
        std::int64_t memory = 0, cores = 0;  // of a step; 0: as the engine has it
        std::vector<std::pair<std::string, std::string>> arguments;  // for its ARG lines
    };
    // As pull() does; what the steps said last is in the error's words. Where `says` answers no,
    // the build is ended, Canceled.
    Task<Result<void>> build(Build what, std::function<bool(std::string)> says);
    Task<Result<void>> remove_image(std::string name);  // one that is gone is removed

    struct Found {
        std::string id, node, image, state;  // by its labels; "running", "exited" …
    };
    // All that have the label, running or not.
    Task<Result<std::vector<Found>>> list(std::string label, std::string value);
    Task<Result<std::string>> create(std::string name, Json what);       // its id
    Task<Result<void>> put(std::string container, std::string archive);  // into "/"
    Task<Result<void>> start(std::string container);
    Task<Result<void>> remove(std::string container);  // at once; one that is gone is removed
    // A program in it, its input and output.
    Task<Result<std::unique_ptr<http::Stream>>> run(std::string container,
                                                    std::vector<std::string> command,
                                                    std::string user);

private:
    struct Answer {
        int status = 0;
        std::string body;
    };
    struct Went {
        std::string why;      // it failed; "": it did not
        bool broken = false;  // nobody heard the end
        bool ended = false;   // nobody wanted to
        std::string log;
    };
    // Hears what the engine says while it works, to its end, or until `says` answers no.
    Task<Went> follow(http::ClientResponse response, std::function<bool(std::string)> says);
    Task<Result<Answer>> ask(http::ClientRequest request);
    http::ClientRequest request(std::string method, std::string url) const;

    std::string socket_;
    std::shared_ptr<http::Client> client_;
};

// The labels by which a node is found again.
inline constexpr std::string_view kServerLabel = "turnout.server";
inline constexpr std::string_view kNodeLabel = "turnout.node";
inline constexpr std::string_view kImageLabel = "turnout.image";  // as it was asked for

}  // namespace turnout

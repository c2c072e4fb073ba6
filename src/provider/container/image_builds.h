// Images that an engine builds from Dockerfiles: each context once, whoever waits for it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/task.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "model/built_image.h"
#include "provider/container/engine.h"
#include "provider/container/settings.h"

namespace turnout {

// What an image is built from.
struct ImageContext {
    std::unique_ptr<http::BodyReader> tar;
    std::string dockerfile;  // beneath it
};
// For a node of that workspace. FailedPrecondition: it is not what it was when the job came.
using FindImageContext =
    std::function<Result<ImageContext>(const std::string& workspace, const BuiltImage& image)>;

class ImageBuilds : public std::enable_shared_from_this<ImageBuilds> {
public:
    ImageBuilds(AsioLoop& loop, FindImageContext find) : loop_(loop), find_(std::move(find)) {}

    struct Wanted {
        std::string workspace;
        BuiltImage image;
        std::string instance;  // label of what this server made
        std::int64_t memory = 0, cores = 0;
    };
    // The image's id, when the engine has it. A build ends with the last who waits for it, as soon
    // as its step says something. `says`: how far it is. Errors have the reason kImageNotThere
    // where it can never be had.
    Task<Result<std::string>> built(std::shared_ptr<Engine> engine, ContainerSettings settings,
                                    Wanted wanted, std::function<void(std::string)> says,
                                    std::function<bool()> waits_no_more);
    void end() { over_ = true; }

private:
    struct Build {
        bool done = false;
        int waiters = 0;
        Result<void> went;
        std::string words;  // how far it is
    };
    static Task<void> run(std::shared_ptr<ImageBuilds> self, std::shared_ptr<Engine> engine,
                          Engine::Build what, std::string key, std::shared_ptr<Build> build);

    AsioLoop& loop_;
    const FindImageContext find_;
    std::map<std::string, std::shared_ptr<Build>> builds_;  // that go on, by what is built how
    std::map<std::string, int> failed_;  // how often one after the other, of what may pass
    bool over_ = false;
};

}  // namespace turnout

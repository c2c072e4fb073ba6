// Bodies of requests that are held in memory until they are answered, within what all of them may
// have together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/task.h"
#include "io/http.h"

namespace turnout::api {

class Bodies {
public:
    using Body = std::shared_ptr<const std::string>;  // shared with who gets a copy; the last frees

    explicit Bodies(std::size_t most) : held_(std::make_shared<Held>(Held{most, 0})) {}

    // All of it. Room is taken for `length` before anything is read, else as it comes.
    // ResourceExhausted: "RequestEntityTooLarge", it has more than `limit`; "TooManyRequests",
    // there is no room for it now.
    Task<Result<Body>> read(http::BodyReader& from, std::optional<std::uint64_t> length,
                            std::size_t limit);
    std::size_t held() const { return held_->now; }

private:
    struct Held {
        std::size_t most, now;
    };
    // One body, with the room that it takes.
    struct One {
        explicit One(std::shared_ptr<Held> all) : of(std::move(all)) {}
        One(const One&) = delete;
        One& operator=(const One&) = delete;
        ~One() { of->now -= taken; }
        bool take(std::size_t upto);

        std::shared_ptr<Held> of;  // shared: a body may be freed after everything else
        std::size_t taken = 0;
        std::string text;
    };
    std::shared_ptr<Held> held_;
};

// A body that was read, in pieces, as often as it is wanted.
class HeldBody final : public http::BodyReader {
public:
    explicit HeldBody(Bodies::Body body) : body_(std::move(body)) {}
    Task<Result<std::string>> read() override;

private:
    Bodies::Body body_;
    std::size_t at_ = 0;
};

}  // namespace turnout::api

// A download on its way: a file that grows, and beside it what it is a download of, so that it is
// gone on with after a cut connection or a restart.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/task.h"
#include "io/loop.h"

namespace turnout::fetch {

class Part {
public:
    // `path` is of the file; its facts are in `path`.json. Both may be there from before.
    static Task<Result<std::shared_ptr<Part>>> open(Loop& loop, std::string path);

    const std::string& path() const;
    std::uint64_t size() const;
    // The version that it is of, to go on with; "" if there is none.
    const std::string& etag() const;

    // Empty, and of that version from now on.
    static Task<Result<void>> begin(std::shared_ptr<Part> part, std::string etag);
    static Task<Result<void>> append(std::shared_ptr<Part> part, std::string bytes);
    // What it has is there after a power cut, too.
    static Task<Result<void>> sync(std::shared_ptr<Part> part);
    static Task<void> remove(std::shared_ptr<Part> part);

    struct State;
    explicit Part(std::unique_ptr<State> state);
    ~Part();

private:
    std::unique_ptr<State> state_;
};

}  // namespace turnout::fetch

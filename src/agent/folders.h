// The folders of attempts. Making and removing them costs more than a short command does, so one
// that its attempt left as it was is given to the next. Used on the loop only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/posix/fd.h"

namespace turnout::agent {

// Open as long as its attempt is known, so that it is looked at quickly and wherever it is.
class AttemptFolder {
public:
    const std::string& path() const { return path_; }
    // Nothing was put into it, or changed, since it was made; not even for a moment.
    bool untouched() const;

private:
    friend class Folders;
    struct Look {  // at one of its folders: changes whenever anything in it is made, removed or
                   // renamed
        std::uint64_t inode = 0;
        std::int64_t changed_ns = 0;
        bool operator==(const Look&) const = default;
    };
    using Looks = std::array<Look, 5>;
    std::optional<Looks> look() const;

    std::string path_;
    Fd folder_;
    std::optional<Looks> made_;  // absent: made so recently that a change might not show
};

class Folders {
public:
    explicit Folders(std::string root) : root_(std::move(root)) {}

    // `root`/`name` with work/outputs, work/logs and tmp, all empty. Conflict if it exists already:
    // an earlier life made it.
    Result<AttemptFolder> make(const std::string& name);
    // The attempt is over, and its folder known to be untouched or not. False if it cannot be used
    // again: it is to be removed.
    bool keep(AttemptFolder folder, bool untouched);
    // Moves what belongs to none of these names out of the way, since an earlier life left it, and
    // an attempt of that name may be leased again at once. Paths of what can be removed at leisure.
    std::vector<std::string> put_aside_others(const std::vector<std::string>& names) const;

private:
    std::string root_;
    std::vector<AttemptFolder> spare_;
};

}  // namespace turnout::agent

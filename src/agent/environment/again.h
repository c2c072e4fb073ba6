// What is tried again while an environment is built: a package index that does not answer is no
// fault of the environment's definition.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "environment/programs.h"

namespace turnout::environment {

// The exit code of our own programs for what may go well the next time (sysexits.h: EX_TEMPFAIL).
inline constexpr int kPasses = 75;

// What kept a program from its end, if that may pass: a server that was not reached, was
// overloaded, or broke off. In the program's own words, on one line; "" if the same would come
// again: a package that is not there, versions that exclude each other, another hash, a
// certificate.
std::string passing_reason(const Ran& ran);

// The runs of one build, which share the patience for what may pass.
class Again {
public:
    using Log = std::function<void(std::string_view)>;
    explicit Again(const Patience& patience) : patience_(patience), pause_(patience.first) {}

    // As environment::run, but a run that failed for what may pass is repeated after a pause; the
    // log says why, and which try comes. What comes back is the last run: `passing` still says
    // whether it was that. Canceled while it runs or waits is the error Canceled.
    Result<Ran> run(const std::vector<std::string>& argv,
                    const std::vector<std::string>& environment, const Log& log,
                    const std::atomic<bool>& cancel);
    int tries() const { return tries_; }

private:
    Patience patience_;
    Span pause_;
    int tries_ = 1;
};

}  // namespace turnout::environment

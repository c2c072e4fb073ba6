// One verb for several things: `turnout job cancel a b c`, `turnout job cancel --all --compute x`.
#pragma once

#include <string>
#include <vector>

#include "cli/context.h"

namespace turnout::cli {

// What a verb asks of one thing, and how it is told.
struct Verb {
    std::string noun;    // "job"
    std::string doing;   // "canceling"
    std::string done;    // "canceled"
    std::string over;    // of one that needs nothing any more: "had ended before"
    std::string asked;   // with --no-wait: "asked to stop"
    std::string detail;  // of a single one that takes long: "its processes are asked to stop"
    std::function<client::Api::Request(const std::string& name)> ask;
    std::function<std::string(const std::string& name)> waits_for =
        {};  // in its place, once it has an answer: what it waits for now
    std::function<std::string(const std::string& name)> result = {};  // what became of a single one
};

// Asks it of each, 16 at a time, and waits until all of that is over. The exit code is that of the
// first failure. "canceled 3 of 4 jobs".
int do_to_each(Context& context, client::Api& api, const std::vector<std::string>& names,
               const Verb& verb);

}  // namespace turnout::cli

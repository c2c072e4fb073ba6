// Whether a shared environment still is what was built. Where tasks have no overlay over it, they
// run as the user that it belongs to, and could have changed it.
#pragma once

#include <string>

namespace turnout::environment {

// Notes beside the folder what it holds; bytecode, which comes later, does not count.
bool note_state(const std::string& folder);
// One stat for each file: 10,000 take about 30 ms. True if nothing was noted.
bool is_intact(const std::string& folder);

}  // namespace turnout::environment

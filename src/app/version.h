#pragma once

namespace turnout {

// "0.1.0 (a1dc90c84)": the version and the commit that this executable was built from, "-dirty"
// after the commit if files had been changed. Without a commit where the source has none.
const char* version();

}  // namespace turnout

// The Pythons that an environment can have: those of this machine, and those that uv can fetch. The
// node picks from them; the server refuses a pin that neither has when a job is submitted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "environment/settings.h"
#include "protocol/agent_protocol.h"

namespace turnout::environment {

// Numbers of a version: {3, 8, 10}; {3, 11} where the patch is not known.
using PythonVersion = std::vector<int>;

struct Python {
    PythonVersion version;
    std::string path;
    bool operator==(const Python&) const = default;
};

enum class Fits { No, Perhaps, Yes };
// "3.8" is all of 3.8, "3.8.10" that one, ">=3.8,<3.11" a range. Perhaps: the patch decides.
Fits fits(const PythonVersion& version, std::string_view request);

// What is there, by names alone: pyenv's versions (not their shims), conda's environments, and
// `python3.N` of PATH, /usr/bin and /usr/local/bin. No program is run.
std::vector<Python> find_pythons(const Settings& settings);

// The one to build with; "" leaves the choice to uv, which looks along PATH and may fetch one.
std::string choose_python(std::string_view request, const Settings& settings);

// uv without the folders of pyenv's shims, which answer to every version and then fail; and where
// it fetches Pythons from and keeps them.
std::vector<std::string> python_variables(const Settings& settings);

// Where Pythons are fetched from, kept beside the cache: what UV_PYTHON_INSTALL_MIRROR may be, or a
// folder. A folder with a `downloads.json` (as of UV_PYTHON_DOWNLOADS_JSON_URL) offers what that
// lists. "" = uv's own place.
std::string python_mirror(const std::string& cache);
// "none" takes it back. InvalidArgument if it is neither a URL nor a folder.
Result<void> set_python_mirror(const std::string& cache, const std::string& mirror);

// Blocking: asks uv what it finds and could fetch (it carries the list), and keeps that in the
// cache for `check_python`.
Result<void> survey_pythons(const Settings& settings);

// InvalidArgument, with those that are nearest, if the pin is of no Python that can be had as far
// as the survey knows; what came since then is looked for. Without a survey nothing is refused.
Result<void> check_python(const agent_protocol::TaskEnvironment& environment,
                          const std::string& cache);

}  // namespace turnout::environment

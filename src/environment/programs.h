// Programs of this machine, found and run for the preparation of environments.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "environment/settings.h"
#include "io/posix/fd.h"

namespace turnout::environment {

// A file's text; "" if it is not there.
std::string read_text(const std::string& path);
// Of settings.environment; "" if it is not there.
std::string variable(const Settings& settings, std::string_view name);
bool executable(const std::string& path);
// A program by its path, or by its name along PATH. "" if there is none.
std::string find_program(const std::string& name, const Settings& settings);
// A setting of pip: the environment's, else the last one of its files. "" if there is none.
std::string pip_setting(const Settings& settings, std::string_view name);

struct Ran {
    int status = -1;               // exit code
    std::deque<std::string> tail;  // its last lines
    bool canceled = false;
    std::string passing;  // see agent/environment/again.h: why it failed, if that may pass
};

// Runs a program, its output to `log`; killed with its group when `cancel` is set.
Result<Ran> run(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
                const std::function<void(std::string_view)>& log, const std::atomic<bool>& cancel);
// Starts a program that nobody waits for, without output.
void start_detached(const std::vector<std::string>& argv,
                    const std::vector<std::string>& environment);
std::string joined(const std::deque<std::string>& lines);

}  // namespace turnout::environment

#include "environment/uv.h"

#include <stdio.h>
#include <unistd.h>

#include "environment/programs.h"

namespace turnout::environment {

std::string find_uv(const Settings& settings) {
    if (!settings.uv.empty()) return executable(settings.uv) ? settings.uv : "";
    if (auto named = variable(settings, "TURNOUT_UV"); !named.empty())
        return executable(named) ? named : "";
    if (!settings.beside.empty()) {
        if (executable(settings.beside + "/uv")) return settings.beside + "/uv";
        const std::string project = settings.beside.substr(0, settings.beside.rfind('/'));
        if (executable(project + "/.venv/bin/uv")) return project + "/.venv/bin/uv";
    }
    return find_program("uv", settings);
}

std::string remember_uv(const std::string& bin, const Settings& settings) {
    const std::string kept = bin + "/uv", found = find_uv(settings);
    if (!found.empty() && found != kept) {
        const std::string made = kept + ".new";
        unlink(made.c_str());
        if (symlink(found.c_str(), made.c_str()) == 0 && rename(made.c_str(), kept.c_str()) != 0)
            unlink(made.c_str());
    }
    return executable(kept) ? kept : "";
}

}  // namespace turnout::environment

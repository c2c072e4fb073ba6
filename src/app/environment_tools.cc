#include "app/environment_tools.h"

#include <unistd.h>

#include <chrono>
#include <thread>

#include "environment/uv.h"
#include "io/posix/processes.h"

namespace turnout {

namespace {

std::string folder_of_executable() {
    char path[4096];
    const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
    const std::string text(path, size > 0 ? static_cast<std::size_t>(size) : 0);
    return text.substr(0, text.rfind('/'));
}

}  // namespace

Result<void> provide_uv(const Instance& instance, const std::string& wanted) {
    environment::Settings settings;
    settings.uv = wanted;
    settings.beside = folder_of_executable();
    for (char** item = environ; *item; ++item) settings.environment.emplace_back(*item);
    if (!wanted.empty() && environment::find_uv(settings).empty())
        return fail(Code::InvalidArgument, "NoUv", "--uv: there is no program '" + wanted + "'",
                    "--uv");
    environment::remember_uv(instance.folder + "/bin", settings);
    return {};
}

void survey_pythons(Loop& loop, const Instance& instance) {
    SpawnRequest request;
    request.program = instance.agent_executable();
    request.arguments = {request.program, "--survey", instance.cache()};
    for (char** item = environ; *item; ++item) request.environment.emplace_back(*item);
    request.directory = "/";
    loop.blocking(
        [request] {
            const Result<ProcessId> process = spawn(request);
            while (process && is_alive(*process))
                std::this_thread::sleep_for(std::chrono::milliseconds(50));
            if (process) reap(process->pid);
        },
        [] {});
}

}  // namespace turnout

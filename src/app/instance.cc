#include "app/instance.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/hash.h"
#include "io/posix/files.h"

// The agent's executable, put here by agent_image.S.
extern "C" const char turnout_agent_image_begin[];
extern "C" const char turnout_agent_image_end[];

// The portal's files, put here by portal_image.S.
extern "C" const char turnout_portal_image_begin[];
extern "C" const char turnout_portal_image_end[];

namespace turnout {

Result<Instance> open_instance(const std::string& folder) {
    Instance instance{folder};
    TURNOUT_TRY(make_directories(folder, 0700));
    struct stat status{};
    if (stat(folder.c_str(), &status) != 0 || status.st_uid != geteuid())
        return fail(
            Code::FailedPrecondition, "DataFolder",
            "the data folder " + folder + " belongs to another user; give another one with --data",
            folder);
    if ((status.st_mode & 077) != 0 && chmod(folder.c_str(), 0700) != 0)
        return fail(Code::FailedPrecondition, "DataFolder",
                    "the data folder " + folder + " is open to others and cannot be closed",
                    folder);
    for (const std::string& inner :
         {instance.blobs(), instance.nodes(), instance.cache(), folder + "/bin"})
        TURNOUT_TRY(make_directories(inner, 0700));
    return instance;
}

Result<api::InstanceKeys> load_keys(const Instance& instance, Random& random) {
    if (::access(instance.keys().c_str(), F_OK) == 0)
        return api::parse_instance_keys(TURNOUT_TRY(read_file(instance.keys())));
    api::InstanceKeys keys = api::make_instance_keys(random);
    TURNOUT_TRY(write_file_atomically(instance.keys(), api::serialize(keys), 0600));
    return keys;
}

KeyFile sealing_key_file(const Instance& instance) {
    const std::string path = instance.sealing_keys();
    return {path,
            [path]() -> Result<std::optional<std::string>> {
                struct stat status{};
                if (stat(path.c_str(), &status) != 0 && errno == ENOENT)
                    return std::optional<std::string>();
                return std::optional<std::string>(TURNOUT_TRY(read_file(path, 64 << 10)));
            },
            [path](const std::string& text) { return write_file_atomically(path, text, 0600); }};
}

Result<void> unpack_agent(const Instance& instance) {
    const std::string_view image(
        turnout_agent_image_begin,
        static_cast<std::size_t>(turnout_agent_image_end - turnout_agent_image_begin));
    const Result<std::string> there = read_file(instance.agent_executable());
    if (there && *there == image) return {};
    // By rename: an agent that runs keeps the file it was started from.
    return write_file_atomically(instance.agent_executable(), image, 0700);
}

Result<api::studio::Pack> portal_pack() {
    return api::studio::Pack::parse(std::string_view(
        turnout_portal_image_begin,
        static_cast<std::size_t>(turnout_portal_image_end - turnout_portal_image_begin)));
}

Result<Json> read_document(const std::string& path) {
    if (::access(path.c_str(), F_OK) != 0) return Json();
    const std::string text = TURNOUT_TRY(read_file(path));
    return parse_json(text);
}

Result<void> write_document(const std::string& path, const Json& document, int mode) {
    return write_file_atomically(path, document.dump_pretty() + "\n", static_cast<mode_t>(mode));
}

}  // namespace turnout

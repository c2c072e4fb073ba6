#include "agent/prefill.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "agent/files.h"
#include "base/json.h"
#include "base/text.h"

namespace turnout::agent {
namespace {

constexpr std::size_t kPrefilledAtOnce = 8;
constexpr std::size_t kLongestList = 64 << 20;

std::string list_of(const Work& work) {
    return work.folder + "/prefilled";
}

// So that the agent's next life, too, knows what is not the command's own: of several nodes one
// would otherwise send it again, over what another has written anew.
Result<void> write_list(const Work& work) {
    Json files = Json::array();
    for (const auto& [path, file] : work.uploaded)
        files.push(Json::array({path.substr(work.folder.size()), file.path,
                                static_cast<std::int64_t>(file.size), file.modified_ns,
                                static_cast<std::int64_t>(file.inode)}));
    return write_file(list_of(work), files.dump());
}

// One blob into `folder`/`relative`, in place of what the code snapshot may have put there.
Task<Result<void>> fetch_one(Server& server, WorkPtr work, std::string container, std::string blob,
                             std::string folder, std::string relative) {
    if (!work->wanted) co_return fail(Code::Canceled, "Canceled", "no longer wanted");
    Fd target(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!target) co_return failed("opening", folder);
    TURNOUT_CO_TRY_VOID(remove_beneath(target.get(), relative));
    auto got = co_await server.get_blob(container, blob, folder, relative, work->task.run_token);
    if (!got && got.error().code == Code::NotFound) co_return Result<void>();  // removed meanwhile
    TURNOUT_CO_TRY_VOID(std::move(got));
    const std::string path = folder + "/" + relative;
    struct stat st;
    if (lstat(path.c_str(), &st) == 0)
        work->uploaded[path] = FileEntry{
            relative, static_cast<std::uint64_t>(st.st_size),
            std::int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec, st.st_ino};
    co_return Result<void>();
}

// All that lies beneath the prefix.
Task<Result<void>> fetch_folder(Server& server, WorkPtr work, std::string container,
                                std::string prefix, std::string folder, std::string beneath) {
    TURNOUT_CO_TRY_VOID(make_folders(folder, 0755));
    TURNOUT_CO_TRY(auto blobs, co_await server.list(container, prefix, work->task.run_token));
    while (prefix.ends_with('/')) prefix.pop_back();
    const auto relative_of = [&](const RemoteBlob& blob) {
        return beneath + blob.name.substr(prefix.empty() ? 0 : prefix.size() + 1);
    };
    std::erase_if(blobs, [&](const RemoteBlob& blob) {
        if (!prefix.empty() && !blob.name.starts_with(prefix + "/")) return true;
        // The marker of an empty folder, or a name that no path can have.
        const std::string relative = relative_of(blob);
        return relative.ends_with('/') || !checked_relative_path(relative, "name of an output");
    });
    std::function<Task<Result<void>>(std::size_t)> fetch = [&](std::size_t i) {
        return fetch_one(server, work, container, blobs[i].name, folder, relative_of(blobs[i]));
    };
    co_return co_await in_parallel(blobs.size(), std::move(fetch), kPrefilledAtOnce);
}

}  // namespace

Task<Result<void>> prefill_outputs(Server& server, WorkPtr work) {
    const auto& artifacts = work->task.artifacts;
    // Beneath the working folder, whose `outputs` may be a link of the snapshot's.
    if (!artifacts.container.empty()) {
        TURNOUT_CO_TRY_VOID(co_await fetch_folder(server, work, artifacts.container,
                                                  joined(artifacts.prefix, "outputs"), work->work(),
                                                  "outputs/"));
    }
    for (std::size_t i = 0; i < work->task.outputs.size(); ++i) {
        const auto output = work->task.outputs[i];
        if (output.target.container.empty()) continue;
        if (!checked_relative_path(output.name, "output") ||
            output.name.find('/') != std::string::npos)
            continue;  // refused later, with words
        if (output.type != "uri_file") {
            TURNOUT_CO_TRY_VOID(co_await fetch_folder(server, work, output.target.container,
                                                      output.target.prefix,
                                                      output_path(*work, output), ""));
            continue;
        }
        const std::string folder = work->folder + "/named", blob = blob_of_file(output);
        TURNOUT_CO_TRY_VOID(make_folders(folder, 0755));
        TURNOUT_CO_TRY(const auto blobs,
                       co_await server.list(output.target.container, blob, work->task.run_token));
        bool there = false;
        for (const auto& each : blobs) there = there || each.name == blob;
        if (!there) continue;
        TURNOUT_CO_TRY_VOID(
            co_await fetch_one(server, work, output.target.container, blob, folder, output.name));
    }
    co_return write_list(*work);
}

void remember_prefilled(Work& work) {
    if (!work.task.prefill_outputs || !exists(list_of(work))) return;
    const auto text = read_file(list_of(work), kLongestList);
    const auto list = text ? parse_json(*text) : Result<Json>(Json::array());
    if (!list) return;
    for (const Json& file : list->items())
        if (file.items().size() == 5)
            work.uploaded.try_emplace(
                work.folder + file.items()[0].as_string(),
                FileEntry{file.items()[1].as_string(),
                          static_cast<std::uint64_t>(file.items()[2].as_int()),
                          file.items()[3].as_int(),
                          static_cast<std::uint64_t>(file.items()[4].as_int())});
}

}  // namespace turnout::agent

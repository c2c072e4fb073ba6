#include "client/hashes.h"

#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "base/hash.h"
#include "base/text.h"
#include "client/files.h"

namespace turnout::client {
namespace {

constexpr std::size_t kKept = 500;
constexpr Span kSettled = 2s;

std::string file_of_hashes() {
    if (const std::string xdg = environment_variable("XDG_CACHE_HOME"); xdg.starts_with('/'))
        return xdg + "/turnout/hashes";
    return home_folder() + "/.cache/turnout/hashes";
}

// "STAMP HASH", the newest last.
std::vector<std::string> read_lines() {
    const auto text = read_file(file_of_hashes());
    if (!text) return {};
    std::vector<std::string> lines = split(*text, '\n');
    std::erase_if(lines,
                  [](const std::string& line) { return line.size() != 129 || line[64] != ' '; });
    return lines;
}

}  // namespace

Result<Stamp> stamp_of(const Snapshot& snapshot, Instant now) {
    Sha256 stamp;
    bool settled = true;
    for (const SnapshotFile& file : snapshot.files) {
        struct stat status{};
        if (::stat(file.path.c_str(), &status) != 0)
            return fail(Code::Conflict, "FileChanged",
                        "'" + file.path + "' is gone: try again when nothing changes it",
                        file.path);
        const auto micros = [](const timespec& at) {
            return std::int64_t{at.tv_sec} * 1'000'000 + at.tv_nsec / 1000;
        };
        settled &= now.micros - std::max(micros(status.st_mtim), micros(status.st_ctim)) >=
                   kSettled.count();
        std::string facts = file.path + "\n" + file.relative;
        for (const std::int64_t number :
             {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
              static_cast<std::int64_t>(status.st_size), std::int64_t{status.st_mtim.tv_sec},
              std::int64_t{status.st_mtim.tv_nsec}, std::int64_t{status.st_ctim.tv_sec},
              std::int64_t{status.st_ctim.tv_nsec}})
            facts += "\n" + std::to_string(number);
        stamp.update(facts + "\n\n");
    }
    return Stamp{to_hex(stamp.finish()), settled};
}

std::optional<std::string> remembered_hash(const std::string& stamp) {
    for (const std::string& line : read_lines())
        if (line.starts_with(stamp + " ")) return line.substr(65);
    return std::nullopt;
}

void remember_hash(const std::string& stamp, const std::string& hash) {
    if (stamp.size() != 64 || hash.size() != 64) return;
    std::vector<std::string> lines = read_lines();
    std::erase_if(lines, [&](const std::string& line) { return line.starts_with(stamp); });
    lines.push_back(stamp + " " + hash);
    if (lines.size() > kKept)
        lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(kKept));
    (void)write_file(file_of_hashes(), join(lines, "\n") + "\n", 0600);
}

}  // namespace turnout::client

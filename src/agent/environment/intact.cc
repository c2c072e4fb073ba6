#include "agent/environment/intact.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <vector>

#include "base/text.h"
#include "environment/programs.h"

namespace turnout::environment {
namespace {

std::string state_file(const std::string& folder) {
    return folder + ".state";
}

std::uint64_t mixed(std::uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
}

struct State {
    std::uint64_t files = 0, sum = 0;  // of all, in whatever order

    // A file that is written to, replaced or linked elsewhere has another of these.
    void add(std::uint64_t place, const struct stat& st) {
        std::uint64_t all = place;
        for (const auto part :
             {static_cast<std::uint64_t>(st.st_ino), static_cast<std::uint64_t>(st.st_size),
              static_cast<std::uint64_t>(st.st_mtim.tv_sec),
              static_cast<std::uint64_t>(st.st_mtim.tv_nsec),
              static_cast<std::uint64_t>(st.st_ctim.tv_sec),
              static_cast<std::uint64_t>(st.st_ctim.tv_nsec)})
            all = mixed(all + 0x9e3779b97f4a7c15ULL + part);
        sum += all;
        ++files;
    }
};

void add_folder(int folder, std::uint64_t place, State& state) {
    DIR* dir = fdopendir(folder);  // takes it over
    if (!dir) {
        close(folder);
        return;
    }
    while (const dirent* entry = readdir(dir)) {
        const std::string_view name = entry->d_name;
        if (name == "." || name == ".." || name == "__pycache__") continue;
        std::uint64_t inside = place;
        for (const char c : name) inside = mixed(inside + static_cast<unsigned char>(c));
        struct stat st;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISDIR(st.st_mode)) {
            state.add(inside, st);
        } else if (const int next = openat(dirfd(dir), entry->d_name,
                                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                   next >= 0) {
            add_folder(next, inside, state);
        }
    }
    closedir(dir);
}

std::string state_of(const std::string& folder) {
    State state;
    if (const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); fd >= 0)
        add_folder(fd, 0, state);
    return std::to_string(state.files) + " files " + std::to_string(state.sum);
}

}  // namespace

bool note_state(const std::string& folder) {
    std::ofstream file(state_file(folder), std::ios::trunc);
    file << state_of(folder) << "\n";
    return file.flush().good();
}

bool is_intact(const std::string& folder) {
    std::ifstream file(state_file(folder));
    std::string noted;
    return !std::getline(file, noted) || noted == state_of(folder);
}

}  // namespace turnout::environment

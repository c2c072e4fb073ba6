#include "agent/environment/bytecode.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "environment/programs.h"

namespace turnout::environment {
namespace {

constexpr std::size_t kMostNeighbours = 8;

constexpr std::string_view kCompile = R"py(
import compileall, os, sys
folder, agent = sys.argv[1], int(sys.argv[2])
os.nice(19)
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
begun = os.stat(folder)
os.makedirs = lambda path, *_, **more: os.mkdir(path)  # none whose parent is gone
for path, folders, files in os.walk(os.path.join(folder, "lib")):
    if not any(name.endswith(".py") for name in files): continue
    os.kill(agent, 0)
    if not os.path.samestat(begun, os.stat(folder)): break  # it is another one by now
    compiled = os.path.join(path, "__pycache__")
    for each in (path, compiled):
        if os.path.isdir(each): os.chmod(each, 0o755)
    compileall.compile_dir(path, 0, quiet=2)
    for each in (compiled, path):
        if os.path.isdir(each): os.chmod(each, 0o555)
)py";

std::vector<std::string> entries_of(int folder, unsigned char type) {
    std::vector<std::string> names;
    const int own = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    if (DIR* dir = own < 0 ? nullptr : fdopendir(own)) {
        rewinddir(dir);
        while (const dirent* entry = readdir(dir))
            if (entry->d_type == type && std::strcmp(entry->d_name, ".") &&
                std::strcmp(entry->d_name, ".."))
                names.emplace_back(entry->d_name);
        closedir(dir);
    } else if (own >= 0) {
        close(own);
    }
    return names;
}

int folder_in(int parent, const std::string& name) {
    return parent < 0
               ? -1
               : openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

bool same_bytes(int one, int other) {
    std::array<char, 64 << 10> a, b;
    for (;;) {
        const ssize_t n = read(one, a.data(), a.size());
        if (n < 0 || read(other, b.data(), b.size()) != n ||
            std::memcmp(a.data(), b.data(), static_cast<std::size_t>(n)) != 0)
            return false;
        if (n == 0) return true;
    }
}

// Bytecode belongs to a source of one size and time: that of an equal copy is set.
bool same_source(int ours, int theirs, const std::string& name, bool linked) {
    struct stat a, b;
    if (fstatat(ours, name.c_str(), &a, AT_SYMLINK_NOFOLLOW) != 0 ||
        fstatat(theirs, name.c_str(), &b, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(a.st_mode) ||
        a.st_size != b.st_size)
        return false;
    if (a.st_dev == b.st_dev && a.st_ino == b.st_ino) return true;
    if (linked) return false;
    const Fd one(openat(ours, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)),
        other(openat(theirs, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!one || !other || !same_bytes(one.get(), other.get())) return false;
    const timespec times[2]{b.st_atim, b.st_mtim};
    return futimens(one.get(), times) == 0;
}

bool copy_into(int from, int to, const std::string& name) {
    const Fd source(openat(from, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    const Fd target(openat(to, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!source || !target) return false;
    std::array<char, 64 << 10> bytes;
    ssize_t n = 0;
    while ((n = read(source.get(), bytes.data(), bytes.size())) > 0)
        if (write(target.get(), bytes.data(), static_cast<std::size_t>(n)) != n) break;
    if (n != 0) unlinkat(to, name.c_str(), 0);
    return n == 0;
}

// "module.cpython-311.pyc" is of "module.py"; "" if it is no bytecode of a source beside it.
std::string source_of(const std::string& name) {
    constexpr std::string_view kEnd = ".pyc", kTag = ".cpython-";
    const std::size_t tag = name.rfind(kTag);
    return name.ends_with(kEnd) && tag != std::string::npos &&
                   name.find('.', tag + kTag.size()) == name.size() - kEnd.size()
               ? name.substr(0, tag) + ".py"
               : "";
}

std::size_t adopt_folder(int ours, const std::vector<int>& theirs, bool linked) {
    std::size_t adopted = 0;
    for (const int their : theirs) {
        const Fd compiled(folder_in(their, "__pycache__"));
        if (!compiled) continue;
        int own = -1;
        for (const auto& name : entries_of(compiled.get(), DT_REG)) {
            const std::string source = source_of(name);
            if (source.empty() || !same_source(ours, their, source, linked)) continue;
            if (own < 0 && (mkdirat(ours, "__pycache__", 0755) == 0 || errno == EEXIST))
                own = folder_in(ours, "__pycache__");
            if (own < 0) break;
            if (linked ? linkat(compiled.get(), name.c_str(), own, name.c_str(), 0) == 0
                       : copy_into(compiled.get(), own, name))
                ++adopted;
        }
        if (own >= 0) close(own);
    }
    for (const auto& name : entries_of(ours, DT_DIR)) {
        if (name == "__pycache__") continue;
        const Fd inside(folder_in(ours, name));
        if (!inside) continue;
        std::vector<int> open;
        for (const int their : theirs)
            if (const int found = folder_in(their, name); found >= 0) open.push_back(found);
        if (!open.empty()) adopted += adopt_folder(inside.get(), open, linked);
        for (const int each : open) close(each);
    }
    return adopted;
}

}  // namespace

std::size_t adopt_bytecode(const std::string& folder, const std::string& mark, bool linked) {
    const std::string parent = folder.substr(0, folder.rfind('/'));
    const Fd environments(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!environments) return 0;
    std::vector<std::pair<std::int64_t, std::string>> neighbours;  // the newest first
    for (const auto& name : entries_of(environments.get(), DT_DIR)) {
        struct stat st;
        if (parent + "/" + name != folder &&
            stat((parent + "/" + name + "/" + mark).c_str(), &st) == 0)
            neighbours.emplace_back(-std::int64_t{st.st_mtim.tv_sec}, parent + "/" + name);
    }
    std::sort(neighbours.begin(), neighbours.end());
    if (neighbours.size() > kMostNeighbours) neighbours.resize(kMostNeighbours);
    const Fd ours(open((folder + "/lib").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    std::vector<int> theirs;
    for (const auto& [age, path] : neighbours)
        if (const int found = open((path + "/lib").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            found >= 0)
            theirs.push_back(found);
    const std::size_t adopted =
        !ours || theirs.empty() ? 0 : adopt_folder(ours.get(), theirs, linked);
    for (const int each : theirs) close(each);
    return adopted;
}

void compile_later(const std::string& folder, const std::vector<std::string>& environment) {
    // -B: what it imports itself is written nowhere, not even where an installation has gone
    // meanwhile.
    start_detached({folder + "/bin/python", "-I", "-B", "-c", std::string(kCompile), folder,
                    std::to_string(getpid())},
                   environment);
}

}  // namespace turnout::environment

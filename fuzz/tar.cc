// A snapshot as a node unpacks it: whatever the stream says, nothing appears outside its folder,
// and nothing in it but files and folders.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "agent/tar.h"

namespace {

// Made once, in memory where there is such a folder; removed at the end.
struct Place {
    std::string root;
    std::string inside;
    Place() {
        std::string pattern = std::filesystem::exists("/dev/shm") ? "/dev/shm/fuzz-tar-XXXXXX"
                                                                  : "/tmp/fuzz-tar-XXXXXX";
        TURNOUT_CHECK(::mkdtemp(pattern.data()) != nullptr, "no folder for the run");
        root = pattern;
        inside = root + "/inside";
    }
    ~Place() { std::filesystem::remove_all(root); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    static const Place place;
    if (size == 0) return 0;
    std::filesystem::create_directory(place.inside);
    {
        Fd folder(::open(place.inside.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        agent::TarReader reader(folder.get());
        std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
        std::size_t piece = 1 + data[0] * 16;
        bool good = true;
        while (good && !bytes.empty()) {
            std::size_t length = std::min(piece, bytes.size());
            good = reader.feed(bytes.substr(0, length)).has_value();
            bytes.remove_prefix(length);
        }
        if (good) (void)reader.finish();
    }
    bool used = false;
    for (const auto& entry : std::filesystem::directory_iterator(place.root))
        TURNOUT_CHECK(entry.path().filename() == "inside", "a file outside the folder");
    for (const auto& entry : std::filesystem::recursive_directory_iterator(place.inside)) {
        used = true;
        TURNOUT_CHECK(entry.symlink_status().type() == std::filesystem::file_type::regular ||
                          entry.symlink_status().type() == std::filesystem::file_type::directory,
                      "neither file nor folder");
    }
    if (used) std::filesystem::remove_all(place.inside);
    return 0;
}

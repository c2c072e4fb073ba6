// The few things the client does with files and the environment: whole files, atomically.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "resources/describe.h"

namespace turnout::client {

Result<std::string> read_file(const std::string& path);
// To a temporary file beside it, then renamed over it. Parent folders are made.
Result<void> write_file(const std::string& path, std::string_view bytes, unsigned mode = 0644);
Result<void> make_folders(const std::string& path, unsigned mode = 0777);

// A folder within `folder` in which files get their bytes before they get their names: whatever
// those are, none of theirs can be one of ours. It goes with this object; what a killed process
// left goes when the next one comes.
class Staging {
public:
    // `taken`: names within `folder` that are going to be used.
    static Result<Staging> make(const std::string& folder, const std::vector<std::string>& taken);
    Staging(Staging&& other) noexcept;
    Staging& operator=(Staging&&) = delete;
    ~Staging();
    std::string file(std::size_t number) const { return path_ + "/" + std::to_string(number); }

private:
    Staging(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
    std::string path_;
    int lock_ = -1;  // held as long as it is in use
};

std::string environment_variable(const char* name);  // "" if unset
std::string home_folder();
std::string current_folder();
std::string absolute_path(std::string_view path);  // not resolved
std::string base_name(std::string_view path);
std::string folder_of(std::string_view path);

// What resources/ asks about this machine, with relative paths from `folder`.
resources::LocalFiles local_files(std::string folder);

}  // namespace turnout::client

#include "app/login_sources.h"

#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <utility>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "io/posix/http_client.h"
#include "io/tls/tls_client.h"

namespace turnout {

namespace {

constexpr std::size_t kLongestFile = 1 << 20, kLongestSecret = 4096;

std::string in_folder(const Instance& instance, const std::string& path) {
    return path.starts_with('/') ? path : instance.folder + "/" + path;
}

Result<Secret> read_client_secret(const std::string& path, const std::string& file) {
    const auto wrong = [&](const std::string& why) {
        return invalid(file + ": client_secret_file is '" + path + "': " + why,
                       "client_secret_file");
    };
    struct stat found{};
    if (::stat(path.c_str(), &found) != 0) return wrong("there is no such file");
    if (!S_ISREG(found.st_mode) || (found.st_mode & 077) != 0)
        return wrong("others can read it: `chmod 600` it");
    Result<std::string> text = read_file(path, kLongestSecret);
    if (!text) return wrong(text.error().message);
    std::string secret(trim(*text));
    if (secret.empty()) return wrong("it is empty");
    return Secret(std::move(secret));
}

Result<std::optional<oidc::Settings>> read_oidc(const Instance& instance) {
    const std::string file = instance.oidc();
    if (::access(file.c_str(), F_OK) != 0) return std::optional<oidc::Settings>();
    const std::string text = TURNOUT_TRY(read_file(file, kLongestFile));
    oidc::Settings settings = TURNOUT_TRY(oidc::parse_settings(text, file));
    if (!settings.client_secret_file.empty())
        settings.client_secret =
            TURNOUT_TRY(read_client_secret(in_folder(instance, settings.client_secret_file), file));
    if (!settings.ca_file.empty()) settings.ca_file = in_folder(instance, settings.ca_file);
    return std::optional<oidc::Settings>(std::move(settings));
}

}  // namespace

api::LoginSources login_sources(AsioLoop& loop, const Instance& instance) {
    api::LoginSources sources;
    sources.settings = [&loop, &instance] {
        std::function<Result<std::optional<oidc::Settings>>()> work = [&instance] {
            return read_oidc(instance);
        };
        return apart(loop, std::move(work));
    };
    // The provider is an address that the operator named, so it may be of their own network.
    sources.client =
        [&loop](const oidc::Settings& settings) -> Result<std::unique_ptr<http::Client>> {
        http::ClientOptions options;
        options.tls = TURNOUT_TRY(http::make_tls_connector(settings.ca_file));
        options.idle_per_origin = 2;
        return http::make_client(loop, std::move(options));
    };
    return sources;
}

}  // namespace turnout

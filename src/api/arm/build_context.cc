#include "api/arm/build_context.h"

#include <vector>

#include "api/run_reach.h"
#include "base/hash.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "submission/refusal.h"

namespace turnout::api::arm {
namespace {

constexpr std::uint64_t kLargestContext = std::uint64_t{2} << 30;
constexpr std::size_t kMostFiles = 20'000;
constexpr std::size_t kPage = 1000;
constexpr std::size_t kHashLength = 32;

}  // namespace

Result<BuildContext> find_build_context(Services& services, const Workspace& workspace,
                                        const std::string& shown, const Json& properties) {
    using submission::refuse;
    const Json& build = properties.at("build");
    const std::string place = "build.contextUri", uri = build.at("contextUri").as_string();
    const auto found = TURNOUT_TRY(place_of(services, workspace, uri));
    if (!found || workspace_of_container(found->container) != workspace.id)
        return refuse("BuildContextNotFound",
                      "environment '" + shown + "' is built from " + turnout::shown(uri) +
                          ": expected a folder in this workspace's storage, as `build: {path: …}` "
                          "of a local folder uploads it",
                      place);
    BuildContext context;
    context.container = found->container;
    context.prefix = found->prefix;
    if (!context.prefix.empty() && !context.prefix.ends_with('/')) context.prefix += '/';
    context.dockerfile = build.at("dockerfilePath").as_string();
    if (context.dockerfile.starts_with("./")) context.dockerfile.erase(0, 2);
    if (context.dockerfile.empty()) context.dockerfile = "Dockerfile";

    // The order of names is the order of bytes, so the same files give the same hash.
    std::string all = context.dockerfile + '\n';
    std::vector<std::string> names;
    bool has_dockerfile = false;
    std::size_t files = 0;
    std::string marker;
    do {
        const BlobList page =
            TURNOUT_TRY(services.blobs.list(context.container, context.prefix, "", marker, kPage));
        for (const BlobInfo& blob : page.blobs) {
            const std::string name = blob.name.substr(context.prefix.size());
            if (name.empty() || name.ends_with('/')) continue;  // a folder's own mark
            has_dockerfile = has_dockerfile || name == context.dockerfile;
            if (names.size() < 50) names.push_back(name);
            all += name + '\0' + blob.sha256 + '\n';
            context.bytes += blob.size;
            ++files;
        }
        marker = page.next_marker;
        if (files > kMostFiles || context.bytes > kLargestContext)
            return refuse("BuildContextTooLarge",
                          "the build context of environment '" + shown + "' has more than " +
                              (files > kMostFiles ? with_commas(kMostFiles) + " files"
                                                  : to_size_words(kLargestContext)) +
                              ": leave out what the Dockerfile does not copy (an .amlignore file "
                              "says what is not uploaded)",
                          place);
    } while (!marker.empty());
    if (files == 0)
        return refuse("BuildContextNotFound",
                      "the build context of environment '" + shown +
                          "' is empty, or gone: create "
                          "the environment again, so that its folder is uploaded",
                      place);
    if (!has_dockerfile)
        return refuse("DockerfileNotFound",
                      "the build context of environment '" + shown + "' has no file '" +
                          context.dockerfile + "'" + did_you_mean(context.dockerfile, names) +
                          ": `dockerfile_path` is relative to the context",
                      "build.dockerfilePath");
    context.hash = to_hex(sha256(all)).substr(0, kHashLength);
    return context;
}

Result<BuildContext> context_of_image(Services& services, const std::string& workspace,
                                      const BuiltImage& image) {
    const auto gone = [&](const std::string& why) {
        return fail(Code::FailedPrecondition, "BuildContextChanged",
                    "environment '" + shown_name(image) + "' " + why + ": submit the job again",
                    shown_name(image));
    };
    const auto owner = TURNOUT_TRY(services.assets.workspace_by_id(workspace));
    if (!owner) return gone("has no workspace any more");
    const auto asset = TURNOUT_TRY(
        services.assets.resolve(workspace, "environments", image.environment, image.version));
    if (!asset) return gone("is not there any more");
    BuildContext context =
        TURNOUT_TRY(find_build_context(services, *owner, shown_name(image), asset->properties));
    if (context.hash != image.context) return gone("has another build context than when it came");
    return context;
}

}  // namespace turnout::api::arm

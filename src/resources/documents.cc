#include "resources/documents.h"

#include <algorithm>
#include <array>

#include "resources/resources.h"

namespace turnout::resources {
namespace {

using Keys = DocumentKind::Keys;

constexpr std::array<DocumentKind, 6> kKinds = {{
    {.word = "environment",
     .path = "environments",
     .one = "environment",
     .article = "an",
     .keys = Keys::Versioned,
     .description = environment,
     .context = "build",
     .job_member = "environmentId",
     .sample = "torch"},
    {.word = "data",
     .path = "data",
     .one = "data asset",
     .article = "a",
     .keys = Keys::Versioned,
     .description = data_asset,
     .location = "dataUri",
     .sample = "rides"},
    {.word = "model",
     .path = "models",
     .one = "model",
     .article = "a",
     .keys = Keys::Versioned,
     .description = model_asset,
     .location = "modelUri",
     .sample = "credit"},
    {.word = "component",
     .path = "components",
     .one = "component",
     .article = "a",
     .keys = Keys::Versioned,
     .description = command_component,
     .definition = "componentSpec",
     .about = "Components: steps of pipelines, with typed inputs and outputs.",
     .sample = "train"},
    {.word = "code",
     .path = "codes",
     .one = "code",
     .article = "a",
     .keys = Keys::Versioned,
     .description = nullptr,
     .job_member = "codeId"},
    {.word = "datastore",
     .path = "datastores",
     .one = "datastore",
     .article = "a",
     .keys = Keys::Single,
     .description = blob_datastore,
     .sample = "workspaceblobstore"},
}};

}  // namespace

std::string DocumentKind::with_article() const {
    return std::string(article) + " " + std::string(one);
}

std::span<const DocumentKind> document_kinds() {
    return kKinds;
}

const DocumentKind* kind_of_path(std::string_view path) {
    const auto found = std::ranges::find(kKinds, path, &DocumentKind::path);
    return found == kKinds.end() ? nullptr : &*found;
}

const DocumentKind* kind_of_word(std::string_view word) {
    const auto found = std::ranges::find(kKinds, word, &DocumentKind::word);
    return found == kKinds.end() ? nullptr : &*found;
}

const Description& any_document() {
    static const Description description = {
        .kind = "document",
        .type = "",
        .title = "a document",
        .help = "",
        .fields = {
            {.yaml = "description", .rest = "properties.description", .help = "Text for people."},
            {.yaml = "stage", .rest = "properties.stage", .help = "Stage."},
            {.yaml = "tags", .rest = "properties.tags", .kind = Kind::TextMap, .help = "Tags."},
            {.yaml = "properties",
             .rest = "properties.properties",
             .kind = Kind::TextMap,
             .help = "Properties."},
            {.yaml = "is_archived",
             .rest = "properties.isArchived",
             .kind = Kind::Flag,
             .help = "Whether lists leave it out."}}};
    return description;
}

}  // namespace turnout::resources

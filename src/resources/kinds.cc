// Which description a document is read by: its kind, its `type` and its `$schema`.
#include <algorithm>

#include <vector>

#include "base/text.h"
#include "resources/compute_types.h"
#include "resources/documents.h"
#include "resources/per_run.h"
#include "resources/resources.h"

namespace turnout::resources {

std::vector<const Description*> all_descriptions() {
    std::vector<const Description*> all = {
        &command_job(), &sweep_job(),       &pipeline_job(),       &automl_job(),
        &aml_compute(), &virtual_machine(), &kubernetes_compute(), &compute_instance()};
    for (const DocumentKind& kind : document_kinds())
        if (kind.description != nullptr) all.push_back(&kind.description());
    all.push_back(&schedule());
    all.push_back(&online_endpoint());
    all.push_back(&online_deployment());
    all.push_back(&batch_endpoint());
    all.push_back(&batch_deployment());
    all.push_back(&pipeline_batch_deployment());
    all.push_back(&workspace());
    return all;
}

namespace {

struct Known {
    std::string_view kind;
    std::string_view type;    // as `type:` says, squeezed: no '_' and lower case
    std::string_view schema;  // begins the file name of the `$schema`
};

// What Azure ML has and `description_for` refuses by name; of computes, what compute_types.h has.
constexpr Known kNotYet[] = {
    {"job", "spark", "sparkJob"},
    {"job", "parallel", "parallelJob"},
    {"job", "datatransfer", "dataTransfer"},
    {"job", "import", "importJob"},
    {"job", "finetuning", "fineTuning"},
    {"job", "distillation", "distillation"},
    {"component", "pipeline", "pipelineComponent"},
    {"component", "parallel", "parallelComponent"},
    {"component", "spark", "sparkComponent"},
    {"component", "automl", "autoMLComponent"},
    {"component", "sweep", "sweepComponent"},
    {"component", "datatransfer", "dataTransferComponent"},
    {"component", "import", "importComponent"},
    {"online-endpoint", "kubernetes", "kubernetesOnlineEndpoint"},
    {"online-deployment", "kubernetes", "kubernetesOnlineDeployment"},
    {"datastore", "azurefile", "azureFile"},
    {"datastore", "azuredatalakegen1", "azureDataLakeGen1"},
    {"datastore", "azuredatalakegen2", "azureDataLakeGen2"},
    {"datastore", "onelake", "oneLake"},
    {"datastore", "hdfs", "hdfs"},
};

std::vector<Known> not_yet(std::string_view kind) {
    std::vector<Known> all;
    for (const Known& known : kNotYet)
        if (known.kind == kind) all.push_back(known);
    if (kind == "compute")
        for (const ComputeType& type : compute_types())
            if (!type.type.empty()) all.push_back({"compute", type.word, type.schema});
    return all;
}

std::string squeeze(std::string_view text) {
    std::string out;
    for (const char c : to_lower(text))
        if (c != '_' && c != '-') out += c;
    return out;
}

std::string schema_word(const YamlDocument& document) {
    const std::string schema(trim(document.value.at("$schema").as_view()));
    const std::size_t slash = schema.rfind('/');
    const std::string file = slash == std::string::npos ? schema : schema.substr(slash + 1);
    const std::string word = file.substr(0, file.find('.'));
    return word;
}

// The first of the kind unless the type names another.
const Description& served(std::string_view kind, std::string_view type = "") {
    const Description* first = nullptr;
    for (const Description* description : all_descriptions()) {
        if (description->kind != kind) continue;
        if (!type.empty() && squeeze(description->type) == squeeze(type)) return *description;
        if (first == nullptr) first = description;
    }
    return first != nullptr ? *first : command_job();
}

std::string known_types(std::string_view kind) {
    std::string out;
    for (const Description* description : all_descriptions())
        if (description->kind == kind) out += (out.empty() ? "" : " or ") + description->type;
    return out;
}

std::string article(std::string_view kind) {
    return kind == "data" ? "data asset" : std::string(kind);
}

}  // namespace

Result<const Description*> description_for(std::string_view kind, const YamlDocument& document) {
    const Description& description = served(kind);
    const auto refuse = [&](std::string_view pointer, std::string message) {
        return fail(Code::InvalidArgument, "ValidationError",
                    at_its_place(document.place(pointer), dotted(pointer), message),
                    dotted(pointer));
    };
    // A schema that names something else entirely.
    const std::string schema = schema_word(document);
    for (const Description* known : all_descriptions())
        if (!schema.empty() && equal_ignoring_case(schema, known->schema) && known->kind != kind)
            return refuse("/$schema", "this is the schema of a " + article(known->kind) +
                                          ", not of a " + article(kind) + ": use `turnout " +
                                          known->kind + "`");
    bool of_this_kind = schema.empty();
    for (const Description* known : all_descriptions())
        of_this_kind =
            of_this_kind || (known->kind == kind && equal_ignoring_case(schema, known->schema));
    for (const Known& known : not_yet(kind))
        of_this_kind = of_this_kind || equal_ignoring_case(schema, known.schema);
    if (!of_this_kind)
        return refuse("/$schema", "the schema '" + schema + "' is not that of a " + article(kind));
    if (description.type.empty()) return &description;
    const Json& type = document.value.at("type");
    const std::string wanted = squeeze(type.as_view());
    for (const Description* known : all_descriptions()) {
        if (known->kind != kind || known->type.empty()) continue;
        if (wanted == squeeze(known->type) ||
            (wanted.empty() && equal_ignoring_case(schema, known->schema)))
            return known;
    }
    for (const Known& known : not_yet(kind)) {
        const bool by_type = wanted == known.type;
        const bool by_schema = wanted.empty() && equal_ignoring_case(schema, known.schema);
        if (!by_type && !by_schema) continue;
        return refuse(by_type ? "/type" : "/$schema",
                      "'" + (by_type ? type.as_string() : std::string(known.schema)) +
                          "' does not " +
                          (kind == "job"         ? "run yet"
                           : kind == "datastore" ? "work yet"
                                                 : "exist here yet") +
                          ": expected " + known_types(kind));
    }
    if (kind == "compute" && (wanted == "containerinstance" || wanted == "aci"))
        return refuse("/type", std::string(kChosenPerRun));
    return &description;  // which reports an unknown or missing type with its place
}

const Description& description_of_rest(std::string_view kind, const Json& rest) {
    return served(kind,
                  at_path(rest, kind == "compute" ? "properties.computeType" : "properties.jobType")
                      .as_view());
}

}  // namespace turnout::resources

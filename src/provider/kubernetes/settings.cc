#include "provider/kubernetes/settings.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/text.h"
#include "provider/container/settings.h"
#include "provider/variables.h"

namespace turnout {

namespace {

using resources::Kind;
using resources::Reading;

constexpr std::size_t kLongestObjectName = 253;
constexpr std::size_t kLongestLabel = 63;
constexpr std::size_t kLongestQuantity = 20;

bool is_letter_or_digit(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// A label's value, and the part of its key behind the '/'.
bool fits_as_label(std::string_view text) {
    return !text.empty() && text.size() <= kLongestLabel && is_letter_or_digit(text.front()) &&
           is_letter_or_digit(text.back()) && std::ranges::all_of(text, [](char c) {
               return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
           });
}

bool fits_as_key(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return fits_as_label(text);
    return fits_as_object_name(text.substr(0, slash)) && fits_as_label(text.substr(slash + 1));
}

// "{cpu: 500m, memory: 2Gi, gpu: 1, node_selector: {a: b}}"
void check_instance_type(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_mapping(pointer, value)) return;
    for (const auto& [name, said] : value.members()) {
        const std::string at = pointer_to(pointer, name);
        if (name == "cpu" || name == "memory") {
            // 2 and "2" are the same to Kubernetes.
            const auto quantity = parse_quantity(reading.document.text(at, said));
            if (!quantity || *quantity <= 0)
                reading.refuse(at, name == "cpu"
                                       ? "expected a quantity of cores, such as 500m or 2"
                                       : "expected a quantity of memory, such as 512Mi or 8Gi");
        } else if (name == "gpu") {
            if (reading.expect_whole(at, said) && (said.as_int() < 0 || said.as_int() > 64))
                reading.refuse(at, "expected a number of GPUs from 0 to 64");
        } else if (name == "node_selector") {
            if (!reading.expect_mapping(at, said)) continue;
            for (const auto& [key, wanted] : said.members()) {
                const std::string below = pointer_to(at, key);
                const std::string text = reading.document.text(below, wanted);
                if (!fits_as_key(key))
                    reading.refuse(below, "expected the key of a label of Kubernetes' nodes");
                else if (wanted.is_object() || wanted.is_array() ||
                         (!text.empty() && !fits_as_label(text)))
                    reading.refuse(below, "expected the value of a label of Kubernetes' nodes");
            }
        } else {
            const std::vector<std::string> known = {"cpu", "memory", "gpu", "node_selector"};
            reading.refuse(at, "unknown key" + did_you_mean(name, known,
                                                            ", expected cpu, memory, gpu or "
                                                            "node_selector"));
        }
    }
}

void check_kubernetes_pool(Reading& reading, const std::string& pointer, const Json& value) {
    check_variables(reading, pointer, value);
    for (const char* const name : {"namespace", "service_account"})
        if (const Json& one = value.at(name);
            one.is_string() && !fits_as_object_name(one.as_view()))
            reading.refuse(pointer_to(pointer, name),
                           "expected a name as Kubernetes has them: small letters, digits, '-' and "
                           "'.'");
    if (const Json& gpu = value.at("gpu_resource"); gpu.is_string() && !fits_as_key(gpu.as_view()))
        reading.refuse(pointer_to(pointer, "gpu_resource"),
                       "expected the name of a resource, such as nvidia.com/gpu");
    if (const Json& file = value.at("kubeconfig");
        file.is_string() && !file.as_view().starts_with('/'))
        reading.refuse(pointer_to(pointer, "kubeconfig"),
                       "expected the absolute path of a kubeconfig");
    if (const Json& image = value.at("image"); image.is_string() && !fits_as_image(image.as_view()))
        reading.refuse(pointer_to(pointer, "image"),
                       "expected the name of an image, such as python:3.11");
    const std::string secrets = pointer_to(pointer, "image_pull_secrets");
    const auto& all = value.at("image_pull_secrets").items();
    for (std::size_t i = 0; i < all.size(); ++i)
        if (!fits_as_object_name(all[i].as_view()))
            reading.refuse(pointer_to(secrets, i), "expected the name of a Secret");
    const std::string types = pointer_to(pointer, "instance_types");
    for (const auto& [name, type] : value.at("instance_types").members()) {
        const std::string at = pointer_to(types, name);
        if (!fits_as_label(name))
            reading.refuse(at,
                           "expected the name of an instance type: letters, digits, '-', '_' "
                           "and '.', at most 63");
        else
            check_instance_type(reading, at, type);
    }
}

resources::Field text_field(std::string name, std::string help) {
    return {.yaml = std::move(name), .rest = "", .kind = Kind::Text, .help = std::move(help)};
}

std::string text_of_scalar(const Json& value) {
    return value.is_string() ? value.as_string() : value.is_null() ? "" : value.dump();
}

}  // namespace

bool fits_as_object_name(std::string_view text) {
    const auto inner = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'z'); };
    return !text.empty() && text.size() <= kLongestObjectName && inner(text.front()) &&
           inner(text.back()) && text.find("..") == std::string_view::npos &&
           std::ranges::all_of(text, [&](char c) { return inner(c) || c == '-' || c == '.'; });
}

std::optional<std::int64_t> parse_quantity(std::string_view text) {
    struct Unit {
        std::string_view suffix;
        double factor;
    };
    constexpr double ki = 1024;
    static constexpr std::array<Unit, 13> units = {{{"Ki", ki},
                                                    {"Mi", ki * ki},
                                                    {"Gi", ki * ki * ki},
                                                    {"Ti", ki * ki * ki * ki},
                                                    {"Pi", ki * ki * ki * ki * ki},
                                                    {"m", 1e-3},
                                                    {"u", 1e-6},
                                                    {"n", 1e-9},
                                                    {"k", 1e3},
                                                    {"M", 1e6},
                                                    {"G", 1e9},
                                                    {"T", 1e12},
                                                    {"P", 1e15}}};
    if (text.empty() || text.size() > kLongestQuantity) return std::nullopt;
    double factor = 1;
    for (const Unit& unit : units)
        if (text.ends_with(unit.suffix)) {
            factor = unit.factor;
            text.remove_suffix(unit.suffix.size());
            break;
        }
    double value = 0, place = 0;
    for (const char c : text) {
        if (c == '.' && place == 0) {
            place = 1;
        } else if (is_digit(c)) {
            value = value * 10 + (c - '0');
            place *= 10;
        } else {
            return std::nullopt;
        }
    }
    if (text.empty() || text.front() == '.' || text.back() == '.') return std::nullopt;
    if (place > 1) value /= place;
    const double milli = std::ceil(value * factor * 1000);
    if (milli > 9e17) return std::nullopt;
    return static_cast<std::int64_t>(milli);
}

const InstanceType* KubernetesSettings::find(std::string_view name) const {
    for (const InstanceType& one : instance_types)
        if (equal_ignoring_case(one.name, name)) return &one;
    return nullptr;
}

const resources::Description& kubernetes_settings() {
    static const resources::Description pool = {
        .kind = "settings",
        .type = "",
        .title = "the settings of a pool of a Kubernetes cluster",
        .help = "",
        .fields =
            {
                {.yaml = "kubeconfig",
                 .rest = "",
                 .kind = Kind::Text,
                 .need = resources::Need::Required,
                 .help = "the path of a kubeconfig on the server's machine"},
                text_field("context", "Of the kubeconfig; its current one if absent."),
                text_field("namespace", "Of the pods; that of the context if absent."),
                text_field("service_account", "Of the pods; the namespace's own if absent."),
                {.yaml = "image",
                 .rest = "",
                 .kind = Kind::Text,
                 .need = resources::Need::Required,
                 .help = "the image of what names no other"},
                {.yaml = "pull",
                 .rest = "",
                 .kind = Kind::Choice,
                 .help = "When an image is pulled; `missing` if absent.",
                 .choices = {{"missing", "missing"}, {"always", "always"}, {"never", "never"}}},
                {.yaml = "image_pull_secrets",
                 .rest = "",
                 .kind = Kind::TextList,
                 .help = "Names of Secrets by which images are pulled."},
                {.yaml = "instance_types",
                 .rest = "",
                 .kind = Kind::AnyMap,
                 .help = "By name: {cpu, memory, gpu, node_selector} of a pod."},
                text_field("gpu_resource", "What a GPU is called; `nvidia.com/gpu` if absent."),
                {.yaml = "user",
                 .rest = "",
                 .kind = Kind::Whole,
                 .help = "Number of the user that runs in the pods; 1000 if absent.",
                 .least = 1,
                 .most = 2'147'483'647},
                text_field("python", "Interpreter of jobs without an environment of their own."),
                {.yaml = "variables",
                 .rest = "",
                 .kind = Kind::TextMap,
                 .help = "Of the environment of its agents."},
            },
        .check = check_kubernetes_pool};
    return pool;
}

KubernetesSettings read_kubernetes_settings(const Json& settings) {
    KubernetesSettings read;
    read.kubeconfig = settings.at("kubeconfig").as_string();
    read.context = settings.at("context").as_string();
    read.name_space = settings.at("namespace").as_string();
    read.service_account = settings.at("service_account").as_string();
    read.image = settings.at("image").as_string();
    if (const std::string pull = settings.at("pull").as_string(); pull == "always")
        read.pull = KubernetesSettings::Pull::Always;
    else if (pull == "never")
        read.pull = KubernetesSettings::Pull::Never;
    for (const Json& one : settings.at("image_pull_secrets").items())
        read.image_pull_secrets.push_back(one.as_string());
    for (const auto& [name, said] : settings.at("instance_types").members()) {
        InstanceType type;
        type.name = name;
        type.cpu = text_of_scalar(said.at("cpu"));
        type.memory = text_of_scalar(said.at("memory"));
        type.gpus = static_cast<int>(said.at("gpu").as_int());
        for (const auto& [key, value] : said.at("node_selector").members())
            type.node_selector.emplace_back(key, text_of_scalar(value));
        read.instance_types.push_back(std::move(type));
    }
    read.gpu_resource = settings.at("gpu_resource").as_string(read.gpu_resource);
    read.user = static_cast<std::uint32_t>(settings.at("user").as_int(read.user));
    read.python = settings.at("python").as_string();
    for (const auto& [name, value] : settings.at("variables").members())
        read.variables.emplace_back(name, text_of_scalar(value));
    return read;
}

}  // namespace turnout

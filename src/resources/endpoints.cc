// Online endpoints and their deployments.
#include <algorithm>
#include <optional>

#include "base/text.h"
#include "base/time.h"
#include "resources/fields.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {
namespace {

void accept_anything(Reading& reading, const std::string& pointer, const Json& value) {
    reading.expect_text(pointer, value);
}
void say_nothing(const YamlDocument&, const std::string&, const Json&, const Scope&, Json&) {}

// REST has it in the id alone.
Special endpoint_name_shape() {
    return {.shape = "text",
            .check = accept_anything,
            .to_rest = say_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const std::string name = segment_after(rest.at("id").as_view(), "onlineEndpoints");
                return name.empty() ? Json() : Json(name);
            }};
}

// Of `code_configuration`, whose REST member is beside it.
Special scoring_code_shape() {
    Special shape = code_shape();
    shape.to_rest = [](const YamlDocument& document, const std::string& pointer, const Json& value,
                       const Scope& scope, Json& rest) {
        set_path(rest, "codeId", arm_id_of(scope, "codes", document.text(pointer, value)));
    };
    shape.from_rest = [](const Json& rest) -> Json { return rest.at("codeId"); };
    return shape;
}

// A model that is defined in place: the same keys, without a name.
const Description& inline_model() {
    static const Description description = [] {
        Description copy = model_asset();
        copy.title = "a model defined in place";
        for (Field& field : copy.fields)
            if (field.yaml == "name") field.need = Need::Optional;
        return copy;
    }();
    return description;
}

}  // namespace

Special deployed_model_shape() {
    return {
        .shape = "`azureml:NAME:VERSION`, `azureml:NAME@latest`, a local path, or a definition",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                Json* part = part_at(reading.document.value, pointer);
                if (value.is_string() && !value.as_view().starts_with("azureml:") &&
                    !is_arm_id(value.as_view()) &&
                    reading.files.kind(reading.files.resolve(value.as_view())) != PathKind::Absent)
                    *part = Json::object({{"path", value}});  // a path alone
                if (part->is_object()) {
                    check(inline_model(), reading, pointer);
                    reading.inline_models.push_back(pointer);
                    return;
                }
                if (!reading.expect_text(pointer, value)) return;
                check_reference(reading, pointer, "models", reading.text(pointer));
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope& scope, Json& rest) {
                if (value.is_object()) {
                    // Replaced by its id before it is sent; shown whole by `validate`.
                    set_path(rest, "properties.model",
                             to_rest(inline_model(), document, pointer, scope));
                    return;
                }
                set_path(rest, "properties.model",
                         arm_id_of(scope, "models", document.text(pointer, value)));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& id = at_path(rest, "properties.model");
            return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "models"));
        }};
}

namespace {

// Milliseconds in YAML, a duration in REST.
Special millis_shape(void (*put)(const YamlDocument&, const std::string&, const Json&, const Scope&,
                                 Json&),
                     Json (*get)(const Json&)) {
    return {.shape = "whole number of milliseconds",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_whole(pointer, value)) return;
                    if (yaml_scalar(reading.text(pointer)).as_int() < 0)
                        reading.refuse(pointer,
                                       expected("a whole number of milliseconds from 0", value));
                },
            .to_rest = put,
            .from_rest = get};
}

void put_millis(const YamlDocument& document, const std::string& pointer, std::string_view member,
                Json& rest) {
    const Json* value = part_at(document.value, pointer);
    if (value == nullptr) return;
    const std::int64_t millis = yaml_scalar(document.text(pointer, *value)).as_int();
    set_path(rest, member, to_duration(std::chrono::milliseconds(millis)));
}

Json millis_in(const Json& rest, std::string_view member) {
    const auto span = parse_duration(rest.at(member).as_view());
    if (!span) return {};
    return std::chrono::duration_cast<std::chrono::milliseconds>(*span).count();
}

// Deployments by name, with a whole percentage each.
Special traffic_shape(void (*put)(const YamlDocument&, const std::string&, const Json&,
                                  const Scope&, Json&),
                      Json (*get)(const Json&)) {
    return {.shape = "mapping: deployment to a percentage",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_mapping(pointer, value)) return;
                    for (const auto& [name, share] : value.members()) {
                        const std::string here = pointer_to(pointer, name);
                        const Json number = yaml_scalar(reading.text(here));
                        if (!number.is_int() || number.as_int() < 0 || number.as_int() > 100)
                            reading.refuse(here, expected("a whole percentage of 0 to 100", share));
                    }
                },
            .to_rest = put,
            .from_rest = get};
}

void put_traffic(const YamlDocument& document, const std::string& pointer, const Json& value,
                 std::string_view member, Json& rest) {
    Json shares = Json::object();
    for (const auto& [name, share] : value.members())
        shares.set(name, yaml_scalar(document.text(pointer_to(pointer, name), share)));
    set_path(rest, member, std::move(shares));
}

}  // namespace

const Description& scoring_code() {
    static const Description description = {
        .kind = "online-deployment",
        .type = "",
        .title = "code_configuration",
        .help = "",
        .fields = {
            special("code", scoring_code_shape(), "the folder with the script", Need::Required),
            text("scoring_script", "scoringScript", "the script in it, with init() and run(data)",
                 Need::Required)}};
    return description;
}

namespace {

const Description& request_settings() {
    static const Description description = {
        .kind = "online-deployment",
        .type = "",
        .title = "request_settings",
        .help = "",
        .fields = {
            special("request_timeout_ms",
                    millis_shape(
                        [](const YamlDocument& document, const std::string& pointer, const Json&,
                           const Scope&,
                           Json& rest) { put_millis(document, pointer, "requestTimeout", rest); },
                        [](const Json& rest) { return millis_in(rest, "requestTimeout"); }),
                    "How long the model may take for one request: 5000 if absent, at most 180000."),
            between(
                1,
                field("max_concurrent_requests_per_instance", "maxConcurrentRequestsPerInstance",
                      Kind::Whole, "Requests that an instance gets at a time; 1 if absent."),
                1000),
            special("max_queue_wait_ms",
                    millis_shape(
                        [](const YamlDocument& document, const std::string& pointer, const Json&,
                           const Scope&,
                           Json& rest) { put_millis(document, pointer, "maxQueueWait", rest); },
                        [](const Json& rest) { return millis_in(rest, "maxQueueWait"); }),
                    "How long a request waits for an instance that has room: 500 if absent.")}};
    return description;
}

const Description& probe() {
    static const Description description = {
        .kind = "online-deployment",
        .type = "",
        .title = "a probe",
        .help = "",
        .fields = {
            field("initial_delay", "initialDelay", Kind::Seconds,
                  "Kept: a replica is asked from its start on, so that it serves soon."),
            field("period", "period", Kind::Seconds,
                  "With `failure_threshold`: how long it may "
                  "not answer; 10 if absent."),
            field("timeout", "timeout", Kind::Seconds, "Of each; 2 if absent."),
            between(1,
                    field("failure_threshold", "failureThreshold", Kind::Whole, "30 if absent.")),
            between(1, field("success_threshold", "successThreshold", Kind::Whole, "1."), 1)}};
    return description;
}

const Description& scale_settings() {
    static const Description description = {
        .kind = "online-deployment",
        .type = "",
        .title = "scale_settings",
        .help = "",
        .fields = {choice("type", "scaleType",
                          {{"default", "Default"},
                           {"target_utilization", "TargetUtilization",
                            "a deployment does not change its number of instances by itself yet: "
                            "expected default"}},
                          "`default`.", Need::Required)}};
    return description;
}

}  // namespace

const Description& online_endpoint() {
    static const Description description = {
        .kind = "online-endpoint",
        .type = "",
        .schema = "managedOnlineEndpoint",
        .title = "an online endpoint",
        .help =
            "`turnout online-endpoint create -f endpoint.yml`: an address at which models answer.",
        .fields =
            {text("name", "name", "the endpoint's name, unique in the workspace", Need::Required,
                  "--name"),
             choice("type", "",
                    {{"managed", "Managed"},
                     {"kubernetes", "Kubernetes",
                      "endpoints on an attached Kubernetes do not work yet: expected managed"}},
                    "`managed`, also when absent."),
             choice("auth_mode", "properties.authMode",
                    {{"key", "Key"}, {"aml_token", "AMLToken"}, {"aad_token", "AADToken"}},
                    "What opens it: one of its keys, a token of its own that ends by itself, or a "
                    "user's own token. `key` if absent.",
                    Need::Optional, "--auth-mode"),
             text("description", "properties.description", "Text for people."),
             special("traffic",
                     traffic_shape(
                         [](const YamlDocument& document, const std::string& pointer,
                            const Json& value, const Scope&, Json& rest) {
                             put_traffic(document, pointer, value, "properties.traffic", rest);
                         },
                         [](const Json& rest) { return at_path(rest, "properties.traffic"); }),
                     "Which share of the requests each deployment gets; together 100, or none."),
             special(
                 "mirror_traffic",
                 traffic_shape(
                     [](const YamlDocument& document, const std::string& pointer, const Json& value,
                        const Scope&, Json& rest) {
                         put_traffic(document, pointer, value, "properties.mirrorTraffic", rest);
                     },
                     [](const Json& rest) { return at_path(rest, "properties.mirrorTraffic"); }),
                 "One deployment without traffic that gets copies of up to 50 of 100 requests; "
                 "its answers are thrown away."),
             text("location", "location", "Region: a pool of this server by its name."),
             choice("public_network_access", "properties.publicNetworkAccess",
                    {{"enabled", "Enabled"}, {"disabled", "Disabled"}}, "Kept and shown."),
             special("identity", compute_identity_shape(), "Kept and shown."),
             field("tags", "tags", Kind::TextMap, "Tags."),
             field("properties", "properties.properties", Kind::TextMap, "Properties."),
             text("kind", "kind", "Kept and shown."),
             shown("scoring_uri", "properties.scoringUri", "Where it is asked.", Kind::Text),
             shown("openapi_uri", "properties.swaggerUri", "What it takes, if the model says it.",
                   Kind::Text),
             shown("provisioning_state", "properties.provisioningState", "Succeeded or Deleting.",
                   Kind::Text),
             special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)},
        .finish_rest = [](const Json&, Json& rest) {
            if (at_path(rest, "properties.authMode").is_null())
                set_path(rest, "properties.authMode", "Key");
            rest.erase("");
        }};
    return description;
}

const Description& online_deployment() {
    static const Description description = {
        .kind = "online-deployment",
        .type = "",
        .schema = "managedOnlineDeployment",
        .title = "an online deployment",
        .help =
            "`turnout online-deployment create -f blue.yml`: a model, with what serves it, "
            "behind an endpoint.",
        .fields =
            {text("name", "name", "the deployment's name", Need::Required, "--name"),
             special("endpoint_name", endpoint_name_shape(), "its endpoint", Need::Required,
                     "--endpoint-name"),
             choice("type", "",
                    {{"managed", "Managed"},
                     {"kubernetes", "Kubernetes",
                      "deployments on Kubernetes do not work yet: expected managed"}},
                    "`managed`, also when absent."),
             text("description", "properties.description", "Text for people."),
             special("model", deployed_model_shape(),
                     "What is served, below AZUREML_MODEL_DIR. An MLflow model needs no script and "
                     "no environment."),
             object("code_configuration", "properties.codeConfiguration", scoring_code(),
                    "The scoring script."),
             special("environment", environment_shape(),
                     "What the script runs in; azureml-inference-server-http is added."),
             field("environment_variables", "properties.environmentVariables", Kind::TextMap,
                   "Environment variables of each instance."),
             text("instance_type", "properties.instanceType",
                  "VM size: the limits of an instance. Standard_DS3_v2 if absent; it stays."),
             between(1,
                     field("instance_count", "sku.capacity", Kind::Whole,
                           "Instances that are wanted; 1 if absent."),
                     100),
             object("request_settings", "properties.requestSettings", request_settings(),
                    "Limits of requests."),
             object("liveness_probe", "properties.livenessProbe", probe(),
                    "When an instance counts as broken."),
             object("readiness_probe", "properties.readinessProbe", probe(),
                    "When an instance gets no requests."),
             object("scale_settings", "properties.scaleSettings", scale_settings(), "Scaling."),
             field("app_insights_enabled", "properties.appInsightsEnabled", Kind::Flag,
                   "Kept and shown."),
             choice("egress_public_network_access", "properties.egressPublicNetworkAccess",
                    {{"enabled", "Enabled"}, {"disabled", "Disabled"}}, "Kept and shown."),
             refused("model_mount_path", "Where the model is.",
                     "the model is where AZUREML_MODEL_DIR says: remove the key"),
             refused("data_collector", "Collects requests.",
                     "requests are not collected here: remove the key"),
             text("location", "location", "Kept and shown: it is where its endpoint is."),
             field("tags", "tags", Kind::TextMap, "Tags."),
             field("properties", "properties.properties", Kind::TextMap, "Properties."),
             shown("provisioning_state", "properties.provisioningState",
                   "Creating, Updating, Succeeded, Failed or Deleting.", Kind::Text),
             shown("failure", "properties.failure",
                   "Why it failed, with the last lines of its log.", Kind::Text),
             shown("progress", "properties.progress", "What a change waits for.", Kind::Text),
             shown("ready_instances", "properties.readyInstances",
                   "Instances of the newest version that are ready.", Kind::Whole),
             shown("replicas", "properties.replicas", "Its instances, each with its job."),
             shown("requests", "properties.requests",
                   "Requests, errors and percentiles of their times since the server started."),
             special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)},
        .constants = {{"properties.endpointComputeType", "Managed"}},
        .finish_rest = [](const Json&, Json& rest) {
            if (!rest.at("sku").is_null()) set_path(rest, "sku.name", "Default");
            rest.erase("");
        }};
    return description;
}

}  // namespace turnout::resources

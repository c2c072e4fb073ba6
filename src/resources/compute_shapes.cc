// What YAML and REST shape differently in computes and datastores.
#include "resources/shapes.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "resources/resources.h"

namespace turnout::resources {

namespace {
const std::vector<Choice>& compute_identities() {
    static const std::vector<Choice> choices = {
        {"system_assigned", "SystemAssigned"},
        {"user_assigned", "UserAssigned"},
        {"system_assigned_user_assigned", "SystemAssigned,UserAssigned"},
        {"none", "None"}};
    return choices;
}
}  // namespace

Special compute_identity_shape() {
    return {
        .shape = "mapping: `type`, `user_assigned_identities`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                check_keys(reading, pointer, value,
                           {"type", "user_assigned_identities", "principal_id", "tenant_id"},
                           "an identity");
                if (value.at("type").is_null())
                    reading.refuse(pointer, "key 'type' is missing");
                else
                    check_choice(reading, pointer_to(pointer, "type"), compute_identities());
                const Json& users = value.at("user_assigned_identities");
                if (users.is_null()) return;
                const std::string list = pointer_to(pointer, "user_assigned_identities");
                if (!reading.expect_list(list, users)) return;
                for (std::size_t i = 0; i < users.items().size(); ++i)
                    if (!users.items()[i].at("resource_id").is_string())
                        reading.refuse(pointer_to(list, i),
                                       "expected a mapping with 'resource_id'");
            },
        .to_rest =
            [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
               Json& rest) {
                const Choice* type = find_choice(compute_identities(), value.at("type").as_view());
                Json identity = Json::object({{"type", type != nullptr ? type->rest : "None"}});
                if (value.at("user_assigned_identities").is_array()) {
                    Json users = Json::object();
                    for (const Json& user : value.at("user_assigned_identities").items())
                        users.set(user.at("resource_id").as_view(), Json::object());
                    identity.set("userAssignedIdentities", std::move(users));
                }
                rest.set("identity", std::move(identity));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& identity = rest.at("identity");
            const Choice* type = find_choice(compute_identities(), identity.at("type").as_view());
            if (type == nullptr) return {};
            Json out = Json::object({{"type", type->yaml}});
            if (identity.at("userAssignedIdentities").is_object()) {
                Json users = Json::array();
                for (const auto& [id, user] : identity.at("userAssignedIdentities").members())
                    users.push(Json::object({{"resource_id", id}}));
                out.set("user_assigned_identities", std::move(users));
            }
            return out;
        }};
}

Special ssh_settings_shape() {
    return {
        .shape = "mapping",
        .check = [](Reading& reading, const std::string& pointer,
                    const Json& value) { reading.expect_mapping(pointer, value); },
        // Not sent: a password in it would be of no use there.
        .to_rest = [](const YamlDocument&, const std::string&, const Json&, const Scope&, Json&) {},
        .from_rest = [](const Json&) -> Json { return {}; }};
}

Special ssh_access_shape() {
    return {.shape = "true or false",
            .check = [](Reading& reading, const std::string& pointer,
                        const Json& value) { (void)reading.expect_flag(pointer, value); },
            .to_rest =
                [](const YamlDocument&, const std::string&, const Json&, const Scope&, Json& rest) {
                    set_path(rest, "properties.properties.remoteLoginPortPublicAccess", "Disabled");
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& access =
                    at_path(rest, "properties.properties.remoteLoginPortPublicAccess");
                if (access.as_view() == "Disabled") return false;
                if (access.as_view() == "Enabled") return true;
                return {};
            }};
}

Special instance_ssh_access_shape() {
    return {.shape = "true or false",
            .check = [](Reading& reading, const std::string& pointer,
                        const Json& value) { (void)reading.expect_flag(pointer, value); },
            .to_rest =
                [](const YamlDocument&, const std::string&, const Json&, const Scope&, Json& rest) {
                    set_path(rest, "properties.properties.sshSettings.sshPublicAccess", "Disabled");
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& access =
                    at_path(rest, "properties.properties.sshSettings.sshPublicAccess");
                return access.as_view() == "Disabled" ? Json(false) : Json();
            }};
}

Special machine_password_shape() {
    return {.shape = "text",
            .check = [](Reading& reading, const std::string& pointer,
                        const Json& value) { reading.expect_text(pointer, value); },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope&, Json& rest) {
                    set_path(rest, "administratorAccount.password", document.text(pointer, value));
                },
            .from_rest = [](const Json&) -> Json { return {}; }};
}

Special machine_key_shape() {
    return {
        .shape = "path of a file",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_text(pointer, value)) return;
                const std::string path = reading.files.resolve(reading.text(pointer));
                if (reading.files.kind(path) != PathKind::File)
                    return reading.refuse(
                        pointer,
                        "expected the file of a private key, but '" + path +
                            (reading.files.kind(path) == PathKind::Absent ? "' does not exist"
                                                                          : "' is no file"));
                Result<std::string> bytes = reading.files.read(path);
                if (!bytes) return reading.refuse(pointer, bytes.error().message);
                // From here on the content itself.
                *part_at(reading.document.value, pointer) = Json(std::move(*bytes));
                reading.document.written.erase(pointer);
            },
        .to_rest = [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
                      Json& rest) { set_path(rest, "administratorAccount.privateKeyData", value); },
        .from_rest = [](const Json&) -> Json { return {}; }};
}

namespace {

constexpr std::pair<std::string_view, std::string_view> kTriggerKeys[] = {
    {"start_time", "startTime"},
    {"end_time", "endTime"},
    {"time_zone", "timeZone"},
    {"week_days", "weekDays"},
    {"month_days", "monthDays"}};

// Of a trigger, at every depth.
Json renamed(const Json& from, bool to_rest) {
    if (!from.is_object()) return from;
    Json out = Json::object();
    for (const auto& [key, value] : from.members()) {
        std::string_view name = key;
        for (const auto& [yaml, rest] : kTriggerKeys)
            if (key == (to_rest ? yaml : rest)) name = to_rest ? rest : yaml;
        if (!value.is_null()) out.set(name, renamed(value, to_rest));
    }
    return out;
}

constexpr std::string_view kStartStop = "properties.properties.schedules.computeStartStop";

}  // namespace

// What a trigger says is read by whoever knows about time (model/timetable.h).
Special start_stop_shape() {
    return {
        .shape = "mapping: `compute_start_stop`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                check_keys(reading, pointer, value, {"compute_start_stop"}, "schedules");
                const std::string list = pointer_to(pointer, "compute_start_stop");
                const Json& items = value.at("compute_start_stop");
                if (!reading.expect_list(list, items)) return;
                for (std::size_t i = 0; i < items.items().size(); ++i) {
                    const Json& item = items.items()[i];
                    const std::string at = pointer_to(list, i);
                    if (!reading.expect_mapping(at, item)) continue;
                    check_keys(reading, at, item, {"action", "state", "trigger"}, "a schedule");
                    for (const auto& [key, choices] :
                         {std::pair<const char*, std::vector<Choice>>{
                              "action", {{"start", "start"}, {"stop", "stop"}}},
                          {"state", {{"enabled", "Enabled"}, {"disabled", "Disabled"}}}})
                        if (item.has(key) || std::string_view(key) == "action")
                            check_choice(reading, pointer_to(at, key), choices);
                    reading.expect_mapping(pointer_to(at, "trigger"), item.at("trigger"));
                }
            },
        .to_rest =
            [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
               Json& rest) {
                Json all = Json::array();
                for (const Json& item : value.at("compute_start_stop").items()) {
                    Json trigger = renamed(item.at("trigger"), true);
                    const bool cron = equal_ignoring_case(trigger.at("type").as_view(), "cron");
                    trigger.erase("type");
                    trigger.set("triggerType", cron ? "Cron" : "Recurrence");
                    const bool off = equal_ignoring_case(item.at("state").as_view(), "disabled");
                    all.push(Json::object({{"action", item.at("action")},
                                           {"status", off ? "Disabled" : "Enabled"},
                                           {"triggerType", cron ? "Cron" : "Recurrence"},
                                           {cron ? "cron" : "recurrence", std::move(trigger)}}));
                }
                set_path(rest, kStartStop, std::move(all));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& all = at_path(rest, kStartStop);
            if (!all.is_array() || all.items().empty()) return {};
            Json list = Json::array();
            for (const Json& item : all.items()) {
                const bool cron = item.at("cron").is_object();
                Json trigger = renamed(item.at(cron ? "cron" : "recurrence"), false);
                trigger.erase("triggerType");
                trigger.set("type", cron ? "cron" : "recurrence");
                list.push(Json::object({{"action", to_lower(item.at("action").as_view())},
                                        {"state", to_lower(item.at("status").as_string("enabled"))},
                                        {"trigger", std::move(trigger)}}));
            }
            return Json::object({{"compute_start_stop", std::move(list)}});
        }};
}

Special idle_minutes_shape() {
    return {.shape = "whole number",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_whole(pointer, value)) return;
                    if (value.as_int() < 15 || value.as_int() > 3 * 24 * 60)
                        reading.refuse(pointer,
                                       "expected 15 to 4320 minutes, found " + value.dump());
                },
            .to_rest =
                [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
                   Json& rest) {
                    set_path(rest, "properties.properties.idleTimeBeforeShutdown",
                             "PT" + value.dump() + "M");
                },
            .from_rest = [](const Json& rest) -> Json {
                const std::string_view text =
                    at_path(rest, "properties.properties.idleTimeBeforeShutdown").as_view();
                if (!text.starts_with("PT") || !text.ends_with("M")) return {};
                if (const auto number = parse_whole_number(text.substr(2, text.size() - 3)))
                    return *number;
                return {};
            }};
}

Special credentials_shape() {
    return {
        .shape = "mapping: `account_key` or `sas_token`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                check_keys(reading, pointer, value, {"account_key", "sas_token"},
                           "the credentials of azure_blob");
                if (value.has("account_key") && value.has("sas_token"))
                    reading.refuse(pointer, "expected either account_key or sas_token, found both");
                for (const auto& [key, member] : value.members())
                    if (key == "account_key" || key == "sas_token")
                        reading.expect_text(pointer_to(pointer, key), member);
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope&, Json& rest) {
                Json out = Json::object({{"credentialsType", "None"}});
                if (value.has("account_key"))
                    out = Json::object(
                        {{"credentialsType", "AccountKey"},
                         {"secrets",
                          Json::object({{"secretsType", "AccountKey"},
                                        {"key", document.text(pointer_to(pointer, "account_key"),
                                                              value.at("account_key"))}})}});
                else if (value.has("sas_token"))
                    out = Json::object(
                        {{"credentialsType", "Sas"},
                         {"secrets",
                          Json::object({{"secretsType", "Sas"},
                                        {"sasToken", document.text(pointer_to(pointer, "sas_token"),
                                                                   value.at("sas_token"))}})}});
                set_path(rest, "properties.credentials", std::move(out));
            },
        // Secrets never come back: an empty mapping tells that there is one.
        .from_rest = [](const Json& rest) -> Json {
            return at_path(rest, "properties.credentials").is_object() ? Json::object() : Json();
        }};
}

}  // namespace turnout::resources

// A schedule. What its trigger may say is read by whoever knows about time (model/timetable.h), and
// its job is a document of its own: both are looked at where the command has them.
#include "resources/fields.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {
namespace {

void send_elsewhere(const YamlDocument&, const std::string&, const Json&, const Scope&, Json&) {}

Special trigger_shape() {
    return {.shape = "mapping",
            .check = [](Reading& reading, const std::string& pointer,
                        const Json& value) { reading.expect_mapping(pointer, value); },
            .to_rest = send_elsewhere,
            .from_rest = [](const Json& rest) { return at_path(rest, "properties.trigger"); }};
}

Special create_job_shape() {
    return {.shape = "text or mapping",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!value.is_object() && (!value.is_string() || value.as_view().empty()))
                        reading.refuse(pointer,
                                       expected("a job: a file, 'azureml:NAME', or a mapping with "
                                                "`job` or with the job itself",
                                                value));
                },
            .to_rest = send_elsewhere,
            .from_rest = [](const Json& rest) -> Json {
                const Json& definition = at_path(rest, "properties.action.jobDefinition");
                if (definition.is_null()) return {};
                const Json job = Json::object({{"properties", definition}});
                return to_entity(description_of_rest("job", job), job);
            }};
}

}  // namespace

const Description& schedule() {
    static const Description description = {
        .kind = "schedule",
        .type = "",
        .schema = "schedule",
        .title = "a schedule",
        .help =
            "`turnout schedule create -f schedule.yml`: submits a job at the times of its "
            "trigger. `import_data` and `create_monitor` are refused.",
        .fields = {
            ruled(kName, text("name", "name", "the schedule's name", Need::Required, "--name")),
            text("display_name", "properties.displayName", "Name for people."),
            text("description", "properties.description", "Text for people."),
            field("tags", "properties.tags", Kind::TextMap, "Tags."),
            field(
                "properties", "properties.properties", Kind::TextMap,
                "Free-form properties. `missed_runs: once` (as without it) runs the latest of the "
                "times that passed while no server ran, `none` leaves them all out."),
            special("trigger", trigger_shape(),
                    "`type: cron` with `expression`, or `type: recurrence` with `frequency`, "
                    "`interval` and `schedule` (`hours`, `minutes`, `week_days`, `month_days`); "
                    "both with `start_time`, `end_time`, `time_zone`.",
                    Need::Required),
            special("create_job", create_job_shape(),
                    "The job: its file, `azureml:NAME` of one that is there, a mapping with `job` "
                    "(either of these) and what differs from it, or the job itself.",
                    Need::Required),
            field("is_enabled", "properties.isEnabled", Kind::Flag,
                  "Whether it runs; true if absent."),
            shown("runs", "properties.runs", "What it submitted, refused or missed, newest first."),
            shown("provisioning_state", "properties.provisioningState", "Always Succeeded.",
                  Kind::Text),
            shown("creation_context", "systemData", "Who made and changed it, and when."),
            special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
            special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly),
            refused("import_data", "Imports data.", "nothing here imports data by schedule yet"),
            refused("create_monitor", "Monitors a model.",
                    "nothing here monitors a model by schedule yet")}};
    return description;
}

}  // namespace turnout::resources

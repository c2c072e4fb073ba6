#include "submission/parallel_step.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "submission/command_job.h"
#include "submission/parallel_program.h"
#include "submission/refusal.h"
#include "yaml/yaml.h"

namespace turnout::submission {
namespace {

constexpr std::string_view kInvalid = "InvalidParallelStep";
constexpr std::int64_t kMostProcesses = 1'000, kMostTries = 1'000, kMostSeconds = 7 * 86'400;
constexpr std::array<std::string_view, 5> kLevels = {"DEBUG", "INFO", "WARNING", "ERROR",
                                                     "CRITICAL"};

class Reader {
public:
    Reader(const Json& spec, const Json& said, const std::string& of_spec, const std::string& place,
           const Fill& fill, std::vector<Error>& problems)
        : spec_(spec),
          said_(said),
          of_spec_(of_spec),
          place_(place + "."),
          fill_(fill),
          problems_(problems) {}

    std::optional<CommandStep> read() {
        const std::size_t before = problems_.size();
        const Json& task = part("task");
        if (!task.is_object()) {
            refuse_at("task", "a mapping with type, code and entry_script", task);
            return std::nullopt;
        }
        const std::string type = to_lower(task.at("type").as_string("run_function"));
        if (type != "run_function" && type != "function" && type != "model")
            refuse_at("task.type", "run_function", task.at("type"));
        const std::string script = text_of(task.at("entry_script"), "task.entry_script");
        const std::string model = bare_port(task.at("model"), "inputs", "task.model");
        const std::string code = task.at("code").as_string();
        if (script.empty() && model.empty())
            refuse_at("task.entry_script", "a script with init() and run(mini_batch)",
                      task.at("entry_script"));
        if (!script.empty() && code.empty())
            refuse_at("task.code", "the folder with the script", task.at("code"));
        if (task.at("environment").is_null())
            refuse_at("task.environment", "an environment", task.at("environment"));

        settings_ = Json::object();
        if (!script.empty()) settings_.set("entry_script", script);
        read_numbers();
        const std::string input = bare_port(part("input_data"), "inputs", "input_data");
        if (input.empty() && problems_.size() == before)
            refuse_at("input_data", "${{inputs.NAME}}, an input of the step", part("input_data"));
        const std::string append =
            bare_port(task.at("append_row_to"), "outputs", "task.append_row_to");
        const std::string folder =
            bare_port(task.at("output_folder"), "outputs", "task.output_folder");
        read_tables(input);
        name_folders(append, folder);
        for (const char* const member : {"model_name", "output_file_name"})
            if (const Json& text = task.at(member); text.is_string()) settings_.set(member, text);
        if (problems_.size() != before) return std::nullopt;

        CommandStep step{spec_, said_};
        const auto port = [](const char* kind, const std::string& name) {
            return name.empty() ? std::string("''")
                                : "\"${{" + std::string(kind) + "." + name + "}}\"";
        };
        std::string command = "exec \"$(command -v python || command -v python3)\" -c \"$" +
                              std::string(kParallelVariable) + "\" " +
                              quote_for_shell(settings_.dump()) + " " + port("inputs", input) +
                              " " + port("outputs", append) + " " + port("inputs", model) + " --";
        if (const std::string words = task.at("program_arguments").as_string(); !words.empty())
            command += " " + std::string(trim(words));
        std::ranges::replace(command, '\n', ' ');
        step.spec.set("type", "command");
        step.spec.set("command", std::move(command));
        if (!code.empty()) step.spec.set("code", code);
        step.spec.set("environment", task.at("environment"));
        step.said.erase("environment");
        step.said.erase("environmentId");
        // Each node runs the program once.
        for (Json* side : {&step.spec, &step.said}) side->erase("distribution");
        if (nodes() > 1)
            step.said.set("distribution",
                          Json::object({{"type", "pytorch"}, {"process_count_per_instance", 1}}));
        // It is the program that reads it, and not the script.
        as_files(step.spec, input);
        as_files(step.said, input);
        return step;
    }

private:
    // Of the step, else of its component.
    const Json& part(const char* name) const {
        const Json& own = said_.at(name);
        return own.is_null() ? spec_.at(name) : own;
    }
    std::string at(const std::string& name) const {
        const std::string first = name.substr(0, name.find('.'));
        return (said_.at(first).is_null() && !spec_.at(first).is_null() ? of_spec_ : place_) + name;
    }
    void refuse_at(const std::string& name, const std::string& expected, const Json& found) {
        problems_.push_back(
            not_as_expected(std::string(kInvalid), at(name), expected, found).error());
    }

    // With literals in the places of bindings.
    std::string text_of(const Json& value, const std::string& name) {
        if (value.is_null()) return "";
        const std::string text = literal_text(value);
        if (text.find("${{") == std::string::npos) return text;
        return fill_(text, at(name)).value_or("");
    }

    // "${{inputs.x}}" -> "x"; "" if there is none, or if that was refused.
    std::string bare_port(const Json& value, const std::string& kind, const std::string& name) {
        if (value.is_null() || (value.is_string() && trim(value.as_view()).empty())) return "";
        const std::string_view text = trim(value.as_view());
        const auto bindings = bindings_in(text);
        const std::string prefix = kind + ".";
        if (!bindings || bindings->size() != 1 || bindings->front().begin != 0 ||
            bindings->front().end != text.size() || !bindings->front().inside.starts_with(prefix)) {
            refuse_at(name, "${{" + kind + ".NAME}}", value);
            return "";
        }
        std::string port = bindings->front().inside.substr(prefix.size());
        if (!spec_.at(kind).has(port) && !said_.at(kind).has(port)) {
            std::vector<std::string> known;
            for (const Json* side : {&spec_, &said_})
                for (const auto& [other, one] : side->at(kind).members()) known.push_back(other);
            refuse_at(name, "one of the step's " + kind + did_you_mean(port, known), value);
            return "";
        }
        return port;
    }

    void whole(const Json& value, const char* setting, const std::string& name, std::int64_t least,
               std::int64_t most) {
        const std::string text = text_of(value, name);
        if (text.empty()) return;
        const Json number = yaml_scalar(text);
        if (!number.is_int() || number.as_int() < least || number.as_int() > most)
            return refuse_at(
                name, "a whole number from " + std::to_string(least) + " to " + with_commas(most),
                value);
        settings_.set(setting, number);
    }

    void read_numbers() {
        constexpr std::int64_t any = 1'000'000'000;
        whole(part("error_threshold"), "error_threshold", "error_threshold", -1, any);
        whole(part("mini_batch_error_threshold"), "mini_batch_error_threshold",
              "mini_batch_error_threshold", -1, any);
        whole(part("max_concurrency_per_instance"), "max_concurrency_per_instance",
              "max_concurrency_per_instance", 1, kMostProcesses);
        const Json& retries = part("retry_settings");
        if (!retries.is_null() && !retries.is_object())
            refuse_at("retry_settings", "a mapping with max_retries and timeout", retries);
        whole(retries.at("max_retries"), "max_retries", "retry_settings.max_retries", 0,
              kMostTries);
        whole(retries.at("timeout"), "timeout", "retry_settings.timeout", 1, kMostSeconds);
        if (const std::string level = text_of(part("logging_level"), "logging_level");
            !level.empty()) {
            const auto known = std::ranges::find_if(
                kLevels, [&](std::string_view one) { return equal_ignoring_case(one, level); });
            if (known == kLevels.end() && !equal_ignoring_case(level, "WARN"))
                refuse_at("logging_level", "DEBUG, INFO, WARNING, ERROR or CRITICAL",
                          part("logging_level"));
            else
                settings_.set("logging_level", known == kLevels.end() ? "WARNING" : *known);
        }
        if (const std::string size = to_lower(text_of(part("mini_batch_size"), "mini_batch_size"));
            !size.empty()) {
            std::string_view number = trim(size);
            for (const std::string_view unit : {"kb", "mb", "gb", "b"})
                if (number.ends_with(unit)) {
                    number.remove_suffix(unit.size());
                    break;
                }
            const auto count = parse_whole_number(trim(number));
            if (!count || *count < 1)
                refuse_at("mini_batch_size", "a number of files such as 10, or a size such as 10kb",
                          part("mini_batch_size"));
            else
                settings_.set("mini_batch_size", size);
        }
    }

    std::string type_of_input(const std::string& name) const {
        const Json& said = said_.at("inputs").at(name);
        const std::string declared = spec_.at("inputs").at(name).at("type").as_string();
        if (!declared.empty() && declared != "path") return declared;
        return first_of(said, {"job_input_type", "jobInputType", "type"}).as_string();
    }

    // What the script gets as frames and not as paths.
    void read_tables(const std::string& input) {
        const bool tabular = type_of_input(input) == "mltable";
        if (tabular) settings_.set("tabular", true);
        Json keys = part("partition_keys");
        if (keys.is_string()) {  // as the SDK writes it
            const auto list = parse_json(keys.as_view());
            keys = list ? *list : Json();
            if (keys.is_null())
                refuse_at("partition_keys", "a list of columns", part("partition_keys"));
        }
        if (keys.is_null() || (keys.is_array() && keys.items().empty())) return;
        if (!keys.is_array() ||
            !std::ranges::all_of(keys.items(), [](const Json& key) { return key.is_string(); }))
            return refuse_at("partition_keys", "a list of columns", keys);
        if (!tabular)
            return refuse_at("partition_keys",
                             "nothing, since input_data is not of type mltable: only tables have "
                             "columns here",
                             keys);
        settings_.set("partition_keys", std::move(keys));
    }

    // Where the script may write itself: what is there is not known to survive a node.
    void name_folders(const std::string& append, const std::string& folder) {
        if (!folder.empty()) settings_.set("output_folder", "${{outputs." + folder + "}}");
        Json folders = Json::array();
        std::vector<std::string> seen = {append, folder};
        for (const Json* side : {&spec_, &said_})
            for (const auto& [name, one] : side->at("outputs").members())
                if (std::ranges::find(seen, name) == seen.end()) {
                    seen.push_back(name);
                    folders.push("${{outputs." + name + "}}");
                }
        if (!folders.items().empty()) settings_.set("folders", std::move(folders));
    }

    std::int64_t nodes() const {
        for (const Json* side : {&said_, &spec_}) {
            const Json& count =
                first_of(side->at("resources"), {"instance_count", "instanceCount"});
            if (count.is_null()) continue;
            const std::string text = literal_text(count);
            if (text.find("${{") == std::string::npos) return yaml_scalar(text).as_int(1);
            const auto filled = fill_(text, place_ + "resources.instance_count");
            return filled ? yaml_scalar(*filled).as_int(1) : 1;
        }
        return 1;
    }

    static void as_files(Json& side, const std::string& input) {
        const Json& mode = side.at("inputs").at(input).at("mode");
        const std::string said = to_lower(mode.as_view());
        if (said == "direct" || said == "eval_mount" || said == "evalmount")
            side["inputs"][input].set("mode", "ReadOnlyMount");
    }

    const Json& spec_;
    const Json& said_;
    const std::string of_spec_, place_;
    const Fill& fill_;
    std::vector<Error>& problems_;
    Json settings_;
};

}  // namespace

std::optional<CommandStep> parallel_as_command(const Json& spec, const Json& said,
                                               const std::string& of_spec, const std::string& place,
                                               const Fill& fill, std::vector<Error>& problems) {
    // A step says parts of its task, and its component the others.
    if (said.at("task").is_object() && spec.at("task").is_object()) {
        Json whole = said, task = spec.at("task");
        for (const auto& [name, value] : said.at("task").members())
            if (!value.is_null()) task.set(name, value);
        whole.set("task", std::move(task));
        return Reader(spec, whole, of_spec, place, fill, problems).read();
    }
    return Reader(spec, said, of_spec, place, fill, problems).read();
}

}  // namespace turnout::submission

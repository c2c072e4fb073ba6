// What YAML and REST shape differently in documents with versions.
#include "resources/shapes.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "resources/resources.h"

namespace turnout::resources {

namespace {
void accept_text(Reading& reading, const std::string& pointer, const Json& value) {
    reading.expect_text(pointer, value);
}
void send_nothing(const YamlDocument&, const std::string&, const Json&, const Scope&, Json&) {}
}  // namespace

Special asset_name_shape() {
    return {.shape = "text",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_text(pointer, value)) return;
                    const std::string name = reading.text(pointer);
                    check_text(reading, pointer, kName, name);
                },
            .to_rest = send_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const std::vector<std::string> parts = split(rest.at("id").as_view(), '/');
                for (std::size_t i = 2; i < parts.size(); ++i)
                    if (parts[i] == "versions") return parts[i - 1];
                return rest.at("name");
            }};
}

Special asset_version_shape() {
    return {.shape = "text",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_text(pointer, value)) return;
                    const std::string version = reading.text(pointer);
                    check_text(reading, pointer, kName, version);
                },
            .to_rest = send_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const std::string version = segment_after(rest.at("id").as_view(), "versions");
                return version.empty() ? Json() : Json(version);
            }};
}

Special resource_id_shape(bool with_prefix) {
    return {.shape = "text",
            .check = accept_text,
            .to_rest = send_nothing,
            .from_rest = with_prefix ? +[](const Json& rest) -> Json {
                return rest.at("id").is_null() ? Json()
                                               : Json("azureml:" + rest.at("id").as_string());
            }
            : +[](const Json& rest) -> Json { return rest.at("id"); }};
}

Special resource_group_shape() {
    return {.shape = "text",
            .check = accept_text,
            .to_rest = send_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const std::string group = segment_after(rest.at("id").as_view(), "resourceGroups");
                return group.empty() ? Json() : Json(group);
            }};
}

Special creation_context_shape() {
    return {.shape = "mapping",
            .check = accept_text,
            .to_rest = send_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const Json& data = rest.at("systemData");
                if (!data.is_object() || data.members().empty()) return {};
                Json out = Json::object();
                for (const auto& [key, member] : data.members())
                    if (!member.is_null()) out.set(camel_to_snake(key), member);
                return out;
            }};
}

Special conda_file_shape() {
    return {
        .shape = "path of a conda file, or its content as a mapping",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                Json* part = part_at(reading.document.value, pointer);
                std::string content;
                if (value.is_object()) {
                    content = to_yaml(value);
                } else {
                    if (!reading.expect_text(pointer, value)) return;
                    const std::string text = reading.text(pointer);
                    if (text.find('\n') != std::string::npos) {
                        content = text;
                    } else {
                        const std::string path = reading.files.resolve(text);
                        if (reading.files.kind(path) != PathKind::File)
                            return reading.refuse(pointer,
                                                  "expected a file on this machine, but '" + path +
                                                      (reading.files.kind(path) == PathKind::Folder
                                                           ? "' is a folder"
                                                           : "' does not exist"));
                        Result<std::string> bytes = reading.files.read(path);
                        if (!bytes) return reading.refuse(pointer, bytes.error().message);
                        if (Result<YamlDocument> conda = parse_yaml(*bytes, path); !conda)
                            return reading.refuse(pointer, conda.error().message);
                        else if (!conda->value.is_object())
                            return reading.refuse(
                                pointer,
                                path + ": " + expected("a conda file (a mapping)", conda->value));
                        content = std::move(*bytes);
                    }
                }
                *part = Json(content);  // from here on the content itself
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope&, Json& rest) {
                set_path(rest, "properties.condaFile", document.text(pointer, value));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& file = at_path(rest, "properties.condaFile");
            if (!file.is_string()) return {};
            if (Result<YamlDocument> conda = parse_yaml(file.as_view(), "conda");
                conda && conda->value.is_object())
                return conda->value;
            return file;
        }};
}

Special build_shape() {
    return {.shape = "mapping: `path`, `dockerfile_path`",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_mapping(pointer, value)) return;
                    check_keys(reading, pointer, value, {"path", "dockerfile_path"}, "a build");
                    if (value.at("path").is_null())
                        return reading.refuse(
                            pointer,
                            "key 'path' is missing: expected the folder of the Dockerfile");
                    const std::string here = pointer_to(pointer, "path");
                    if (!reading.expect_text(here, value.at("path"))) return;
                    const std::string path = reading.text(here);
                    if (is_remote_path(path)) return;
                    const std::size_t before = reading.problems.size();
                    reading.expect_path(here, path, LocalPath::Role::BuildContext, true, false);
                    if (reading.problems.size() != before) return;
                    const std::string name = value.at("dockerfile_path").as_string("Dockerfile");
                    const std::string dockerfile = reading.files.resolve(path) + "/" + name;
                    if (reading.files.kind(dockerfile) != PathKind::File)
                        reading.refuse(here, "expected a Dockerfile in it, but '" + dockerfile +
                                                 "' does not exist");
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope&, Json& rest) {
                    const std::string path = pointer_to(pointer, "path");
                    set_path(rest, "properties.build.contextUri",
                             document.text(path, value.at("path")));
                    set_path(rest, "properties.build.dockerfilePath",
                             value.at("dockerfile_path").as_string("Dockerfile"));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& build = at_path(rest, "properties.build");
                if (!build.is_object()) return {};
                Json out = Json::object({{"path", build.at("contextUri")}});
                if (!build.at("dockerfilePath").is_null())
                    out.set("dockerfile_path", build.at("dockerfilePath"));
                return out;
            }};
}

Special data_path_shape() {
    return {
        .shape = "local path, or a URI",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                const std::string type = reading.text(pointer_to(parent_of(pointer), "type"));
                check_path(reading, pointer, value, "data", LocalPath::Role::Data,
                           type != "uri_file", type == "uri_file");
                // An MLTable is a folder with a file of that name in it.
                if (type == "mltable" && !reading.local.empty() &&
                    reading.local.back().pointer == pointer &&
                    reading.files.kind(reading.local.back().path + "/MLTable") != PathKind::File)
                    reading.refuse(pointer, "expected a folder with a file 'MLTable' in it, but '" +
                                                reading.local.back().path + "' has none");
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope& scope, Json& rest) {
                set_path(rest, "properties.dataUri",
                         arm_id_of(scope, "data", document.text(pointer, value)));
            },
        .from_rest = [](const Json& rest) { return at_path(rest, "properties.dataUri"); }};
}

Special model_path_shape() {
    return {.shape = "local path, or a URI",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    check_path(reading, pointer, value, "models", LocalPath::Role::Model, true,
                               true);
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope& scope, Json& rest) {
                    set_path(rest, "properties.modelUri",
                             arm_id_of(scope, "models", document.text(pointer, value)));
                },
            .from_rest = [](const Json& rest) { return at_path(rest, "properties.modelUri"); }};
}

}  // namespace turnout::resources

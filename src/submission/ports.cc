// The inputs and outputs of a job, as its definition says them.
#include <algorithm>
#include <array>

#include "base/text.h"
#include "protocol/secret_reference.h"
#include "submission/command_job.h"
#include "submission/refusal.h"

namespace turnout::submission {
namespace {

bool is_port_name(std::string_view name) {
    return !name.empty() && name.size() <= 255 && !(name.front() >= '0' && name.front() <= '9') &&
           name.front() != '-' && std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-';
           });
}

Result<void> check_port_name(const std::string& kind, const std::string& name,
                             const std::string& field) {
    if (is_port_name(name)) return {};
    return refuse("InvalidName",
                  kind + " name '" + name.substr(0, 64) +
                      "' must be letters, digits, '_' and '-', and not begin with a digit",
                  field);
}

// A member that is a text, "" if it is absent or null.
Result<std::string> text_of(const Json& port, std::string_view member, const std::string& field) {
    const Json& value = port.at(member);
    if (value.is_null() || value.is_string()) return value.as_string();
    return not_as_expected("InvalidArgument", field + "." + std::string(member), "a text", value);
}

Result<void> check_type(const std::string& name, const std::string& type,
                        const std::string& field) {
    const std::array<std::string, 6> types = {"uri_file",     "uri_folder",   "mltable",
                                              "mlflow_model", "custom_model", "triton_model"};
    if (std::ranges::find(types, type) != types.end()) return {};
    return refuse("InvalidType",
                  "'" + name + "' has the unknown type '" + type.substr(0, 40) + "'" +
                      did_you_mean(type, types),
                  field);
}

Result<std::string> input_mode(const std::string& name, const std::string& mode,
                               const std::string& field) {
    if (mode.empty() || mode == "ReadOnlyMount") return std::string("ro_mount");
    if (mode == "Download") return std::string("download");
    if (mode == "Direct") return std::string("direct");
    if (mode == "ReadWriteMount")
        return refuse("InvalidMode",
                      "input '" + name + "' cannot be written: use ro_mount or download", field);
    if (mode == "EvalMount" || mode == "EvalDownload")
        return refuse("InvalidMode",
                      "mode " + mode + " of input '" + name +
                          "' does not work yet: use ro_mount, download or direct",
                      field);
    const std::array<std::string, 3> modes = {"ReadOnlyMount", "Download", "Direct"};
    return refuse("InvalidMode",
                  "input '" + name + "' has the unknown mode '" + mode.substr(0, 40) + "'" +
                      did_you_mean(mode, modes),
                  field);
}

Result<InputSaid> read_literal(InputSaid input, const Json& value, const std::string& field) {
    input.type = "literal";
    if (value.is_object() || value.is_array())
        return refuse("InvalidInput",
                      "the literal input '" + input.name + "' must be text, a number or a boolean",
                      field + ".value");
    if (value.is_null())
        return refuse("InvalidInput", "the literal input '" + input.name + "' has no value",
                      field + ".value");
    input.literal = literal_text(value);
    if (agent_protocol::mentions_secrets(input.literal))
        return no_secrets_here("the input '" + input.name + "'", field + ".value");
    return input;
}

Result<InputSaid> read_input(const std::string& name, const Json& said) {
    const std::string field = "inputs." + name;
    TURNOUT_TRY(check_port_name("input", name, field));
    InputSaid input;
    input.name = name;
    input.type = to_lower(TURNOUT_TRY(text_of(said, "jobInputType", field)));
    if (input.type == "literal" || (input.type.empty() && said.has("value")))
        return read_literal(std::move(input), said.at("value"), field);
    TURNOUT_TRY(check_type(name, input.type, field + ".jobInputType"));
    const std::string mode = TURNOUT_TRY(text_of(said, "mode", field));
    input.mode = TURNOUT_TRY(input_mode(name, mode, field + ".mode"));
    input.uri = TURNOUT_TRY(text_of(said, "uri", field));
    if (input.uri.empty())
        return refuse("InvalidInput", "input '" + name + "' has no uri", field + ".uri");
    if (agent_protocol::mentions_secrets(input.uri))
        return no_secrets_here("the input '" + name + "'", field + ".uri");
    return input;
}

// As the catalog has names (catalog/asset.h).
bool is_asset_word(std::string_view text) {
    return text.size() <= 255 && std::isalnum(static_cast<unsigned char>(text.front())) &&
           std::ranges::all_of(text, [](unsigned char c) {
               return std::isalnum(c) || c == '-' || c == '_' || c == '.';
           });
}

Result<OutputSaid> read_output(const std::string& name, const Json& said) {
    const std::string field = "outputs." + name;
    TURNOUT_TRY(check_port_name("output", name, field));
    OutputSaid output;
    output.name = name;
    output.type = TURNOUT_TRY(text_of(said, "jobOutputType", field));
    if (said.at("jobOutputType").is_null()) output.type = "uri_folder";
    TURNOUT_TRY(check_type(name, output.type, field + ".jobOutputType"));
    const std::string mode = TURNOUT_TRY(text_of(said, "mode", field));
    if (mode == "ReadWriteMount" || said.at("mode").is_null()) {
        output.mode = "rw_mount";
    } else if (mode == "Upload") {
        output.mode = "upload";
    } else {
        return refuse(
            "InvalidMode",
            "output '" + name + "' has mode '" + mode.substr(0, 40) + "': use rw_mount or upload",
            field + ".mode");
    }
    output.asset = TURNOUT_TRY(text_of(said, "assetName", field));
    output.version = TURNOUT_TRY(text_of(said, "assetVersion", field));
    if (output.asset.empty() && !output.version.empty())
        return refuse("InvalidOutput",
                      "output '" + name + "' has a version and no name to register it by",
                      field + ".assetVersion");
    for (const auto& [member, text] :
         {std::pair("assetName", &output.asset), std::pair("assetVersion", &output.version)})
        if (!text->empty() && !is_asset_word(*text))
            return refuse("InvalidOutput",
                          "output '" + name +
                              "': names and versions of assets are of letters, digits, '-', '_' "
                              "and '.', at most 255 of them, and begin with a letter or digit, "
                              "found '" +
                              text->substr(0, 64) + "'",
                          field + "." + member);
    output.uri = TURNOUT_TRY(text_of(said, "uri", field));
    return output;
}

}  // namespace

void read_ports(const Json& properties, CommandJob& job, std::vector<Error>& problems) {
    const auto each = [&](std::string_view member, const char* reason, auto read_one,
                          std::vector<std::string>& names, auto& ports) {
        const auto& said = properties.at(member).members();
        if (said.size() > kMaxPorts) {
            problems.push_back(
                refuse(reason, "a job has at most 500 " + std::string(member), std::string(member))
                    .error());
            return;
        }
        for (const auto& [name, port] : said) {
            names.push_back(name);
            if (auto one = read_one(name, port))
                ports.push_back(std::move(*one));
            else
                problems.push_back(one.error());
        }
    };
    each("inputs", "TooManyInputs", read_input, job.declared.inputs, job.inputs);
    each("outputs", "TooManyOutputs", read_output, job.declared.outputs, job.outputs);
}

}  // namespace turnout::submission

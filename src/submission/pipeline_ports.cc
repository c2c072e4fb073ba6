#include "submission/pipeline_reader.h"

#include <algorithm>

#include "base/text.h"
#include "resources/describe.h"
#include "submission/types.h"

namespace turnout::submission {

void PipelineReader::read_input(PipelineAround& around, const Node& node, const std::string& name,
                                const Json& declared, Ports& ports) {
    const std::string place = node.place + ".inputs." + name;
    const auto value = taken(&around, "input '" + name + "' of step '" + node.name + "'", declared,
                             node.said.at("inputs").at(name), place);
    if (!value) return;
    switch (value->kind) {
        case ValueKind::Absent:
        case ValueKind::Unknown: return;
        case ValueKind::Literal:
            ports.inputs.set(
                name, Json::object({{"jobInputType", "literal"}, {"value", value->literal}}));
            return;
        case ValueKind::Data:
        case ValueKind::Output: break;
    }
    std::string type = declared.at("type").as_string();
    if (type.empty() || type == "path") type = value->type;
    Json input = Json::object({{"jobInputType", type}});
    std::string mode = value->mode;
    if (mode.empty()) mode = rest_mode(declared.at("mode").as_view());
    if (!mode.empty()) input.set("mode", mode);
    if (value->kind == ValueKind::Output) {
        input.set("uri", "azureml://jobs/" + child(value->step) + "/outputs/" + value->output);
        ports.after.insert(value->step);
    } else {
        input.set("uri", value->uri);
    }
    ports.inputs.set(name, std::move(input));
}

namespace {

std::string version_said(const Json& output) {
    const Json& said = first_of(output, {"assetVersion", "asset_version", "version"});
    return said.is_null() ? "" : literal_text(said);
}

}  // namespace

// Of an output that the definition says something of.
std::optional<OutputTarget> PipelineReader::target_of(PipelineAround& around, const Node& node,
                                                      const std::string& name, const Json& said,
                                                      const OutputGiver* giver) {
    const std::string place = node.place + ".outputs." + name;
    OutputTarget target;
    target.asset = first_of(said, {"assetName", "asset_name", "name"}).as_string();
    target.version = version_said(said);
    target.mode = rest_mode(said.at("mode").as_view());
    target.type = first_of(said, {"jobOutputType", "job_output_type"}).as_string();
    if (const Json& uri = first_of(said, {"uri", "path"}); !uri.is_null()) {
        const auto text = filled(&around, uri.as_string(), place + ".uri");
        if (!text) return std::nullopt;
        target.uri = *text;
    }
    const Json& binding = said.is_object() ? said.at("value") : said;
    if (binding.is_null() || binding.as_view().empty()) return target;
    const auto bindings = bindings_in(binding.as_view());
    constexpr std::string_view of_outputs = "parent.outputs.";
    if (!bindings || bindings->size() != 1 || !bindings->front().inside.starts_with(of_outputs)) {
        say(refuse("InvalidReference",
                   place + ": expected ${{parent.outputs.NAME}}, found '" +
                       binding.as_string().substr(0, 120) + "'",
                   place));
        return std::nullopt;
    }
    const std::string outer = bindings->front().inside.substr(of_outputs.size());
    const auto found = around.outputs.find(outer);
    if (found == around.outputs.end()) {
        std::vector<std::string> known;
        for (const auto& [other, of] : around.outputs) known.push_back(other);
        say(refuse("InvalidReference",
                   place + ": ${{parent.outputs." + outer + "}} is no output of the pipeline" +
                       (known.empty() ? ", which has none" : did_you_mean(outer, known)),
                   place));
        return std::nullopt;
    }
    if (giver && !around.gives.emplace(outer, *giver).second) {
        say(refuse("InvalidReference",
                   place + ": output '" + outer + "' of the pipeline is given by another step, too",
                   place));
        return std::nullopt;
    }
    if (target.mode.empty()) target.mode = found->second.mode;
    if (target.uri.empty()) target.uri = found->second.uri;
    if (target.asset.empty()) {
        target.asset = found->second.asset;
        target.version = found->second.version;
    }
    return target;
}

void PipelineReader::read_output(PipelineAround& around, const Node& node, const std::string& name,
                                 const Json& declared, Ports& ports) {
    OutputGiver giver;
    giver.step = static_cast<std::int64_t>(pipeline.steps.size());
    giver.output = name;
    giver.type = declared.at("type").as_string("uri_folder");
    if (giver.type == "path" || giver.type.empty()) giver.type = "uri_folder";
    const Json& said = node.said.at("outputs").at(name);
    if (declared.is_null())  // it is declared by what is said of it
        giver.type = first_of(said, {"jobOutputType", "job_output_type"}).as_string("uri_folder");
    if (is_literal_type(giver.type)) {
        say(refuse("OutputTypeNotSupported",
                   node.place + ".outputs." + name + ": an output of type " + giver.type +
                       " does not work yet: outputs are files and folders",
                   node.place + ".outputs." + name));
        return;
    }
    const auto target = target_of(around, node, name, said, &giver);
    if (!target) return;
    Json output = Json::object({{"jobOutputType", giver.type}});
    std::string mode = target->mode;
    if (mode.empty()) mode = rest_mode(declared.at("mode").as_view());
    if (mode == "ReadOnlyMount") mode = "ReadWriteMount";  // "mount", of an output
    if (!mode.empty()) output.set("mode", mode);
    std::string uri = target->uri;
    if (uri.empty() && !datastore_.empty())
        uri = "azureml://datastores/" + datastore_ + "/paths/azureml/${{name}}/${{output_name}}";
    replace_all(uri, "${{default_datastore}}",
                datastore_.empty() ? std::string("workspaceblobstore") : datastore_);
    if (!uri.empty()) output.set("uri", uri);
    if (!target->asset.empty()) output.set("assetName", target->asset);
    if (!target->version.empty()) output.set("assetVersion", target->version);
    ports.outputs.set(name, std::move(output));
    ports.gives.emplace(name, std::move(giver));
}

namespace {

// A step that is written as a command job declares its inputs by giving them.
bool declares_by_giving(const Json& spec) {
    return spec.at("_source").as_view() == "YAML.JOB";
}

// What such a step says of an input, as a component would.
Json declared_by(const std::optional<StepValue>& value) {
    if (!value) return {};
    switch (value->kind) {
        case ValueKind::Literal: return Json::object({{"type", "string"}});
        case ValueKind::Data:
        case ValueKind::Output: return Json::object({{"type", value->type}});
        case ValueKind::Absent: return Json::object({{"type", "string"}, {"optional", true}});
        case ValueKind::Unknown: break;
    }
    return {};
}

}  // namespace

PipelineReader::Ports PipelineReader::read_ports_of(PipelineAround& around, const Node& node,
                                                    const Json& spec) {
    Ports ports;
    const bool own = declares_by_giving(spec);
    for (const auto& [name, declared] : spec.at("inputs").members())
        read_input(around, node, name, declared, ports);
    for (const auto& [name, said] : node.said.at("inputs").members()) {
        if (spec.at("inputs").has(name)) continue;
        const std::string place = node.place + ".inputs." + name;
        if (!own) {
            refuse_unknown("input", name, spec.at("inputs"), place);
            continue;
        }
        const std::size_t before = problems_.size();
        const Json declared = declared_by(value_of(&around, said, place));
        if (problems_.size() == before && !declared.is_null())
            read_input(around, node, name, declared, ports);
    }
    for (const auto& [name, declared] : spec.at("outputs").members())
        read_output(around, node, name, declared, ports);
    for (const auto& [name, said] : node.said.at("outputs").members()) {
        if (spec.at("outputs").has(name)) continue;
        if (own)
            read_output(around, node, name, Json(), ports);
        else
            refuse_unknown("output", name, spec.at("outputs"), node.place + ".outputs." + name);
    }
    return ports;
}

void PipelineReader::read_targets(PipelineAround& around, const Json& outputs,
                                  const std::string& place) {
    for (const auto& [name, said] : outputs.members()) {
        const std::string at = place + "outputs." + name;
        OutputTarget target{first_of(said, {"jobOutputType", "type"}).as_string("uri_folder"),
                            rest_mode(said.at("mode").as_view()), ""};
        const auto uri = filled(&around, first_of(said, {"uri", "path"}).as_string(), at + ".uri");
        if (uri) target.uri = *uri;
        target.asset = first_of(said, {"assetName", "name"}).as_string();
        target.version = version_said(said);
        if (const auto own = around.outputs.find(name);
            own != around.outputs.end() && target.mode.empty())
            target.mode = own->second.mode;  // as its component says
        around.outputs[name] = std::move(target);
    }
}

}  // namespace turnout::submission

// How the definition of a pipeline is taken apart into its steps (pipeline_job.h): what is around a
// step, and a reader that goes through all of them. Private to submission/.
//
//   pipeline_bindings.cc  what "${{…}}" stands for
//   pipeline_ports.cc     the inputs and outputs of a step, and where outputs go
//   pipeline_steps.cc     a step, a pipeline within the pipeline, and the order
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/group.h"
#include "submission/pipeline_job.h"
#include "submission/pipeline_values.h"
#include "submission/refusal.h"

namespace turnout::submission {

using Problems = std::vector<Error>;
using ValueKind = StepValue::Kind;

// "azureml:/subscriptions/…" is an id with a word before it.
std::string bare_id(const Json& id);
std::vector<std::string> names_of(const Json& members);

// Where an output of a step goes that is one of what is around it.
struct OutputTarget {
    std::string type, mode, uri;
    std::string asset = {}, version = {};  // what it becomes; "" = no asset
};
// Who gives an output: of a step, or of a pipeline within the pipeline.
struct OutputGiver {
    bool known = true;
    std::int64_t step = 0;
    std::string output, type;
};

// A pipeline, or one within it.
struct PipelineAround {
    std::string prefix;  // of the names of its steps: "prepare."
    std::string place;   // of its definition: "" or "jobs.prepare.component."
    std::map<std::string, StepValue> inputs;
    std::map<std::string, OutputTarget> outputs;
    std::map<std::string, std::map<std::string, OutputGiver>> given;  // by step and output
    std::set<std::string> unknown;             // steps whose component could not be asked for
    std::map<std::string, OutputGiver> gives;  // by its own outputs
    std::string compute;
    bool deterministic = true;  // the same inputs give the same outputs
    std::size_t depth = 0;
};

class PipelineReader {
public:
    PipelineReader(const Workspace& workspace, std::string name, std::string experiment,
                   std::string datastore, bool force_rerun, const ComponentOf& component_of,
                   Problems& problems)
        : workspace_(workspace),
          name_(std::move(name)),
          experiment_(std::move(experiment)),
          datastore_(std::move(datastore)),
          force_rerun_(force_rerun),
          component_of_(component_of),
          problems_(problems) {}

    void read_steps(PipelineAround& around, const Json& jobs);
    std::optional<StepValue> value_of(const PipelineAround* around, const Json& said,
                                      const std::string& place);
    // What a declared input has; nothing: that was refused.
    std::optional<StepValue> taken(const PipelineAround* around, const std::string& what,
                                   const Json& declared, const Json& said,
                                   const std::string& place);
    void refuse_unknown(const std::string& what, const std::string& name, const Json& declared,
                        const std::string& place);
    void read_targets(PipelineAround& around, const Json& outputs, const std::string& place);

    Pipeline pipeline;
    std::vector<std::string> places;

private:
    struct Node {
        const std::string& name;
        const Json& said;
        std::string place;    // "jobs.train"
        std::string of_spec;  // place of its component: "jobs.train.component."
    };
    struct Ports {
        Json inputs = Json::object(), outputs = Json::object();
        std::set<std::int64_t> after;
        std::map<std::string, OutputGiver> gives;
    };

    void say(const Failure& failure) { problems_.push_back(failure.error()); }
    template <class T>
    bool good(const Result<T>& result) {
        if (!result) problems_.push_back(result.error());
        return static_cast<bool>(result);
    }
    std::optional<std::vector<std::size_t>> order_of(const PipelineAround& around,
                                                     const Json& jobs);
    void read_step(PipelineAround& around, const Node& node);
    void read_command(PipelineAround& around, const Node& node, const Json& spec);
    void read_parallel(PipelineAround& around, const Node& node, const Json& spec);
    void read_nested(PipelineAround& around, const Node& node, const Json& spec);
    Ports read_ports_of(PipelineAround& around, const Node& node, const Json& spec);
    void read_input(PipelineAround& around, const Node& node, const std::string& name,
                    const Json& declared, Ports& ports);
    void read_output(PipelineAround& around, const Node& node, const std::string& name,
                     const Json& declared, Ports& ports);
    std::optional<OutputTarget> target_of(PipelineAround& around, const Node& node,
                                          const std::string& name, const Json& said,
                                          const OutputGiver* giver);
    std::optional<StepValue> bound(const PipelineAround* around, const std::string& inside,
                                   const std::string& place);
    std::optional<std::string> filled(const PipelineAround* around, const std::string& text,
                                      const std::string& place);
    std::string child(std::int64_t step) const { return child_name(name_, step); }

    const Workspace& workspace_;
    const std::string name_, experiment_, datastore_;
    const bool force_rerun_;
    const ComponentOf& component_of_;
    Problems& problems_;
    bool is_enough() const;
    std::size_t nested_ = 0;  // pipelines within it so far
    std::size_t bytes_ = 0;   // of its steps so far
};

}  // namespace turnout::submission

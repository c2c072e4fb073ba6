// The kinds of compute targets there are: what each can do on Azure, and what of that is so here.
// One table: who refuses a compute or a job, and who shows what there is, asks it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace turnout::resources {

// Maybe: it depends on the machine, as a GPU of a local computer does.
enum class Can { No, Yes, Maybe };
std::string_view name_of(Can can);  // "no", "yes", "maybe"

struct Abilities {
    Can train = Can::No;     // command jobs
    Can gpu = Can::No;       // GPU acceleration
    Can sweep = Can::No;     // automated hyperparameter tuning
    Can automl = Can::No;    // automated model selection
    Can pipeline = Can::No;  // a step of a pipeline
    Can create = Can::No;    // made by the workspace
    Can attach = Can::No;    // one that is there already
};
using Ability = Can Abilities::*;

// In the order in which they are shown.
struct NamedAbility {
    std::string_view name;  // as the API has it
    Ability ability;
    std::string_view doing;  // "runs no sweeps": for refusals
};
std::span<const NamedAbility> abilities();

struct ComputeType {
    std::string_view type;    // as REST spells it in `computeType`; "" where there is no resource
    std::string_view word;    // in YAML, squeezed; or what a job names in place of a compute
    std::string_view schema;  // begins the file name of its `$schema`
    std::string_view title;   // what it is, for people
    Abilities azure, here;
    // Why it is not made, or not attached, where Azure does not do that either.
    std::string_view not_created = {};
    std::string_view not_attached = {};
};

std::span<const ComputeType> compute_types();
// By its type or its word, without regard to case, '_' and '-'; null: there is none of that name.
const ComputeType* find_compute_type(std::string_view name);

// Whether this server makes such computes, or (`attach`) takes ones that are there. InvalidArgument
// says why not, and what is possible.
Result<void> check_is_made(const ComputeType& type, bool attach);
// Whether what needs that can run there. `compute`: what it is called; `job`: what a job of that
// kind is called ("sweep"). InvalidArgument names what can.
Result<void> check_can(const ComputeType& type, Ability needs, std::string_view compute,
                       std::string_view job);

// A row for the API and for people: {type, title, azure: {…}, here: {…}, …}.
Json to_json(const ComputeType& type);
// In one word: "yes", "maybe", "no"; "not yet" where only Azure can.
std::string_view in_a_word(const ComputeType& type, Ability ability);
// Markdown.
std::string capabilities_page();

}  // namespace turnout::resources

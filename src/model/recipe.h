// What a step of a pipeline is made of: what decides what it gives. Two steps with equal recipes
// give the same, so the outputs of one that has completed stand for those of the other, and where
// they differ people can be told in what.
//
// A recipe is a JSON object that is stored with the job:
//   command      as the component has it, placeholders and all
//   code         {content, at}: a digest of its files, and where they lie; absent without code
//   environment  {kind, python, interpreter, image, requirements: [line …], variables: {…}}
//   parameters   {input: its literal value}
//   inputs       {input: {type, mode, content, at, files}}; without `content` nobody can see what
//   is
//                there; `files` {path: beginning of its hash}, of few
//   outputs      {output: {type, mode, path}}; `path` only where the definition says one
//   variables    {environment variable of the definition: value}
//   distribution {type, nodes, processes, …}; absent of one process
// Places (`at`) and `files` are for people: they decide nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace turnout {

// SHA-256, in hex, of all that decides.
std::string fingerprint_of(const Json& recipe);

// The input whose content nobody can see ("" = all are known): such a step is never equal to one.
std::string unseen_input(const Json& recipe);

struct RecipeDifference {
    std::string part;       // "command", "code", "environment", "parameter", "input", "output" …
    std::string name;       // of the parameter, input …; "" where there is one only
    std::string now, then;  // "" = it is not there
    bool operator==(const RecipeDifference&) const = default;
};
// In what `now` differs from `then`; of lists of lines what is in one alone. Empty: equal.
std::vector<RecipeDifference> differences(const Json& now, const Json& then);

}  // namespace turnout

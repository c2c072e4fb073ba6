// The bytecode of an environment's packages, which makes its imports quick: taken over from other
// environments of this machine where they have the same files, compiled later where they have not.
#pragma once

#include <string>
#include <vector>

namespace turnout::environment {

// Into `folder`, newly built, from complete environments beside it that hold the same source under
// the same name. `linked`: files of both are links into one cache, and what is there is never
// written to by tasks. How many were taken over.
std::size_t adopt_bytecode(const std::string& folder, const std::string& mark, bool linked);

// Compiles the rest while nobody needs the processor. Returns at once; it ends with this process.
void compile_later(const std::string& folder, const std::vector<std::string>& environment);

}  // namespace turnout::environment

// What a job's command line says about itself: "${{ … }}" and "$[[ … ]]".
#pragma once

#include <string>

#include "base/result.h"
#include "submission/command_job.h"

namespace turnout::submission {

// The command without "$[[ … ]]", each of which stands for its inside if all that it refers to was
// given and for nothing if not. InvalidArgument if it refers to what is not declared.
Result<std::string> expand_command(const std::string& command, const Declared& declared);

}  // namespace turnout::submission

// The program that a parallel step runs on its nodes (python/parallel/driver.py).
#pragma once

#include <string>
#include <string_view>

namespace turnout::submission {

// Python, for `python -c`; the file says what its words are.
std::string_view parallel_program();

// The variable that carries it to the command: a job gets it whose command names it.
inline constexpr std::string_view kParallelVariable = "AZUREML_PARALLEL_PROGRAM";

}  // namespace turnout::submission

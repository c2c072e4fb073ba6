// How a job names a secret of its workspace, in the value of an environment variable:
//
//     ${{secrets.NAME}}        its value, also within a longer text
//     ${{secrets.NAME:file}}   the path of a file that has it, which only the job's user can read
//
// The text stands in the definition, in the store and in the task; what it stands for travels with
// the lease alone.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::agent_protocol {

inline constexpr std::size_t kMaxSecretName = 127;  // as Azure's key vault has it
// Of one, in bytes, as there too.
inline constexpr std::size_t kMaxSecretValue = 25'000;
// Of all that a task names, in bytes: what hides them in its log travels as one variable.
inline constexpr std::size_t kMaxSecretsOfTask = 50'000;

// Of a service's own task: what the server shows when it carries a request to it, so that the task
// knows that it is the server. Made of the attempt, it is in no vault.
inline constexpr std::string_view kServiceKey = "turnout-service-key";

// 1 to 127 of letters, digits, '-' and '_', beginning with a letter or a digit.
bool is_secret_name(std::string_view name);

struct SecretReference {
    std::string name;
    bool file = false;
    std::size_t at = 0, size = 0;  // of the whole "${{…}}" in its text
};

// Whether the text may have one; all others cost no more than this.
bool mentions_secrets(std::string_view text);
// All of them, in order. InvalidArgument: "${{secrets." that is none.
Result<std::vector<SecretReference>> secret_references(std::string_view text);

// The text with each in the place of its reference; `value_of` may fail.
Result<std::string> put_secrets(
    std::string_view text,
    const std::function<Result<std::string>(const SecretReference&)>& value_of);

}  // namespace turnout::agent_protocol

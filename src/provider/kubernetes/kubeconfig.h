// A kubeconfig: where an API server is, and who we are there. Pure: the files that it names are
// read by others.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace turnout {

struct KubeAccess {
    std::string context;      // that was chosen
    std::string server;       // "https://10.0.0.1:6443", without '/' at its end
    std::string server_name;  // that its certificate has to have; "": the address
    std::string name_space;   // of the context; "": it does not say
    // PEM, or the path of a file of it; both "": the system's authorities, or none is shown.
    std::string authorities, authorities_file;
    std::string certificate, certificate_file;
    Secret key;
    std::string key_file;
    Secret token;
    std::string token_file;
    // A program that says a token, as kubelogin and others do.
    struct Program {
        std::string command;
        std::string version;  // of the answer, "client.authentication.k8s.io/v1"
        std::vector<std::string> arguments;
        std::vector<std::pair<std::string, std::string>> variables;
    };
    std::optional<Program> program;
};

// `file`: its absolute path; names in it are relative to its folder. `context`: "" for its current
// one. InvalidArgument, with the place: it is no kubeconfig, or asks for what is not done here.
Result<KubeAccess> read_kubeconfig(std::string_view text, const std::string& file,
                                   const std::string& context);

// What such a program answers.
struct SaidCredentials {
    Secret token;
    std::string certificate;
    Secret key;
};
Result<SaidCredentials> parse_credentials(std::string_view text);

}  // namespace turnout

#include "provider/kubernetes/kubeconfig.h"

#include <algorithm>

#include "base/json.h"
#include "base/text.h"
#include "yaml/yaml.h"

namespace turnout {

namespace {

constexpr std::size_t kLongestServer = 500;

// What the list `section` has under that name, and its pointer.
Result<std::pair<const Json*, std::string>> named(const YamlDocument& document,
                                                  const std::string& section,
                                                  const std::string& kind,
                                                  const std::string& name) {
    const auto& all = document.value.at(section).items();
    std::vector<std::string> known;
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i].at("name").as_string() == name)
            return std::pair{&all[i].at(kind),
                             pointer_to(pointer_to(pointer_to("", section), i), kind)};
        known.push_back(all[i].at("name").as_string());
    }
    const std::string there = known.empty() ? ": there is none" : ": there is " + join(known, ", ");
    return invalid(document.file + ": there is no " + kind + " " + shown(name) +
                       did_you_mean(name, known, there),
                   kind);
}

std::string beside(const std::string& file, std::string path) {
    if (path.empty() || path.front() == '/') return path;
    return file.substr(0, file.rfind('/') + 1) + path;
}

Result<std::string> decoded(const YamlDocument& document, const std::string& pointer,
                            const Json& value) {
    if (value.is_null()) return std::string();
    std::string text = value.as_string();
    std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
    std::optional<std::string> bytes = from_base64(text);
    if (!bytes || bytes->empty())
        return invalid(document.place(pointer) + ": " + dotted(pointer) + ": expected base64",
                       dotted(pointer));
    return std::move(*bytes);
}

Failure not_done(const YamlDocument& document, const std::string& pointer,
                 const std::string& instead) {
    return invalid(document.place(pointer) + ": " + dotted(pointer) + ": " + instead,
                   dotted(pointer));
}

bool is_set(const Json& value) {
    return !value.is_null() && !(value.is_bool() && !value.as_bool()) &&
           !(value.is_string() && value.as_view().empty());
}

}  // namespace

Result<KubeAccess> read_kubeconfig(std::string_view text, const std::string& file,
                                   const std::string& wanted) {
    const YamlDocument document = TURNOUT_TRY(parse_yaml(text, file));
    if (!document.value.is_object() || !document.value.has("clusters"))
        return invalid(file + ": expected a kubeconfig, with clusters, users and contexts",
                       "kubeconfig");
    KubeAccess access;
    access.context = wanted.empty() ? document.value.at("current-context").as_string() : wanted;
    if (access.context.empty())
        return invalid(file + ": expected 'current-context', or a pool that says 'context'",
                       "context");
    const auto [context, of_context] =
        TURNOUT_TRY(named(document, "contexts", "context", access.context));
    access.name_space = context->at("namespace").as_string();
    const auto [cluster, of_cluster] =
        TURNOUT_TRY(named(document, "clusters", "cluster", context->at("cluster").as_string()));
    access.server = cluster->at("server").as_string();
    while (access.server.ends_with('/')) access.server.pop_back();
    const bool plain = std::ranges::all_of(
        access.server, [](unsigned char c) { return c > ' ' && c < 0x7f && c != '"'; });
    if (!access.server.starts_with("https://") || access.server.size() <= 8 ||
        access.server.size() > kLongestServer || !plain)
        return not_done(document, pointer_to(of_cluster, "server"),
                        "expected the address of an API server, such as https://10.0.0.1:6443");
    if (is_set(cluster->at("insecure-skip-tls-verify")))
        return not_done(document, pointer_to(of_cluster, "insecure-skip-tls-verify"),
                        "an API server is always verified: name its 'certificate-authority'");
    if (is_set(cluster->at("proxy-url")))
        return not_done(document, pointer_to(of_cluster, "proxy-url"), "no proxy is used here");
    access.server_name = cluster->at("tls-server-name").as_string();
    access.authorities =
        TURNOUT_TRY(decoded(document, pointer_to(of_cluster, "certificate-authority-data"),
                            cluster->at("certificate-authority-data")));
    if (access.authorities.empty())
        access.authorities_file = beside(file, cluster->at("certificate-authority").as_string());

    const auto [user, of_user] =
        TURNOUT_TRY(named(document, "users", "user", context->at("user").as_string()));
    for (const char* const name : {"auth-provider", "username", "password", "as", "as-groups"})
        if (is_set(user->at(name)))
            return not_done(document, pointer_to(of_user, name),
                            "expected a token, a client certificate or 'exec'");
    access.certificate =
        TURNOUT_TRY(decoded(document, pointer_to(of_user, "client-certificate-data"),
                            user->at("client-certificate-data")));
    if (access.certificate.empty())
        access.certificate_file = beside(file, user->at("client-certificate").as_string());
    access.key = Secret(TURNOUT_TRY(
        decoded(document, pointer_to(of_user, "client-key-data"), user->at("client-key-data"))));
    if (access.key.empty()) access.key_file = beside(file, user->at("client-key").as_string());
    // A file's token is the fresher one.
    access.token_file = beside(file, user->at("tokenFile").as_string());
    if (access.token_file.empty()) access.token = Secret(user->at("token").as_string());
    if (const Json& exec = user->at("exec"); exec.is_object()) {
        KubeAccess::Program program;
        program.command = exec.at("command").as_string();
        if (program.command.empty())
            return not_done(document, pointer_to(of_user, "exec"), "expected a 'command'");
        // A name alone is looked for in PATH.
        if (program.command.find('/') != std::string::npos)
            program.command = beside(file, program.command);
        program.version = exec.at("apiVersion").as_string("client.authentication.k8s.io/v1");
        for (const Json& one : exec.at("args").items())
            program.arguments.push_back(one.is_string() ? one.as_string() : one.dump());
        for (const Json& one : exec.at("env").items())
            program.variables.emplace_back(one.at("name").as_string(), one.at("value").as_string());
        access.program = std::move(program);
    }
    return access;
}

Result<SaidCredentials> parse_credentials(std::string_view text) {
    const Result<Json> json = parse_json(text);
    if (!json || json->at("kind").as_view() != "ExecCredential")
        return fail(Code::FailedPrecondition, "NotUnderstood",
                    "expected an ExecCredential from the kubeconfig's program");
    const Json& status = json->at("status");
    SaidCredentials said;
    said.token = Secret(status.at("token").as_string());
    said.certificate = status.at("clientCertificateData").as_string();
    said.key = Secret(status.at("clientKeyData").as_string());
    if (said.token.empty() && said.certificate.empty())
        return fail(Code::FailedPrecondition, "NotUnderstood",
                    "the kubeconfig's program said neither a token nor a certificate");
    // It becomes a header.
    if (!std::ranges::all_of(said.token.reveal(),
                             [](unsigned char c) { return c > ' ' && c < 0x7f; }))
        return fail(Code::FailedPrecondition, "NotUnderstood",
                    "the token of the kubeconfig's program is none");
    return said;
}

}  // namespace turnout

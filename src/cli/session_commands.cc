// Browsers that are logged in, and the identity provider by which people log in.
#include "base/text.h"
#include "cli/commands.h"

namespace turnout::cli {

int session_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> sessions = (*opened)->get("/turnout/sessions");
    if (!sessions) return context.fail(sessions.error());
    return context.show(resources::in_snake_case(sessions->at("value")), sessions->at("value"),
                        {"id", "user", "name", "origin", "created", "expires"});
}

int session_remove(Context& context) {
    const Arguments& args = context.args();
    const std::string id = args.operands.empty() ? args.get("--id") : args.operands[0];
    if (id.empty())
        return context.fail({Code::InvalidArgument, "Usage",
                             "which one? give its id (`turnout session list` shows it)", "--id"});
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<client::Reply> gone =
        (*opened)->send("DELETE", "/turnout/sessions/" + percent_encode(id));
    if (!gone) return context.fail(gone.error());
    context.note("that browser is logged out");
    return 0;
}

int oidc_check(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> found = (*opened)->post("/turnout/oidc/check");
    if (!found) return context.fail(found.error());
    if (!context.answers_a_person()) return context.show(resources::in_snake_case(*found), *found);
    const Json& provider = found->at("provider");
    std::string text = found->at("file").as_string() + " is right\n";
    text += "  provider   " + found->at("issuer").as_string() + " answers, with " +
            std::to_string(provider.at("keys").items().size()) + " keys\n";
    text += "  browser    it has to know " + found->at("redirect").as_string() +
            " as a redirect address\n";
    text +=
        std::string("  terminals  ") +
        (provider.has("deviceEndpoint") ? "it has a login for devices"
                                        : "it has no login for devices: `turnout login` needs a "
                                          "token") +
        "\n";
    for (const Json& role : found->at("roles").items())
        text += "  " + role.at("group").as_string() + ": " + role.at("role").as_string() + " on " +
                words_of_scope(role.at("scope").as_string()) + "\n";
    context.out(text);
    return 0;
}

int user_link(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Arguments& args = context.args();
    if (!args.has("--subject"))
        return context.fail({Code::InvalidArgument, "Usage",
                             "whom does the provider know them as? --subject is missing",
                             "--subject"});
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    std::string issuer = args.get("--issuer");
    if (issuer.empty()) {
        const Result<Json> ways = api.get("/turnout/login");
        if (!ways) return context.fail(ways.error());
        issuer = ways->at("issuer").as_string();
        if (issuer.empty())
            return context.fail({Code::FailedPrecondition, "NoOidc",
                                 "this server has no identity provider: give --issuer",
                                 "--issuer"});
    }
    const Result<Json> user =
        api.put("/turnout/users/" + percent_encode(*name) + "/subject",
                Json::object({{"issuer", issuer}, {"subject", args.get("--subject")}}));
    if (!user) return context.fail(user.error());
    return context.show(resources::in_snake_case(*user), *user);
}

}  // namespace turnout::cli

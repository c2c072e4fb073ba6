// Tokens of people: what a program or another machine gets in place of a password.
#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"

namespace turnout::cli {

namespace {

std::string token_path(const std::string& name) {
    return "/turnout/tokens/" + percent_encode(name);
}

Json row_of(const Json& token) {
    Json row = Json::object();
    for (const auto& [key, value] : token.members())
        if (key != "token") row.set(resources::camel_to_snake(key), value);
    if (!token.has("expires")) row.set("expires", "never");
    return row;
}

// The secret alone on standard output, so that it can go where it belongs by a pipe.
int show_secret(Context& context, const Json& token) {
    const std::string name = token.at("name").as_string();
    if (!context.args().has("--output") && !context.args().has("--query")) {
        context.note("token '" + name + "' of user " + token.at("user").as_string() + ", " +
                     (token.has("expires") ? "until " + utc_time(token.at("expires").as_string())
                                           : "until it is revoked") +
                     "; it is shown this once:");
        context.out(token.at("token").as_string() + "\n");
        return 0;
    }
    Json row = row_of(token);
    row.set("token", token.at("token"));
    return context.show(row, token);
}

int make_token(Context& context, const std::string& name, const std::string& user) {
    const Arguments& args = context.args();
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    Json body = Json::object({{"name", name}});
    if (!user.empty()) body.set("user", user);
    if (args.has("--expires")) body.set("expires", args.get("--expires"));
    if (args.has("--read-only")) body.set("access", "read");
    if (args.has("--workspace-only")) body.set("scope", api.settings().workspace_path());
    const Result<Json> token = api.post("/turnout/tokens", body);
    if (!token) return context.fail(token.error());
    return show_secret(context, *token);
}

}  // namespace

int token_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> tokens = (*opened)->get("/turnout/tokens");
    if (!tokens) return context.fail(tokens.error());
    Json rows = Json::array();
    for (const Json& token : tokens->at("value").items()) rows.push(row_of(token));
    return context.show(rows, tokens->at("value"),
                        {"id", "name", "user", "access", "scope", "expires", "state", "in_use"});
}

int token_create(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    return make_token(context, *name, context.args().get("--user"));
}

int user_token(Context& context) {
    const Result<std::string> user = context.name();
    if (!user) return context.fail(user.error());
    return make_token(context, context.args().get("--token-name", "login"), *user);
}

int token_rotate(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<Json> token = api.post(token_path(*name) + "/rotate");
    if (!token) return context.fail(token.error());
    // Commands go on with the new one, if they used it.
    const std::string& file = api.settings().api_key_file;
    if (!token->at("inUse").as_bool() || file.empty()) return show_secret(context, *token);
    if (const Result<void> written =
            client::write_file(file, token->at("token").as_string() + "\n", 0600);
        !written) {
        context.fail(written.error());
        context.note("the token that was in " + file +
                     " is not valid any more: put this one there");
        show_secret(context, *token);
        return 1;
    }
    context.note("the new token is in " + file +
                 "; shells that had `turnout env` need it again, and the one before opens nothing");
    return context.show(row_of(*token), *token);
}

int token_revoke(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<Json> tokens = api.get("/turnout/tokens");
    if (!tokens) return context.fail(tokens.error());
    bool own = false;
    for (const Json& token : tokens->at("value").items())
        if (token.at("inUse").as_bool() &&
            (token.at("id").as_view() == *name || token.at("name").as_view() == *name)) {
            own = true;
            if (const Result<void> agreed = context.agreed(
                    "this command itself uses the token '" + *name +
                        "', and would be the last one that can",
                    "Revoke it?", "`turnout token rotate " + *name + "` puts another in its place");
                !agreed)
                return context.fail(agreed.error());
        }
    const Result<client::Reply> gone = api.send("DELETE", token_path(*name));
    if (!gone) return context.fail(gone.error());
    context.note("token '" + *name + "' is revoked: it opens nothing any more");
    if (own && !api.settings().data.empty())
        context.note(
            "commands here have none now: `turnout down` and `turnout up` make another "
            "admin.key");
    return 0;
}

}  // namespace turnout::cli

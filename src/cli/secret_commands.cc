// Secrets of a workspace: jobs get them by name, and nobody reads them.
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"

namespace turnout::cli {

namespace {

constexpr std::size_t kShortestMasked = 8;  // supervisor/mask.h

std::string secret_path(const client::Api& api, const std::string& name) {
    return api.in_workspace("/secrets/" + percent_encode(name));
}

Json secret_row(const Json& secret) {
    Json row = Json::object({{"name", secret.at("name")}});
    for (const auto& [key, value] : secret.at("properties").members())
        row.set(resources::camel_to_snake(key), value);
    return row;
}

// From a file, a pipe, or a line that the terminal does not show. The line break at the end of a
// single line belongs to the editor or to `echo`.
Result<std::string> secret_value(Context& context) {
    const Arguments& args = context.args();
    const std::string file = args.get("--value-file", "-");
    std::string value;
    if (file != "-")
        value = TURNOUT_TRY(client::read_file(file));
    else if (::isatty(0) == 1)
        value = read_hidden_line(context, "Value: ");
    else
        value = TURNOUT_TRY(client::read_file("/dev/stdin"));
    if (std::ranges::count(value, '\n') == 1 && value.ends_with('\n')) value.pop_back();
    if (value.ends_with('\r') && value.find('\n') == std::string::npos) value.pop_back();
    if (value.empty())
        return invalid("no value: give --value-file FILE, or the value on standard input");
    return value;
}

}  // namespace

int secret_set(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<std::string> value = secret_value(context);
    if (!value) return context.fail(value.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    Json properties = is_utf8(*value)
                          ? Json::object({{"value", *value}})
                          : Json::object({{"value", to_base64(*value)}, {"encoding", "base64"}});
    const Result<Json> set =
        api.put(secret_path(api, *name), Json::object({{"properties", std::move(properties)}}));
    if (!set) return context.fail(set.error());
    context.note("jobs get it by environment_variables: {NAME: \"" +
                 set->at("properties").at("reference").as_string() + "\"}");
    if (value->size() < kShortestMasked)
        context.note("it is shorter than " + std::to_string(kShortestMasked) +
                     " bytes, and is not hidden where a job prints it");
    return context.show(secret_row(*set), *set);
}

int secret_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<Json> secrets = api.list(api.in_workspace("/secrets"));
    if (!secrets) return context.fail(secrets.error());
    Json rows = Json::array();
    for (const Json& secret : secrets->items()) rows.push(secret_row(secret));
    return context.show(rows, *secrets, {"name", "created", "created_by", "changed", "changed_by"});
}

int secret_show(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> secret = (*opened)->get(secret_path(**opened, *name));
    if (!secret) return context.fail(secret.error());
    return context.show(secret_row(*secret), *secret);
}

int secret_remove(Context& context) {
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<client::Reply> gone = api.send("DELETE", secret_path(api, *name));
    if (!gone) return context.fail(gone.error());
    context.note("secret '" + *name +
                 "' is removed; a job that names it and has not begun fails when its turn comes");
    return 0;
}

int secret_rotate_key(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> rotated = (*opened)->post("/turnout/secrets/rotateKey");
    if (!rotated) return context.fail(rotated.error());
    const std::int64_t count = rotated->at("secrets").as_int();
    context.note("another key seals the server's secrets now: " + std::to_string(count) +
                 (count == 1 ? " secret" : " secrets"));
    return context.show(*rotated, *rotated);
}

}  // namespace turnout::cli

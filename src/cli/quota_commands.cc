// What users and workspaces may have: `quota`.
#include "base/quantities.h"
#include "base/text.h"
#include "cli/commands.h"
#include "model/quota.h"

namespace turnout::cli {

namespace {

Error quota_usage(std::string message, std::string option) {
    return {Code::InvalidArgument, "Usage", std::move(message), std::move(option)};
}

// Whose quota the options mean, as the server takes it, and the server.
struct QuotaAsked {
    client::Api* api;
    std::string of, name;  // "user", "everyUser" or "workspace"
};
Result<QuotaAsked> quota_asked(Context& context) {
    client::Api* const api = TURNOUT_TRY(context.api());
    const Arguments& args = context.args();
    const int given =
        int(args.has("--user")) + int(args.has("--workspace-name")) + int(args.has("--default"));
    if (given != 1)
        return Failure(
            quota_usage("whose quota? give one of --user NAME, -w WORKSPACE and --default, "
                        "which is of every user",
                        "--user"));
    if (args.has("--user")) return QuotaAsked{api, "user", args.get("--user")};
    if (args.has("--default")) return QuotaAsked{api, "everyUser", "true"};
    return QuotaAsked{api, "workspace", api->settings().workspace_path()};
}

Result<Json> limit_asked(const QuotaField& field, const std::string& text) {
    if (text == "unlimited") return Json(text);
    if (text == "default") return Json();
    if (field.value == &Quota::stored) {
        const Result<std::uint64_t> bytes = parse_size(text);
        if (bytes) return Json(*bytes);
    } else if (const auto number = parse_whole_number(text); number && *number >= 0) {
        return Json(*number);
    }
    return Failure(quota_usage(
        std::string(field.option) + " is '" + text + "': expected " +
            (field.value == &Quota::stored ? "a size such as 50GB" : "a whole number from 0") +
            ", unlimited, or default (what holds for every user)",
        std::string(field.option)));
}

std::string words_of_row(const Json& row) {
    if (row.has("user")) return "user " + row.at("user").as_string();
    if (row.at("everyUser").as_bool()) return "every user";
    return words_of_scope(row.at("workspace").as_string());
}

std::string number_words(const QuotaField& field, const Json& number) {
    if (!number.is_int()) return number.as_string();
    if (field.value != &Quota::stored) return std::to_string(number.as_int());
    return to_size_words(static_cast<std::uint64_t>(number.as_int()));
}

// "2 / 4"; "2" where there is no limit; "- / 4" of every user.
Json row_for_people(const Json& one) {
    Json row = Json::object({{"of", words_of_row(one)}});
    const bool every_user = one.at("everyUser").as_bool();
    const Json& limits = every_user ? one.at("limits") : one.at("holds");
    for (const QuotaField& field : kQuotaFields) {
        const Json& limit = limits.at(field.name);
        const Json& used = one.at("used").at(field.name);
        std::string text = used.is_null() ? "-" : number_words(field, used);
        if (limit.is_int()) text += " / " + number_words(field, limit);
        row.set(field.option.substr(2), text);
    }
    return row;
}

int show_quotas(Context& context, const Json& list) {
    if (!context.answers_a_person() &&
        !(context.output_format() && *context.output_format() == Format::Table))
        return context.show(resources::in_snake_case(list), list);
    Json rows = Json::array();
    for (const Json& one : list.items()) rows.push(row_for_people(one));
    return context.show(rows, list, {"of", "slots", "running", "queued", "stored"});
}

}  // namespace

int quota_set(Context& context) {
    const Result<QuotaAsked> asked = quota_asked(context);
    if (!asked) return context.fail(asked.error());
    Json body = Json::object();
    if (asked->of == "everyUser")
        body.set(asked->of, true);
    else
        body.set(asked->of, asked->name);
    bool any = false;
    for (const QuotaField& field : kQuotaFields) {
        const std::string option(field.option);
        if (!context.args().has(option)) continue;
        const Result<Json> limit = limit_asked(field, context.args().get(option));
        if (!limit) return context.fail(limit.error());
        body.set(field.name, *limit);
        any = true;
    }
    if (!any)
        return context.fail(quota_usage(
            "which limit? give one of --slots, --running, --queued and --stored", "--slots"));
    const Result<Json> quota = asked->api->put("/turnout/quotas", body);
    if (!quota) return context.fail(quota.error());
    return context.show(resources::in_snake_case(*quota), *quota);
}

int quota_list(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> quotas = (*opened)->get("/turnout/quotas");
    if (!quotas) return context.fail(quotas.error());
    return show_quotas(context, quotas->at("value"));
}

int quota_show(Context& context) {
    const Result<QuotaAsked> asked = quota_asked(context);
    if (!asked) return context.fail(asked.error());
    const Result<Json> quotas = asked->api->get("/turnout/quotas");
    if (!quotas) return context.fail(quotas.error());
    for (const Json& one : quotas->at("value").items()) {
        const Json& of = one.at(asked->of);
        if (of.is_bool() ? of.as_bool() : equal_ignoring_case(of.as_view(), asked->name))
            return context.show(resources::in_snake_case(one), one);
    }
    return context.fail({Code::NotFound, "ResourceNotFound",
                         "there is no quota of " +
                             (asked->of == "everyUser" ? std::string("every user")
                              : asked->of == "user" ? "user " + asked->name + ", and nothing in use"
                                                    : words_of_scope(asked->name)) +
                             " that you may see (`turnout quota list` shows all)",
                         "--user"});
}

int quota_remove(Context& context) {
    const Result<QuotaAsked> asked = quota_asked(context);
    if (!asked) return context.fail(asked.error());
    const Result<client::Reply> gone = asked->api->send(
        "DELETE", "/turnout/quotas?" + asked->of + "=" + percent_encode(asked->name));
    if (!gone) return context.fail(gone.error());
    context.note("the quota is taken away: from now on");
    return 0;
}

}  // namespace turnout::cli

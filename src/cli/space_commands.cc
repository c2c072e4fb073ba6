// What takes space on the server, and how it goes: `du` and `prune`.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/quantities.h"
#include "base/text.h"
#include "cli/commands.h"
#include "yaml/yaml.h"

namespace turnout::cli {

namespace {

constexpr Span kUsualAge = 30 * 24h;
constexpr std::array<const char*, 5> kPruned = {"jobs", "data", "inputs", "environments", "caches"};

std::string size_of(const Json& row, const char* member = "bytes") {
    return to_size_words(static_cast<std::uint64_t>(row.at(member).as_int()));
}

std::string age_of(const std::string& iso, Instant now) {
    const auto at = parse_iso8601(iso);
    return at ? age_words(std::max(Span{}, now - *at)) : "";
}

// What the retention would remove now, in a sentence.
std::string retention_words(const Json& retention) {
    if (retention.has("error"))
        return "The retention is not applied: " + retention.at("error").as_string() + "\n";
    if (retention.is_null()) return "";
    std::vector<std::string> parts;
    for (const Json& row : retention.at("next").items()) {
        const std::uint64_t bytes = static_cast<std::uint64_t>(row.at("bytes").as_int() +
                                                               row.at("database_bytes").as_int());
        const std::int64_t count = row.at("count").as_int();
        std::string what = row.at("kind").as_string();
        if (count == 1 && what.ends_with('s')) what.pop_back();
        parts.push_back(with_commas(count) + " " + what + " (" + to_size_words(bytes) + ")");
    }
    return "The retention (" + retention.at("file").as_string() + ") removes " +
           (parts.empty() ? "nothing now"
                          : join(parts, ", ") + " next; why: turnout prune --dry-run") +
           ".\n";
}

// The rows of `du` in words: how large, how many, how long the oldest was not used, what frees
// them.
void show_rows(Context& context, const Json& space, Instant now) {
    Json rows = Json::array();
    for (const Json& row : space.at("rows").items()) {
        Json shown = Json::object({{"what", row.at("what")}, {"size", size_of(row)}});
        if (row.at("count").as_int() > 0) shown.set("items", with_commas(row.at("count").as_int()));
        if (row.has("oldest_use"))
            shown.set("unused_for", age_of(row.at("oldest_use").as_string(), now));
        if (row.has("prune")) shown.set("prune", row.at("prune"));
        rows.push(std::move(shown));
    }
    rows.push(Json::object({{"what", "all"}, {"size", size_of(space)}}));
    context.show_table(rows, {"what", "size", "items", "unused_for", "prune"});
    std::string text;
    if (const Json& shared = space.at("shared"); shared.at("names").as_int() > 0)
        text += "What has several names is kept once and counts once: it would be " +
                size_of(shared) + " more.\n";
    if (const Json& packages = space.at("packages"); packages.at("bytes").as_int() > 0)
        text += "Beside that, packages for environments take " + size_of(packages) + " in " +
                packages.at("folder").as_string() + " (uv cache prune).\n";
    if (const Json& disk = space.at("disk"); disk.is_object())
        text += size_of(disk, "free") + " of " + size_of(disk) + " are free on the disk of " +
                space.at("data_folder").as_string() + ".\n";
    text += retention_words(space.at("retention"));
    text +=
        "`turnout du KIND` shows the largest of one kind, `turnout prune --dry-run` what would "
        "go.\n";
    context.out(harmless_lines(text));
}

// Kinds by the words of `prune`, or of a row itself.
bool is_of(const Json& row, const std::string& kind) {
    return row.at("kind").as_view() == kind || row.at("prune").as_view() == kind ||
           (kind == "data" && row.at("kind").as_view() == "assets");
}

int show_items(Context& context, const Json& space, const std::string& kind, Instant now) {
    Json items = Json::array(), raw = Json::array();
    std::vector<std::string> kinds;
    bool known = false;
    for (const Json& row : space.at("rows").items()) {
        if (!is_of(row, kind)) continue;
        known = true;
        for (const Json& item : row.at("items").items()) {
            Json one = item;
            one.set("what", row.at("what"));
            raw.push(one);
        }
    }
    if (!known && std::find(kPruned.begin(), kPruned.end(), kind) == kPruned.end()) {
        for (const Json& row : space.at("rows").items())
            kinds.push_back(row.at("kind").as_string());
        return context.fail({Code::InvalidArgument, "Usage",
                             "nothing of kind '" + kind + "' takes space here" +
                                 did_you_mean(kind, kinds) + ": there are " + join(kinds, ", "),
                             "KIND"});
    }
    auto& all = raw.items();
    std::stable_sort(all.begin(), all.end(), [](const Json& a, const Json& b) {
        return a.at("bytes").as_int() > b.at("bytes").as_int();
    });
    for (const Json& item : all)
        items.push(Json::object({{"name", item.at("name")},
                                 {"size", size_of(item)},
                                 {"unused_for", age_of(item.at("used").as_string(), now)},
                                 {"what", item.at("what")}}));
    if (!context.answers_a_person())
        return context.show(raw, {}, {"name", "bytes", "used", "what"});
    if (items.items().empty())
        context.note("there is nothing of that kind");
    else
        context.show_table(items, {"name", "size", "unused_for", "what"});
    return 0;
}

// What a round of pruning says, added to what the earlier ones said.
void add_rows(std::vector<Json>& rows, const Json& answer) {
    for (const Json& row : answer.at("rows").items()) {
        const auto known = std::find_if(rows.begin(), rows.end(), [&](const Json& one) {
            return one.at("kind") == row.at("kind");
        });
        if (known == rows.end()) {
            rows.push_back(row);
            continue;
        }
        for (const char* member : {"count", "bytes", "database_bytes"})
            if (row.has(member))
                known->set(member, known->at(member).as_int() + row.at(member).as_int());
        Json items = known->at("items");
        for (const Json& item : row.at("items").items()) items.push(item);
        known->set("items", std::move(items));
        for (const char* member : {"kept", "kept_count"})
            if (row.has(member)) known->set(member, row.at(member));
        Json why = known->at("why").is_null() ? Json::array() : known->at("why");
        for (const Json& reason : row.at("why").items()) {
            auto& reasons = why.items();
            const auto same = std::find_if(reasons.begin(), reasons.end(), [&](const Json& one) {
                return one.at("reason") == reason.at("reason");
            });
            if (same == reasons.end())
                why.push(reason);
            else
                same->set("count", same->at("count").as_int() + reason.at("count").as_int());
        }
        if (!why.items().empty()) known->set("why", std::move(why));
    }
}

void show_pruned(Context& context, const std::vector<Json>& rows, bool dry_run) {
    Json table = Json::array();
    std::uint64_t bytes = 0, in_database = 0;
    for (const Json& row : rows) {
        table.push(Json::object({{"what", row.at("kind")},
                                 {"items", with_commas(row.at("count").as_int())},
                                 {dry_run ? "would_free" : "freed", size_of(row)}}));
        bytes += static_cast<std::uint64_t>(row.at("bytes").as_int());
        in_database += static_cast<std::uint64_t>(row.at("database_bytes").as_int());
    }
    context.show_table(table, {"what", "items", dry_run ? "would_free" : "freed"});
    std::string text = std::string(dry_run ? "would free " : "freed ") + to_size_words(bytes);
    if (in_database > 0)
        text += ", and " + to_size_words(in_database) +
                " inside of the database, for what is written next";
    for (const Json& row : rows)
        for (const Json& why : row.at("why").items())
            text += "\n" + row.at("kind").as_string() + ": " +
                    with_commas(why.at("count").as_int()) + " " + why.at("reason").as_string();
    std::int64_t kept = 0, said = 0;
    for (const Json& row : rows) {
        kept += row.at("kept_count").as_int();
        for (const Json& reason : row.at("kept").items())
            if (said < 5) {
                text += "\nkept " + reason.as_string();
                ++said;
            }
    }
    if (kept > said) text += "\nand " + with_commas(kept - said) + " more are kept";
    context.out(harmless_lines(text + "\n"));
}

Result<std::vector<Json>> prune_all(Context& context, client::Api& api, Json body, bool dry_run) {
    body.set("dry_run", dry_run);
    std::vector<Json> rows;
    while (true) {
        const Json answer = TURNOUT_TRY(api.post("/turnout/prune", body));
        add_rows(rows, answer);
        if (!answer.at("more").as_bool()) break;
        std::int64_t count = 0;
        for (const Json& row : rows) count += row.at("count").as_int();
        context.status("removed " + with_commas(count));
    }
    context.end_status();
    return rows;
}

Json to_list(const std::vector<Json>& rows) {
    Json list = Json::array();
    for (const Json& row : rows) list.push(row);
    return list;
}

}  // namespace

int show_space(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<Json> space = (*opened)->get("/turnout/space");
    if (!space) return context.fail(space.error());
    const Instant now = (*opened)->now();
    if (context.args().operands.size() > 1)
        return context.fail(
            {Code::InvalidArgument, "Usage", "`turnout du` shows one kind at a time", ""});
    if (!context.args().operands.empty())
        return show_items(context, *space, context.args().operands[0], now);
    const Result<Format> format = context.output_format();
    if (!format) return context.fail(format.error());
    if (*format != Format::Table || context.args().has("--query")) return context.show(*space);
    show_rows(context, *space, now);
    return 0;
}

int prune(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Arguments& args = context.args();
    Json kinds = Json::array();
    for (const std::string& kind : args.operands) kinds.push(kind);
    Span age = kUsualAge;
    if (args.has("--older-than")) {
        const Result<Span> given = parse_age(args.get("--older-than"));
        if (!given)
            return context.fail({Code::InvalidArgument, "Usage",
                                 "--older-than: " + given.error().message, "--older-than"});
        age = *given;
    }
    // What the server does by itself every hour: who wrote it down was asked already.
    const bool retention = args.operands.empty() && !args.has("--older-than");
    const Json body =
        retention ? Json::object({{"retention", true}})
                  : Json::object({{"kinds", kinds},
                                  {"older_than_seconds",
                                   std::chrono::duration_cast<std::chrono::seconds>(age).count()}});
    const bool person = context.answers_a_person();
    const bool asks = !retention && !args.has("--yes") && !args.has("--dry-run");
    constexpr const char* kWould = "this would go for good";
    if (asks && ::isatty(0) != 1)
        return context.fail(context.agreed(kWould, "", "see what with --dry-run").error());
    if (asks || args.has("--dry-run")) {
        const Result<std::vector<Json>> rows = prune_all(context, api, body, true);
        if (!rows) return context.fail(rows.error());
        if (!asks && !person) return context.show(to_list(*rows), {}, {"kind", "count", "bytes"});
        show_pruned(context, *rows, true);
        if (!asks) return 0;
        if (std::all_of(rows->begin(), rows->end(), [](const Json& row) {
                return row.at("count").as_int() == 0 && row.at("bytes").as_int() == 0;
            }))
            return 0;
        if (const Result<void> agreed = context.agreed(kWould, "Remove it?"); !agreed)
            return context.fail(agreed.error());
    }
    const Result<std::vector<Json>> rows = prune_all(context, api, body, false);
    if (!rows) return context.fail(rows.error());
    if (!person) return context.show(to_list(*rows), {}, {"kind", "count", "bytes"});
    show_pruned(context, *rows, false);
    return 0;
}

}  // namespace turnout::cli

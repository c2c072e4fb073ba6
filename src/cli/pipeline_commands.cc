// `turnout job explain-reuse` and `job resume`: why steps of a pipeline were run again, and a
// pipeline that goes on where another one failed.
#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"

namespace turnout::cli {

namespace {

std::string text_of(const Json& object, std::string_view member) {
    return harmless(object.at(member).as_view());
}

// "train.py changed, util.py added"
std::string files_in_words(const Json& files) {
    std::vector<std::string> words;
    for (const Json& file : files.items()) {
        const std::string path = text_of(file, "path");
        words.push_back((path.empty() ? "the file" : path) + " " + text_of(file, "change"));
    }
    return join(words, ", ");
}

void add_lines(std::string& out, const std::string& lines, const char* sign) {
    for (const std::string& line : split(lines, '\n'))
        if (!line.empty()) out += "      " + std::string(sign) + " " + line + "\n";
}

// One thing in which a step differs from an earlier one.
std::string difference_in_lines(const Json& one) {
    std::string what = text_of(one, "part");
    if (one.has("name")) what += " " + text_of(one, "name");
    std::string out = "    " + what;
    if (one.has("files")) {
        const std::string files = files_in_words(one.at("files"));
        return out + ": " + (files.empty() ? "its files are gone or cannot be told apart" : files) +
               "\n";
    }
    const std::string now = harmless_lines(one.at("now").as_view()),
                      then = harmless_lines(one.at("then").as_view());
    if (then.empty()) return out + ": " + now + " (there was none)\n";
    if (now.empty()) return out + ": none (there was " + then + ")\n";
    if (one.at("part").as_view() != "command" && now.find('\n') == std::string::npos &&
        then.find('\n') == std::string::npos && now.size() + then.size() < 80)
        return out + ": " + then + " -> " + now + "\n";
    out += "\n";
    add_lines(out, then, "-");
    add_lines(out, now, "+");
    return out;
}

std::string picture_of_reuse(const Json& reuse) {
    const Json::Array& steps = reuse.at("steps").items();
    std::size_t widest = 0;
    for (const Json& step : steps) widest = std::max(widest, text_of(step, "step").size());
    std::string out;
    for (const Json& step : steps) {
        std::string name = text_of(step, "step");
        name.resize(std::max(name.size(), std::min<std::size_t>(widest, 40)), ' ');
        out += name + "  ";
        if (step.at("reused").as_bool())
            out += "not run: the outputs of " + text_of(step, "from") + " are used again";
        else
            out += text_of(step, "why").empty() ? "run" : "run: " + text_of(step, "why");
        if (step.at("reused").as_bool() && step.has("why")) out += "; " + text_of(step, "why");
        const Json& differ = step.at("differences");
        if (differ.is_array())
            out += (differ.items().empty() ? ", and made of the same as " : ", and differs from ") +
                   text_of(step, "against") + (differ.items().empty() ? "" : " in");
        out += "\n";
        for (const Json& one : differ.items()) out += difference_in_lines(one);
    }
    if (const std::int64_t total = reuse.at("total").as_int();
        total > static_cast<std::int64_t>(steps.size()))
        out += "… " + with_commas(total - static_cast<std::int64_t>(steps.size())) +
               " more steps: ask for one by its job's name\n";
    return out;
}

}  // namespace

int job_explain_reuse(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    std::string path = "/jobs/" + percent_encode(*name) + "/reuse";
    if (context.args().has("--against"))
        path += "?against=" + percent_encode(context.args().get("--against"));
    const Result<Json> reuse = (*opened)->get((*opened)->in_workspace(path));
    if (!reuse) return context.fail(reuse.error());
    return show_either(context, *reuse, picture_of_reuse);
}

// The same pipeline under another name. What stands in its definition is sent as it was.
int job_resume(Context& context) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    client::Api& api = **opened;
    const Result<std::string> name = context.name();
    if (!name) return context.fail(name.error());
    const Result<Json> before = api.get(api.in_workspace("/jobs/" + percent_encode(*name)));
    if (!before) return context.fail(before.error());
    Json properties = before->at("properties");
    properties.set("resumes", *name);
    const std::string made =
        context.args().has("--as") ? context.args().get("--as") : made_up_name(api);
    const Json body = Json::object({{"properties", std::move(properties)}});
    const Result<client::Reply> reply =
        api.send("PUT", api.in_workspace("/jobs/" + percent_encode(made)), &body);
    if (!reply) return context.fail(reply.error());
    if (context.args().has("--stream")) return follow_job(context, api, made);
    if (!context.answers_a_person()) return context.show(job_entity(reply->body), reply->body);
    tell_submitted(context, reply->body);
    return 0;
}

}  // namespace turnout::cli

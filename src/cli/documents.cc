// The reference page and the manual page, made from the rows.
#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/reference_pages.h"
#include "client/files.h"
#include "resources/compute_types.h"

namespace turnout::cli {

namespace {

std::string table_of(const std::vector<Option>& options) {
    if (options.empty()) return "";
    std::string table = "\n| option | meaning |\n|---|---|\n";
    for (const Option& option : options)
        table += "| `" + (option.brief.empty() ? "" : option.brief + "`, `") + option.name +
                 (option.value.empty() ? "" : " " + option.value) + "` | " + option.help +
                 (option.many ? " May be repeated." : "") + " |\n";
    return table;
}

// Text for a manual page: nothing in it is read as a command.
std::string roff(std::string_view text) {
    std::string out;
    bool line_begins = true;
    for (const char c : text) {
        if (line_begins && (c == '.' || c == '\'' || c == '`')) out += "\\&";
        if (c == '\\')
            out += "\\e";
        else if (c == '-')
            out += "\\-";
        else if (c == '`')
            out += '\'';  // marks names in the other pages
        else
            out += c;
        line_begins = c == '\n';
    }
    return out;
}

std::string roff_options(const std::vector<Option>& options) {
    std::string out;
    for (const Option& option : options)
        out += ".TP\n\\fB" + roff(option.name) + "\\fR" +
               (option.brief.empty() ? "" : ", \\fB" + roff(option.brief) + "\\fR") +
               (option.value.empty() ? "" : " \\fI" + roff(option.value) + "\\fR") + "\n" +
               roff(option.help) + (option.many ? " May be repeated.\n" : "\n");
    return out;
}

std::string roff_examples(const std::vector<std::string>& examples) {
    if (examples.empty()) return "";
    std::string out = ".PP\n.RS 4\n.nf\n";
    for (const std::string& example : examples) out += roff(example) + "\n";
    return out + ".fi\n.RE\n";
}

// turnout(1): one section for each group, a subsection for each command.
std::string manual_page(const std::vector<Command>& commands, const std::string& version) {
    std::string page =
        ".TH TURNOUT 1 \"\" \"turnout " + roff(version) +
        "\" \"User Commands\"\n.SH NAME\nturnout \\- compute targets of your own for Azure Machine "
        "Learning's clients\n"
        ".SH SYNOPSIS\n\\fBturnout\\fR \\fINOUN\\fR \\fIVERB\\fR [\\fIoptions\\fR] "
        "[\\fINAME\\fR|\\fIFILE\\fR]\n.br\n\\fBturnout\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n"
        ".SH DESCRIPTION\nThe server, and its command line with the nouns and verbs of az ml.\n" +
        roff_examples(
            {"turnout up --detach", "turnout job create job.yml --stream", "turnout job list"}) +
        ".SH OPTIONS OF EVERY COMMAND\n" + roff_options(common_options());
    std::string section;
    for (const Command& command : commands) {
        if (command.hidden) continue;
        const std::string of = command.words.size() == 1 ? "server" : command.words[0];
        if (of != section) {
            section = of;
            std::string title = of;
            std::transform(title.begin(), title.end(), title.begin(), [](char c) {
                return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
            });
            page += ".SH " + title + "\n";
            for (const Group& group : command_groups())
                if (group.word == of) page += roff(group.help) + "\n";
        }
        page +=
            ".SS turnout " +
            roff(join(command.words, " ") + (command.takes_rest        ? " -- PROGRAM"
                                             : command.operand.empty() ? ""
                                                                       : " " + command.operand)) +
            "\n" + roff(command.help) + "\n" + roff_examples(command.examples) +
            roff_options(command.options);
    }
    page += ".SH EXIT STATUS\n";
    for (const std::string& line : split(kCommandLine, '\n')) {
        std::vector<std::string> cells = split(line, '|');
        if (cells.size() == 5 && cells[2].ends_with('\\'))
            cells[2].back() = '|', cells[2] += cells[3], cells.pop_back();
        if (cells.size() == 4 && parse_whole_number(trim(cells[1])))
            page += ".TP\n" + std::string(trim(cells[1])) + "\n" + roff(trim(cells[2])) + "\n";
    }
    return page +
           ".SH ENVIRONMENT\n.TP\n\\fBTURNOUT_DATA\\fR\nThe data folder, as \\-\\-data gives "
           "it.\n.TP\n\\fBNO_COLOR\\fR\nIf it is not empty nothing is in colour.\n";
}

}  // namespace

int print_reference(Context& context) {
    std::string page = resources::reference_page();
    page += "\n" + resources::capabilities_page() + std::string(kCauses) +
            std::string(kCommandLine) + "## Options of every command\n" +
            table_of(common_options()) + "\n# Commands\n\n";
    for (const Command& command : context.commands()) {
        if (command.hidden) continue;
        const std::string operand = command.takes_rest        ? " -- PROGRAM …"
                                    : command.operand.empty() ? ""
                                                              : " " + command.operand;
        page += "## turnout " + join(command.words, " ") + operand + "\n\n" + command.help + "\n";
        for (std::size_t i = 0; i < command.examples.size(); ++i)
            page += (i == 0 ? "\n```\n" : "") + command.examples[i] + "\n" +
                    (i + 1 == command.examples.size() ? "```\n" : "");
        page += table_of(command.options);
        page += "\n";
    }
    if (context.args().has("--man"))
        page = manual_page(context.commands(), context.hooks().version);
    if (const std::string file = context.args().get("--file"); !file.empty()) {
        if (const Result<void> written = client::write_file(file, page); !written)
            return context.fail(written.error());
        return 0;
    }
    context.out(page);
    return 0;
}

}  // namespace turnout::cli

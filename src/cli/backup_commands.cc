// Backups of this machine's server.
#include <climits>
#include <cstdlib>

#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"

namespace turnout::cli {

namespace {

// The folder that a person names, as an absolute path.
std::string absolute(const std::string& path) {
    if (path.starts_with('/')) return path;
    char here[PATH_MAX];
    return std::string(::realpath(".", here) != nullptr ? here : ".") + "/" + path;
}

int tell(Context& context, const Result<BackupReport>& report, const std::string& where,
         bool copied) {
    context.end_status();
    if (!report) return context.fail(report.error());
    Json out = Json::object();
    out.set("folder", where);
    out.set("contents", static_cast<std::int64_t>(report->contents));
    out.set("bytes", static_cast<std::int64_t>(report->bytes));
    if (copied) out.set("copied_bytes", static_cast<std::int64_t>(report->copied_bytes));
    return context.show(out);
}

}  // namespace

int server_backup(Context& context) {
    if (!context.hooks().back_up)
        return context.fail(
            {Code::FailedPrecondition, "NoServer", "this executable has no server in it", ""});
    const std::string data = client::data_folder(context.args().get("--data"));
    const std::string folder = absolute(context.args().operands[0]);
    if ((folder + "/").starts_with(data + "/"))
        return context.fail({Code::InvalidArgument, "Usage",
                             "a backup inside of the data folder goes with it: choose a folder "
                             "elsewhere, best on another disk",
                             folder});
    const int code = tell(context,
                          context.hooks().back_up(
                              data, folder, [&](const std::string& text) { context.status(text); }),
                          folder, true);
    if (code == 0)
        context.note("the backup holds the server's keys: keep it as safe as the server itself");
    return code;
}

int server_restore(Context& context) {
    if (!context.hooks().restore)
        return context.fail(
            {Code::FailedPrecondition, "NoServer", "this executable has no server in it", ""});
    const std::string data = client::data_folder(context.args().get("--data"));
    const std::string folder = absolute(context.args().operands[0]);
    const bool check_only = context.args().has("--check");
    const int code =
        tell(context,
             context.hooks().restore(folder, data, check_only,
                                     [&](const std::string& text) { context.status(text); }),
             check_only ? folder : data, false);
    if (code == 0)
        context.note(check_only ? "the backup is whole"
                                : "start it with `turnout up --data " + data +
                                      "`; what ran at the time of the backup is started again");
    return code;
}

}  // namespace turnout::cli

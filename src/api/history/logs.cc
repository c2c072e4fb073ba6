// GET /logs/{wsid}/{job}/{path...}: a log as text, by signed link. The SDK fetches it whole again
// and again; our CLI goes on from an offset and waits there for more.
#include <algorithm>

#include "access/actions.h"
#include "api/history/log_link.h"
#include "api/history/run_view.h"
#include "api/run_reach.h"
#include "base/hash.h"
#include "base/text.h"

namespace turnout::api {
namespace {

constexpr std::int64_t kDay = 86'400;
constexpr std::uint64_t kPiece = 256 << 10;
constexpr std::int64_t kMaxWaitSeconds = 60;
constexpr std::uint64_t kLongestLine = 64 << 10;

std::string signature(const Secret& key, std::string_view wsid, std::string_view job,
                      std::string_view expiry, std::string_view holder) {
    std::string message = "job-logs\n";  // newlines cannot be in any of them
    message.append(wsid).append("\n").append(job).append("\n").append(expiry);
    if (!holder.empty()) message.append("\n").append(holder);
    return to_base64url(hmac_sha256(key.reveal(), message));
}

std::optional<std::int64_t> to_number(std::string_view text) {
    const std::optional<std::int64_t> number = parse_whole_number(text);
    return number && *number >= 0 ? number : std::nullopt;
}

class LogReader : public http::BodyReader {
public:
    LogReader(Tracking& tracking, std::string wsid, std::string job, std::string path,
              std::uint64_t offset, std::uint64_t end)
        : tracking_(tracking),
          wsid_(std::move(wsid)),
          job_(std::move(job)),
          path_(std::move(path)),
          offset_(offset),
          end_(end) {}

    Task<Result<std::string>> read() override {
        if (offset_ >= end_) co_return std::string();
        auto piece =
            tracking_.read_log(wsid_, job_, path_, offset_, std::min(kPiece, end_ - offset_));
        if (piece && piece->empty())
            co_return internal("log '" + path_ + "' ends before its length");
        if (piece) offset_ += piece->size();
        co_return piece;
    }

private:
    Tracking& tracking_;
    std::string wsid_, job_, path_;
    std::uint64_t offset_, end_;
};

// A log as text: what is not UTF-8 is '?', byte by byte, so that every offset and length means the
// same as of the bytes that are kept (those come with the artifacts). Each piece is looked at with
// its neighbours, so that it reads the same wherever a range begins.
class LogText : public http::BodyReader {
public:
    LogText(std::unique_ptr<http::BodyReader> bytes, std::size_t before, std::uint64_t length)
        : bytes_(std::move(bytes)), skip_(before), left_(length) {}

    Task<Result<std::string>> read() override {
        while (left_ > 0) {
            TURNOUT_CO_TRY(const std::string piece, co_await bytes_->read());
            held_ += piece;
            // A character that goes on in the next piece waits for it.
            const std::size_t whole =
                piece.empty() ? held_.size() : held_.size() - unfinished_utf8(held_);
            std::string text = to_text(std::string_view(held_).substr(0, whole));
            held_.erase(0, whole);
            const std::size_t dropped = std::min(skip_, text.size());
            skip_ -= dropped;
            text.erase(0, dropped);
            if (text.size() > left_) text.resize(static_cast<std::size_t>(left_));
            left_ -= text.size();
            if (!text.empty() || piece.empty()) co_return text;
        }
        co_return std::string();
    }

private:
    static std::string to_text(std::string_view bytes) {
        std::string text(bytes);
        if (is_utf8(bytes)) return text;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t length = utf8_sequence(bytes, at);
            if (length == 0) text[at] = '?';
            at += std::max<std::size_t>(length, 1);
        }
        return text;
    }

    std::unique_ptr<http::BodyReader> bytes_;
    std::size_t skip_;    // bytes of context before what is wanted
    std::uint64_t left_;  // bytes of text still to come
    std::string held_;
};

// How much of a growing log can be shown as text: not a character of which a part has not come yet.
Result<std::uint64_t> shown_length(Tracking& tracking, const std::string& wsid,
                                   const std::string& job, const std::string& path,
                                   std::uint64_t length) {
    const std::uint64_t back = std::min<std::uint64_t>(3, length);
    if (back == 0) return length;
    const std::string end = TURNOUT_TRY(tracking.read_log(wsid, job, path, length - back, back));
    return length - unfinished_utf8(end);
}

// Who reads a growing log from its beginning, again and again, counts lines, as azure-ai-ml does:
// of one that it saw half it would never print the rest. A line that is too long for that is cut.
Result<std::uint64_t> length_of_lines(Tracking& tracking, const std::string& wsid,
                                      const std::string& job, const std::string& path,
                                      std::uint64_t length) {
    const std::uint64_t back = std::min<std::uint64_t>(kLongestLine, length);
    if (back == 0) return length;
    const std::string end = TURNOUT_TRY(tracking.read_log(wsid, job, path, length - back, back));
    const std::size_t newline = end.rfind('\n');
    if (newline != std::string::npos) return length - back + newline + 1;
    return back == length ? 0 : shown_length(tracking, wsid, job, path, length);
}

std::string path_of_log(std::string_view wsid, std::string_view job, std::string_view path) {
    return "/logs/" + percent_encode(wsid) + "/" + percent_encode(job) + "/" +
           percent_encode(path, "/");
}

// A log's link, a user's token, or that of a run of which the job is.
Result<void> check_reader(Services& services, const Call& call) {
    const std::string& wsid = call.param("wsid");
    const std::string& job = call.param("job");
    if (call.principal.kind == Principal::Kind::User) return {};
    if (call.principal.kind == Principal::Kind::Run && call.principal.workspace == wsid)
        return check_owns(services, call, access::action::kReadJobs, job);
    const std::string holder = TURNOUT_TRY(verify_log_link(services.authority.link_key(), wsid, job,
                                                           call.query, services.clock.now()));
    return check_holder(services, holder, {access::action::kReadRuns, access::action::kReadJobs},
                        wsid);
}

Answer get_log(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(check_reader(services, call));
    co_return co_await send_log(services, call, call.param("wsid"), call.param("job"),
                                call.param("path"));
}

}  // namespace

std::string sign_log_link(const Secret& key, std::string_view wsid, std::string_view job,
                          std::string_view path, Instant now, std::string_view holder) {
    const std::string expiry = std::to_string((now.micros / 1'000'000 / kDay + 2) * kDay);
    return path_of_log(wsid, job, path) + "?se=" + expiry +
           (holder.empty() ? "" : "&skoid=" + percent_encode(holder)) +
           "&sig=" + signature(key, wsid, job, expiry, holder);
}

std::string log_link(const Services& services, const Call& call, std::string_view wsid,
                     std::string_view job, std::string_view path) {
    if (call.principal.kind == Principal::Kind::Run)
        return path_of_log(wsid, job, path) + "?" + link_of_run(services, call.principal);
    return sign_log_link(services.authority.link_key(), wsid, job, path, services.clock.now(),
                         services.authority.holder(call.principal));
}

Result<std::string> verify_log_link(const Secret& key, std::string_view wsid, std::string_view job,
                                    const std::vector<std::pair<std::string, std::string>>& query,
                                    Instant now) {
    std::string_view expiry, signed_with, holder;
    for (const auto& [name, value] : query) {
        if (name == "se") expiry = value;
        if (name == "sig") signed_with = value;
        if (name == "skoid") holder = value;
    }
    if (expiry.empty() || signed_with.empty())
        return fail(Code::Unauthenticated, "AuthenticationFailed",
                    "this needs a signed log link or an 'Authorization: Bearer' header");
    if (!Secret(signature(key, wsid, job, expiry, holder)).matches(signed_with))
        return fail(Code::PermissionDenied, "AuthorizationFailed",
                    "the signature of this link does not hold for that job");
    const auto seconds = to_number(expiry);
    if (!seconds || now.micros / 1'000'000 >= *seconds)
        return fail(Code::PermissionDenied, "AuthorizationFailed",
                    "this link has expired: get a new one from the run's details");
    return std::string(holder);
}

Task<Result<http::Response>> send_log(Services& services, Call& call, std::string wsid,
                                      std::string job, std::string path) {
    std::uint64_t offset = 0;
    if (const std::string_view text = call.query_value("offset"); !text.empty()) {
        const auto number = to_number(text);
        if (!number) co_return invalid("'" + std::string(text) + "' is not an offset", "offset");
        offset = static_cast<std::uint64_t>(*number);
    }
    const bool counts_lines =
        call.query_value("offset").empty() && call.request.headers.get("range").empty();
    Span wait{};
    if (const std::string_view text = call.query_value("wait"); !text.empty()) {
        const auto number = to_number(text);
        if (!number)
            co_return invalid("'" + std::string(text) + "' is not a number of seconds", "wait");
        wait = std::chrono::seconds(std::min(*number, kMaxWaitSeconds));
    }

    const Span deadline = services.clock.since_boot() + wait;
    bool complete = false;
    std::uint64_t length = 0, stored = offset;
    for (;;) {
        // Whether the job has ended is looked at first: what it wrote is all there by then.
        TURNOUT_CO_TRY(const auto record, load_job(services.store, wsid, job));
        if (!record) co_return not_found("job '" + job + "' does not exist", "job");
        complete = is_terminal(record->status);
        const Span left = deadline - services.clock.since_boot();
        const Span patience = complete ? Span(0) : std::max(left, Span(0));
        Stop* const stop = call.request.stop;
        TURNOUT_CO_TRY(stored, co_await services.tracking.wait_log(
                                   wsid, job, path, std::max(offset, stored), patience, stop));
        length = stored;
        if (!complete) {
            TURNOUT_CO_TRY(length, (counts_lines ? length_of_lines : shown_length)(
                                       services.tracking, wsid, job, path, stored));
        }
        if (length > offset || complete || left <= Span(0) || (stop && stop->stopped())) break;
    }
    if (length == 0 && complete && !path.starts_with("user_logs/"))
        co_return not_found("job '" + job + "' has no log '" + path + "'", "path");

    const auto asked = parse_range(call.request.headers.get("range"), length);
    if (!asked) {
        http::Response refused = error_response(asked.error());
        refused.status = 416;
        refused.headers.set("Content-Range", "bytes */" + std::to_string(length));
        co_return refused;
    }
    const auto& range = *asked;
    const std::uint64_t begin = range ? range->first : std::min(offset, length);
    const std::uint64_t end = range ? range->second : length;
    http::Response response;
    response.status = range ? 206 : 200;
    response.headers.set("Content-Type", "text/plain; charset=utf-8");
    response.headers.set("X-Content-Type-Options", "nosniff");
    response.headers.set("Cache-Control", "no-store");
    response.headers.set("Accept-Ranges", "bytes");
    response.headers.set("ETag", "\"" + std::to_string(length) + "\"");
    response.headers.set("X-Turnout-Log-Length", std::to_string(length));
    response.headers.set("X-Turnout-Log-Complete", complete ? "true" : "false");
    if (range)
        response.headers.set("Content-Range", "bytes " + std::to_string(begin) + "-" +
                                                  std::to_string(end - 1) + "/" +
                                                  std::to_string(length));
    response.length = end - begin;
    const std::uint64_t before = std::min<std::uint64_t>(3, begin),
                        after = std::min<std::uint64_t>(3, stored - end);
    response.stream =
        std::make_unique<LogText>(std::make_unique<LogReader>(services.tracking, wsid, job, path,
                                                              begin - before, end + after),
                                  before, end - begin);
    co_return response;
}

Result<std::optional<std::pair<std::uint64_t, std::uint64_t>>> parse_range(std::string_view header,
                                                                           std::uint64_t length) {
    using Range = std::optional<std::pair<std::uint64_t, std::uint64_t>>;
    constexpr std::string_view unit = "bytes=";
    // Several ranges, or what is not understood, may be overlooked: the whole is a right answer.
    if (!header.starts_with(unit) || header.find(',') != std::string_view::npos) return Range();
    header.remove_prefix(unit.size());
    const std::size_t dash = header.find('-');
    if (dash == std::string_view::npos) return Range();
    const std::string_view from = trim(header.substr(0, dash));
    const std::string_view to = trim(header.substr(dash + 1));
    const auto first = to_number(from);
    const auto last = to_number(to);
    if ((!from.empty() && !first) || (!to.empty() && !last) || (from.empty() && to.empty()))
        return Range();
    if (first && last && *last < *first) return Range();
    const auto behind = fail(
        Code::InvalidArgument, "InvalidRange",
        "the range begins behind the end: there are " + std::to_string(length) + " bytes", "Range");
    if (from.empty()) {
        if (*last == 0 || length == 0) return behind;
        return Range(
            {length - std::min<std::uint64_t>(static_cast<std::uint64_t>(*last), length), length});
    }
    const auto begin = static_cast<std::uint64_t>(*first);
    if (begin >= length) return behind;
    return Range(
        {begin,
         last ? std::min<std::uint64_t>(static_cast<std::uint64_t>(*last) + 1, length) : length});
}

void add_log_routes(Router& router, Services& services) {
    add_row(router, services, "GET", "/logs/{wsid}/{job}/{path...}", Access::Signed, get_log);
}

}  // namespace turnout::api

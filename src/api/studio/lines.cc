// A job's log by lines, and a search in it, by the server that has it:
//   GET /studio/jobs/{wsid}/{job}/lines   `path`; `line` (the first one, from 1) or `tail` (how
//   many
//       at the end), `count`; `longer` with `wait`: answered when the log has more bytes than that,
//       the job has ended, or that many seconds are over.
//   GET /studio/jobs/{wsid}/{job}/search  `path`, `q`, `case` ("true": as written); `after` (a
//       byte), `limit`.
#include <algorithm>
#include <memory>

#include "api/history/run_view.h"
#include "api/portal/parts.h"
#include "api/studio/line_index.h"
#include "api/studio/studio.h"
#include "base/lru.h"
#include "base/text.h"
#include "control/jobs.h"
#include "tracking/tracking.h"

namespace turnout::api::studio {
namespace {

constexpr std::uint64_t kPiece = 256 << 10;
constexpr std::size_t kMostBytes = 512 << 10;   // of one answer, but for its last line
constexpr std::size_t kLongestLine = 16 << 10;  // more of one is not sent; its end is cut
constexpr std::int64_t kMostLines = 2'000, kUsualLines = 500;
constexpr std::int64_t kMostMatches = 1'000, kUsualMatches = 200;
constexpr std::size_t kMatchText = 512;
constexpr std::int64_t kLongestWait = 30;          // seconds
constexpr std::uint64_t kMostSearched = 64 << 20;  // bytes of one answer

struct Stream {
    std::string wsid, job, path;
    std::string key() const { return wsid + "/" + job + "/" + path; }
};

// As text: each byte that is none is '?'.
std::string as_text(std::string_view bytes) {
    std::string text(bytes);
    if (is_utf8(bytes)) return text;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = utf8_sequence(bytes, at);
        if (length == 0) text[at] = '?';
        at += std::max<std::size_t>(length, 1);
    }
    return text;
}

class Lines {
public:
    explicit Lines(Services& services) : services_(services) {}

    Answer get_lines(Call& call) {
        TURNOUT_CO_TRY(const Stream stream, stream_of(call));
        TURNOUT_CO_TRY(std::int64_t count, whole_number_of(call, "count", kUsualLines, 1));
        count = std::min(count, kMostLines);
        TURNOUT_CO_TRY(const std::int64_t line, whole_number_of(call, "line", 0, 1));
        TURNOUT_CO_TRY(const std::int64_t tail, whole_number_of(call, "tail", 0, 1));
        TURNOUT_CO_TRY(const std::int64_t longer, whole_number_of(call, "longer", -1, 0));
        TURNOUT_CO_TRY(const std::int64_t wait, whole_number_of(call, "wait", 0, 0));
        TURNOUT_CO_TRY(bool complete, ended(stream));
        if (longer >= 0 && !complete) {
            const Span patience = std::chrono::seconds(std::min(wait, kLongestWait));
            TURNOUT_CO_TRY_VOID(co_await services_.tracking.wait_log(
                stream.wsid, stream.job, stream.path, static_cast<std::uint64_t>(longer), patience,
                call.request.stop));
            // What it wrote is all there by the time it has ended.
            TURNOUT_CO_TRY(complete, ended(stream));
        }
        TURNOUT_CO_TRY(const LineIndex index, co_await index_of(call, stream));
        std::uint64_t first = line > 0 ? static_cast<std::uint64_t>(line - 1) : 0;
        if (tail > 0)
            first = index.lines() -
                    std::min<std::uint64_t>(index.lines(),
                                            static_cast<std::uint64_t>(std::min(tail, kMostLines)));
        Json lines = Json::array();
        TURNOUT_CO_TRY_VOID(
            read_lines(stream, index, first, static_cast<std::size_t>(count), lines));
        Json body = Json::object({{"path", stream.path},
                                  {"first", static_cast<std::int64_t>(first + 1)},
                                  {"lines", std::move(lines)},
                                  {"total", static_cast<std::int64_t>(index.lines())},
                                  {"bytes", static_cast<std::int64_t>(index.length())},
                                  {"complete", complete}});
        co_return private_answer(body);
    }

    Answer search(Call& call) {
        TURNOUT_CO_TRY(const Stream stream, stream_of(call));
        std::string what(call.query_value("q"));
        if (what.empty() || what.size() > 256)
            co_return invalid("expected 1 to 256 bytes to look for", "q");
        const bool exact = call.query_value("case") == "true";
        if (!exact) what = to_lower(what);
        TURNOUT_CO_TRY(std::int64_t limit, whole_number_of(call, "limit", kUsualMatches, 1));
        limit = std::min(limit, kMostMatches);
        TURNOUT_CO_TRY(const std::int64_t after, whole_number_of(call, "after", 0, 0));
        TURNOUT_CO_TRY(const LineIndex index, co_await index_of(call, stream));
        const auto from = static_cast<std::uint64_t>(after);
        const LineIndex::Place place = index.before_byte(std::min(from, index.length()));
        std::uint64_t at = place.byte, number = place.line;  // of what `held` begins with
        Json matches = Json::array();
        std::string held;
        std::uint64_t read = at;
        bool more = false;
        Turn turn(services_, call);
        while (read < index.length() && !more) {
            TURNOUT_CO_TRY(const std::string piece,
                           services_.tracking.read_log(stream.wsid, stream.job, stream.path, read,
                                                       std::min(kPiece, index.length() - read)));
            if (piece.empty()) break;
            read += piece.size();
            held += piece;
            const bool end = read >= index.length();
            std::size_t begin = 0;
            while (begin < held.size()) {
                std::size_t newline = held.find('\n', begin);
                if (newline == std::string::npos) {
                    if (!end && held.size() - begin < kPiece) break;
                    newline = held.size();  // the log's last line, or a very long one
                }
                const std::string_view line(held.data() + begin, newline - begin);
                if (at >= from && contains(line, what, exact)) {
                    if (static_cast<std::int64_t>(matches.items().size()) == limit) {
                        more = true;
                        break;
                    }
                    matches.push(Json::object({{"line", static_cast<std::int64_t>(number + 1)},
                                               {"text", as_text(line.substr(0, kMatchText))}}));
                }
                const bool ends = newline < held.size();
                number += ends ? 1 : 0;
                const std::size_t step = line.size() + (ends ? 1 : 0);
                at += step;
                begin += step;
            }
            held.erase(0, begin);
            if (read - place.byte >= kMostSearched && read < index.length()) more = true;
            TURNOUT_CO_TRY_VOID(co_await turn.pass());  // each piece is one turn's worth
        }
        Json body = Json::object({{"matches", std::move(matches)},
                                  {"searched", static_cast<std::int64_t>(at)},
                                  {"bytes", static_cast<std::int64_t>(index.length())}});
        if (more) body.set("next", static_cast<std::int64_t>(at));
        co_return private_answer(body);
    }

private:
    static http::Response private_answer(const Json& body) {
        http::Response response = json_response(200, body);
        response.headers.set("Cache-Control", "no-store");
        return response;
    }

    static bool contains(std::string_view line, const std::string& what, bool exact) {
        return exact ? line.find(what) != std::string_view::npos
                     : to_lower(line).find(what) != std::string::npos;
    }

    Result<Stream> stream_of(const Call& call) {
        TURNOUT_TRY(portal::check_reader(services_, call));
        Stream stream{call.param("wsid"), call.param("job"), std::string(call.query_value("path"))};
        const auto job = TURNOUT_TRY(load_job(services_.store, stream.wsid, stream.job));
        if (!job) return not_found("job '" + stream.job + "' does not exist", "job");
        if (stream.path.empty()) stream.path = first_log_of(*job);
        return stream;
    }
    Result<bool> ended(const Stream& stream) {
        const auto job = TURNOUT_TRY(load_job(services_.store, stream.wsid, stream.job));
        return !job || is_terminal(job->status);
    }

    // As far as the log is now. Between its turns others may carry the same index on.
    Task<Result<LineIndex>> index_of(const Call& call, Stream stream) {
        const std::string key = stream.key();
        TURNOUT_CO_TRY(const std::uint64_t length,
                       services_.tracking.log_length(stream.wsid, stream.job, stream.path));
        Turn turn(services_, call);
        for (;;) {
            LineIndex* index = kept_.find(key);
            // A job's next attempt begins its log anew.
            if (!index || index->length() > length) {
                kept_.put(key, LineIndex());
                index = kept_.find(key);
            }
            if (index->length() >= length) co_return *index;
            TURNOUT_CO_TRY(
                const std::string piece,
                services_.tracking.read_log(stream.wsid, stream.job, stream.path, index->length(),
                                            std::min(kPiece, length - index->length())));
            if (piece.empty()) co_return *index;
            index->add(piece);
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
        }
    }

    Result<void> read_lines(const Stream& stream, const LineIndex& index, std::uint64_t first,
                            std::size_t count, Json& lines) {
        const LineIndex::Place place = index.before_line(first);
        std::uint64_t number = place.line, at = place.byte;
        std::size_t sent = 0;
        std::string line;
        std::uint64_t whole = 0;  // bytes of that line, of which `line` may be the beginning
        const auto end_line = [&] {
            // The first block may begin in the midst of a line, which then is one before `first`,
            // or the very line that was asked for when it is the log's first.
            if (number >= first) {
                std::string text = as_text(line);
                if (whole > kLongestLine)
                    text += " … (" + std::to_string(whole - kLongestLine) + " bytes more)";
                sent += text.size();
                lines.push(std::move(text));
            }
            ++number;
            line.clear();
            whole = 0;
        };
        while (at < index.length() && lines.items().size() < count && sent < kMostBytes) {
            const std::string piece = TURNOUT_TRY(services_.tracking.read_log(
                stream.wsid, stream.job, stream.path, at, std::min(kPiece, index.length() - at)));
            if (piece.empty()) return {};
            at += piece.size();
            std::size_t begin = 0;
            while (begin < piece.size() && lines.items().size() < count && sent < kMostBytes) {
                const std::size_t newline = std::min(piece.find('\n', begin), piece.size());
                const std::string_view part(piece.data() + begin, newline - begin);
                whole += part.size();
                if (number >= first && line.size() < kLongestLine)
                    line += part.substr(0, kLongestLine - line.size());
                begin = newline;
                if (newline < piece.size()) {
                    end_line();
                    ++begin;
                }
            }
        }
        if (at >= index.length() && whole > 0 && lines.items().size() < count) end_line();
        return {};
    }

    Services& services_;
    Lru<LineIndex> kept_{32};
};

}  // namespace

void add_line_routes(Router& router, Services& services) {
    const auto lines = std::make_shared<Lines>(services);
    const std::string job = "/studio/jobs/{wsid}/{job}";
    router.add("GET", job + "/lines", Access::Signed,
               [lines](Call& call) { return lines->get_lines(call); });
    router.add("GET", job + "/search", Access::Signed,
               [lines](Call& call) { return lines->search(call); });
}

}  // namespace turnout::api::studio

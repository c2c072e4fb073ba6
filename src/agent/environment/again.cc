#include "agent/environment/again.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace turnout::environment {
namespace {

// uv's words, and git's where uv runs it. In small letters.
constexpr std::array<std::string_view, 27> kPassing{
    "error sending request", "tcp connect error", "dns error", "failed to lookup address",
    "temporary failure in name resolution", "could not resolve host", "failed to connect to",
    "couldn't connect to server", "connection refused", "connection reset", "connection closed",
    "connection aborted", "broken pipe", "network is unreachable", "no route to host", "timed out",
    "network timeout", "error decoding response body", "request or response body error",
    "error reading a body", "end of file before message length", "unexpected end of file",
    "unexpected eof", "stream closed", "remote end hung up", "rpc failed",
    // A wheel of which half came, where the index does not tell what is in it.
    "failed to read from zip file"};

// With one of these words, whatever the others are.
constexpr std::array<std::string_view, 3> kLasting{"certificate", "hash mismatch",
                                                   "unsupported scheme"};

template <std::size_t N>
bool has_one_of(std::string_view text, const std::array<std::string_view, N>& words) {
    return std::ranges::any_of(
        words, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

// "http status server error (503 service unavailable)", "the requested url returned error: 503"
bool has_passing_status(std::string_view text) {
    for (const std::string_view before :
         {"http status server error (", "http status client error (", "returned error: "})
        for (std::size_t at = text.find(before); at != std::string_view::npos;
             at = text.find(before, at + 1)) {
            const auto status = parse_whole_number(text.substr(at + before.size(), 3));
            if (status && (*status == 408 || *status == 425 || *status == 429 ||
                           (*status >= 500 && *status != 501 && *status != 505)))
                return true;
        }
    return false;
}

// What uv says of its failure, without what went before and without what a package's own build
// said.
std::vector<std::string> own_words(const std::deque<std::string>& tail) {
    std::vector<std::string> words;
    for (std::string_view line : tail) {
        std::string_view text = trim(line);
        if (text == "[stderr]" || text == "[stdout]") break;
        const bool begins = text.starts_with("error: ") || text.starts_with("× ");
        if (words.empty() && !begins) continue;
        for (const std::string_view mark :
             {"error: ", "× ", "cause: ", "├─▶ ", "╰─▶ ", "│ ", "Caused by: "})
            if (text.starts_with(mark)) text = trim(text.substr(mark.size()));
        words.emplace_back(text);
    }
    return words;
}

std::string seconds_of(Span span) {
    return to_words(std::chrono::duration_cast<std::chrono::seconds>(span));
}

}  // namespace

std::string passing_reason(const Ran& ran) {
    if (ran.canceled || ran.status == 0) return "";
    if (ran.status == kPasses)
        return ran.tail.empty() ? "it ended with " + std::to_string(ran.status) : ran.tail.back();
    const std::vector<std::string> words = own_words(ran.tail);
    const std::string small = to_lower(join(words, "\n"));
    if (has_one_of(small, kLasting) || (!has_one_of(small, kPassing) && !has_passing_status(small)))
        return "";
    // What was wanted, and the first of all causes, which comes last; what lies between tells
    // nobody more.
    auto wanted = std::ranges::find_if(
        words, [](const std::string& line) { return line.find("://") != std::string::npos; });
    if (wanted == words.end()) wanted = words.begin();
    std::string reason = words.back();
    if (&*wanted != &words.back() && reason.find("://") == std::string::npos)
        reason = *wanted + ": " + reason;
    return reason;
}

Result<Ran> Again::run(const std::vector<std::string>& argv,
                       const std::vector<std::string>& environment, const Log& log,
                       const std::atomic<bool>& cancel) {
    for (;;) {
        Ran ran = TURNOUT_TRY(environment::run(argv, environment, log, cancel));
        if (ran.canceled) return fail(Code::Canceled, "Canceled", "canceled");
        ran.passing = passing_reason(ran);
        if (ran.passing.empty() || tries_ >= patience_.tries) return ran;
        ++tries_;
        log("trying again in " + seconds_of(pause_) + " (try " + std::to_string(tries_) + " of " +
            std::to_string(patience_.tries) + "): " + ran.passing + "\n");
        constexpr Span kLook = 100ms;  // whether it is still wanted
        for (Span left = pause_; left > Span{}; left -= kLook) {
            if (cancel) return fail(Code::Canceled, "Canceled", "canceled");
            usleep(static_cast<useconds_t>(std::min(left, kLook).count()));
        }
        pause_ = std::min(pause_ * 2, patience_.longest);
    }
}

}  // namespace turnout::environment

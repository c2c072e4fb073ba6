#include "provider/container/wire.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/json.h"
#include "base/text.h"

namespace turnout {

namespace {

constexpr std::size_t kTarBlock = 512;
constexpr std::size_t kExecHeader = 8;
constexpr std::size_t kLastWords = 2000;
constexpr std::size_t kLongestLine = 1 << 20;
constexpr std::size_t kMostLayers = 1000;
constexpr std::size_t kBuildLog = 16'000;

}  // namespace

// ---- archives ----

void Archive::head(std::string_view path, std::uint32_t owner, unsigned mode, std::uint64_t size,
                   char type) {
    TURNOUT_CHECK(path.size() < 100, "a short path in an archive");
    char block[kTarBlock] = {};
    const auto octal = [&](std::size_t at, std::size_t width, std::uint64_t value) {
        for (std::size_t i = width - 1; i-- > 0; value >>= 3)
            block[at + i] = static_cast<char>('0' + (value & 7));
    };
    path.copy(block, path.size());
    octal(100, 8, mode);
    octal(108, 8, owner);
    octal(116, 8, owner);
    octal(124, 12, size);
    octal(136, 12, 0);
    std::memset(block + 148, ' ', 8);
    block[156] = type;
    std::memcpy(block + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    std::snprintf(block + 148, 8, "%06o", sum);
    block[155] = ' ';
    bytes_.append(block, kTarBlock);
}

void Archive::folder(std::string_view path, std::uint32_t owner, unsigned mode) {
    head(std::string(path) + "/", owner, mode, 0, '5');
}

void Archive::file(std::string_view path, std::uint32_t owner, unsigned mode,
                   std::string_view bytes) {
    head(path, owner, mode, bytes.size(), '0');
    bytes_ += bytes;
    bytes_.append((kTarBlock - bytes.size() % kTarBlock) % kTarBlock, '\0');
}

std::string Archive::take() {
    bytes_.append(2 * kTarBlock, '\0');
    return std::move(bytes_);
}

// ---- what runs in a container ----

Result<void> ExecFrames::give(std::string_view bytes) {
    while (!bytes.empty()) {
        if (left_ == 0) {
            const std::size_t some = std::min(bytes.size(), kExecHeader - header_.size());
            header_ += bytes.substr(0, some);
            bytes.remove_prefix(some);
            if (header_.size() < kExecHeader) return {};
            stream_ = header_[0];
            if (stream_ < 0 || stream_ > 2 || header_[1] != 0 || header_[2] != 0 || header_[3] != 0)
                return invalid("the engine's stream is not made of frames");
            for (std::size_t i = 4; i < kExecHeader; ++i)
                left_ = left_ << 8 | static_cast<unsigned char>(header_[i]);
            header_.clear();
            continue;
        }
        const std::size_t some = std::min<std::size_t>(bytes.size(), left_);
        if (stream_ == 2) {
            error_ += bytes.substr(0, some);
            if (error_.size() > 2 * kLastWords) error_.erase(0, error_.size() - kLastWords);
        } else {
            output_ += bytes.substr(0, some);
        }
        bytes.remove_prefix(some);
        left_ -= static_cast<std::uint32_t>(some);
    }
    return {};
}

std::string ExecFrames::take_output() {
    return std::exchange(output_, {});
}

// ---- a pull, or a build ----

bool is_passing_failure(std::string_view why) {
    const std::string lower = to_lower(why);
    const auto says = [&](std::string_view word) { return lower.find(word) != std::string::npos; };
    // Docker's words, BuildKit's, Podman's.
    if (says("returned a non-zero code") || says("did not complete successfully") ||
        says("while running runtime") || says("error building at step"))
        return false;
    for (const std::string_view word :
         {"timeout", "timed out", "connection refused", "connection reset", "temporary failure",
          "no route to host", "no such host", "server misbehaving", "unexpected eof",
          "toomanyrequests", "too many requests", "internal server error", "bad gateway",
          "service unavailable"})
        if (says(word)) return true;
    return false;
}

std::string plain_log(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (c == 0x1b && i + 1 < text.size() && text[i + 1] == '[') {
            i += 2;
            while (i < text.size() && (is_digit(text[i]) || text[i] == ';' || text[i] == '?')) ++i;
        } else if (c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f)) {
            plain += text[i];
        }
    }
    return plain;
}

Result<void> EngineProgress::line(std::string_view text) {
    text = trim(text);
    if (text.empty()) return {};
    const Result<Json> json = parse_json(text);
    if (!json || !json->is_object()) return invalid("the engine's progress is not JSON");
    if (const std::string error = json->at("error").as_string(); !error.empty()) {
        failed_ = error;
        return {};
    }
    if (const Json& said = json->at("stream"); said.is_string()) {
        builds_ = true;
        log_ += said.as_view();
        if (log_.size() > 2 * kBuildLog) log_.erase(0, log_.size() - kBuildLog);
        if (said.as_view().starts_with("Step ") || said.as_view().starts_with("STEP "))
            status_ = said.as_string().substr(0, 200);
    }
    if (const std::string status = json->at("status").as_string(); !status.empty() && !builds_)
        status_ = status.substr(0, 200);
    while (!status_.empty() && status_.back() == '\n') status_.pop_back();
    std::ranges::replace_if(status_, [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
    const std::string id = json->at("id").as_string();
    const Json& detail = json->at("progressDetail");
    if (status_ != "Downloading" || id.empty() || id.size() > 200) return {};
    if (layers_.size() >= kMostLayers && !layers_.contains(id)) return {};
    layers_[id] = {std::max<std::int64_t>(0, detail.at("current").as_int()),
                   std::max<std::int64_t>(0, detail.at("total").as_int())};
    return {};
}

Result<void> EngineProgress::give(std::string_view bytes) {
    while (!bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        partial_ += bytes.substr(0, end);
        if (partial_.size() > kLongestLine) return invalid("the engine's progress has no lines");
        if (end == std::string_view::npos) return {};
        bytes.remove_prefix(end + 1);
        const std::string whole = std::exchange(partial_, {});
        TURNOUT_TRY(line(whole));
    }
    return {};
}

std::string EngineProgress::words() const {
    std::uint64_t done = 0, all = 0;
    for (const auto& [id, layer] : layers_) {
        const std::uint64_t size = static_cast<std::uint64_t>(layer.all);
        all += std::min<std::uint64_t>(size, std::uint64_t{1} << 50);
        done += std::min(static_cast<std::uint64_t>(layer.done), size);
    }
    if (all == 0 || builds_) return status_;
    return to_size_words(done) + " of " + to_size_words(all);
}

}  // namespace turnout

#include "provider/kubernetes/websocket.h"

#include <cstddef>
#include <utility>

#include "base/json.h"
#include "base/text.h"

namespace turnout {

namespace {

constexpr std::size_t kLongestMessage = 4 << 20;
constexpr std::size_t kLongestControl = 125;
constexpr std::size_t kMostLastWords = 2000;

Failure no_websocket(std::string_view why) {
    return fail(Code::Unavailable, "NotUnderstood",
                "the API server's WebSocket is not understood: " + std::string(why));
}

// "command terminated with exit code 1", in a Status of the API.
std::optional<std::string> why_it_ended(std::string_view status) {
    const Result<Json> json = parse_json(status);
    if (json && json->at("status").as_view() == "Success") return std::nullopt;
    std::string words = json ? json->at("message").as_string() : std::string(trim(status));
    if (words.empty()) words = "it failed";
    return shown(words);
}

}  // namespace

std::string websocket_frame(Opcode opcode, std::string_view payload,
                            const std::array<unsigned char, 4>& mask) {
    std::string frame;
    frame.reserve(payload.size() + 14);
    frame += static_cast<char>(0x80U | static_cast<unsigned>(opcode));
    const std::size_t size = payload.size();
    const auto number = [&](int bytes) {
        for (int i = bytes - 1; i >= 0; --i)
            frame += static_cast<char>(static_cast<std::uint64_t>(size) >> (8 * i) & 0xffU);
    };
    if (size < 126) {
        frame += static_cast<char>(0x80U | static_cast<unsigned>(size));
    } else if (size < 65536) {
        frame += static_cast<char>(0x80U | 126U);
        number(2);
    } else {
        frame += static_cast<char>(0x80U | 127U);
        number(8);
    }
    for (const unsigned char byte : mask) frame += static_cast<char>(byte);
    for (std::size_t i = 0; i < size; ++i)
        frame += static_cast<char>(static_cast<unsigned char>(payload[i]) ^ mask[i % 4]);
    return frame;
}

Result<std::optional<WebSocketMessage>> WebSocketReader::next() {
    for (;;) {
        if (bytes_.size() < 2) return std::nullopt;
        const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes_[i]); };
        const bool last = (at(0) & 0x80U) != 0;
        const auto opcode = static_cast<Opcode>(at(0) & 0x0fU);
        if ((at(0) & 0x70U) != 0) return no_websocket("it has extensions that nobody asked for");
        if ((at(1) & 0x80U) != 0) return no_websocket("a server's frame is masked");
        std::uint64_t size = at(1) & 0x7fU;
        std::size_t head = 2;
        if (size >= 126) {
            const std::size_t more = size == 126 ? 2 : 8;
            head += more;
            if (bytes_.size() < head) return std::nullopt;
            size = 0;
            for (std::size_t i = 2; i < head; ++i) size = size << 8 | at(i);
        }
        const bool control =
            opcode == Opcode::Close || opcode == Opcode::Ping || opcode == Opcode::Pong;
        const bool data =
            opcode == Opcode::Continuation || opcode == Opcode::Text || opcode == Opcode::Binary;
        if (!control && !data) return no_websocket("a frame is of no known kind");
        if (control && (!last || size > kLongestControl))
            return no_websocket("a control frame is too long, or in pieces");
        if (data && (opcode == Opcode::Continuation) != opcode_.has_value())
            return no_websocket("the pieces of a message are out of order");
        if (size > kLongestMessage || partial_.size() + size > kLongestMessage)
            return no_websocket("a message is too long");
        const auto length = static_cast<std::size_t>(size);
        if (bytes_.size() - head < length) return std::nullopt;
        std::string payload = bytes_.substr(head, length);
        bytes_.erase(0, head + length);
        if (control) return WebSocketMessage{opcode, std::move(payload)};
        if (last && !opcode_) return WebSocketMessage{opcode, std::move(payload)};
        partial_ += payload;
        if (!opcode_) opcode_ = opcode;
        if (!last) continue;
        WebSocketMessage whole{*std::exchange(opcode_, std::nullopt), std::exchange(partial_, {})};
        return whole;
    }
}

Result<void> ExecChannels::give(std::string_view message) {
    if (message.empty()) return {};  // to keep a connection alive
    const char channel = message.front();
    message.remove_prefix(1);
    switch (channel) {
        case kExecOutput: output_ += message; return {};
        case kExecError:
            error_ += message;
            if (error_.size() > 2 * kMostLastWords) error_.erase(0, error_.size() - kMostLastWords);
            return {};
        case kExecStatus:
            if (!message.empty()) ended_ = why_it_ended(message);
            return {};
        case kExecInput: return {};
        default: break;
    }
    if (static_cast<unsigned char>(channel) == 255) return {};  // v5: the other side closes one
    return invalid("a message of the exec is for no channel");
}

std::string ExecChannels::take_output() {
    return std::exchange(output_, {});
}

}  // namespace turnout

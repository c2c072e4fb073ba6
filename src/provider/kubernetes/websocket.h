// WebSocket (RFC 6455) as a client speaks it, after the upgrade, and the channels that Kubernetes
// puts into its messages. Pure: bytes in, values out.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnout {

enum class Opcode : std::uint8_t {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10
};

// One whole message in a frame, masked as a client's have to be.
std::string websocket_frame(Opcode opcode, std::string_view payload,
                            const std::array<unsigned char, 4>& mask);

struct WebSocketMessage {
    Opcode opcode = Opcode::Binary;  // Text, Binary, Close, Ping or Pong
    std::string payload;
};

// What a server sends. A message of more than 4 MiB, a masked frame or one that the RFC does not
// have is an error, and the end of it.
class WebSocketReader {
public:
    void give(std::string_view bytes) { bytes_ += bytes; }
    // Nothing: more has to come.
    Result<std::optional<WebSocketMessage>> next();

private:
    std::string bytes_;
    std::string partial_;  // of a message in pieces
    std::optional<Opcode> opcode_;
};

// ---- the channels of an exec: the first byte of a message says whose it is ----
inline constexpr char kExecInput = 0, kExecOutput = 1, kExecError = 2, kExecStatus = 3;

// Offered to the server, the newest first; it answers with the one that it speaks.
inline constexpr std::string_view kExecProtocols = "v5.channel.k8s.io, v4.channel.k8s.io";

// What a program in a container says, by an exec.
class ExecChannels {
public:
    // InvalidArgument: it is no message of an exec.
    Result<void> give(std::string_view message);
    std::string take_output();  // since the last call
    // The end of what it said on its error output, for people.
    const std::string& last_words() const { return error_; }
    // It is over: nothing, or why it did not end well. Not yet: an empty optional.
    const std::optional<std::optional<std::string>>& ended() const { return ended_; }

private:
    std::string output_, error_;
    std::optional<std::optional<std::string>> ended_;
};

}  // namespace turnout

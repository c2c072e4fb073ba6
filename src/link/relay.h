// The relay: many byte streams, called channels, over one. Pure: bytes come in, events and bytes go
// out, time is an argument. Both sides are alike: each may open channels, by the name of what is to
// be at the other end; who drives it decides what a name means there (bridge.h).
//
// On the stream: kPreamble, then frames of at most kMaxFrame bytes, numbers with the high byte
// first: type, whose (1: the channel was opened by the sender of this frame), size of the payload
// (2 bytes), channel (4 bytes; 0 is the relay itself), payload. The first frame is the hello, whose
// shape never changes but at its end; Relay::receive says what each may hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace turnout::link {

inline constexpr std::string_view kPreamble("\x1bturnout-relay\n", 15);
inline constexpr std::size_t kHeader = 8;
inline constexpr std::size_t kMaxFrame = 64 << 10;
inline constexpr std::size_t kMaxPayload = kMaxFrame - kHeader;
inline constexpr std::size_t kMaxTarget = 128;
inline constexpr std::size_t kMaxReason = 256;
inline constexpr std::size_t kMaxQueued = 64 << 10;  // of a channel, not yet on the stream
inline constexpr std::size_t kMaxNoise = 64 << 10;   // what a login shell says before the preamble

// The newest version, and the oldest that is still spoken: N - 1, once there are two.
inline constexpr std::uint16_t kNewestVersion = 1;
inline constexpr std::uint16_t kOldestVersion = 1;

// What this side takes from the other one, which is told by the hello.
struct Limits {
    std::uint16_t newest = kNewestVersion, oldest = kOldestVersion;
    std::uint32_t channels = 256;  // opened by the other side and not over
    std::uint32_t opens = 256;     // at once; then as many as come back
    std::uint32_t opens_per_second = 500;
    // Bytes that a channel may have sent and nobody consumed. One whose bytes are consumed as they
    // come gets twice as many each time, until its window is the largest or all windows together
    // have grown by `growth`.
    std::uint32_t window = 64 << 10;
    std::uint32_t largest_window = 4 << 20;
    std::uint32_t growth = 48 << 20;
    Span silence = 30s;  // a stream on which nothing comes for so long is dead
};

// Names a channel on this side. Never used twice in the life of a relay.
using Channel = std::uint64_t;

namespace event {
struct Ready {  // the other side's hello came: channels can be opened
    std::uint16_t version = 0;
};
struct Opened {  // by the other side; bytes may follow at once
    Channel channel = 0;
    std::string target;
};
struct Bytes {  // to be consumed(), in this order
    Channel channel = 0;
    std::string bytes;
};
struct Ended {  // no more bytes come; the other direction goes on
    Channel channel = 0;
};
struct Closed {  // the last event of a channel, unless reset() was. "" = it ended well: all came
    Channel channel = 0;
    std::string reason;
};
struct Room {  // write() takes bytes again
    Channel channel = 0;
};
}  // namespace event
using Event = std::variant<event::Ready, event::Opened, event::Bytes, event::Ended, event::Closed,
                           event::Room>;

class Relay {
public:
    Relay(Limits limits, Span now);

    // Bytes of the stream, in any pieces. An error is the end of the relay, and says why.
    Result<void> receive(std::string_view bytes, Span now);
    // Why the relay is over, when the stream has ended.
    Error stream_ended() const;
    // Nothing came for too long: an error, as of receive(). Call it at next_tick().
    Result<void> tick(Span now);
    Span next_tick() const;
    // What happened since the last call. Ask after every call of the others.
    std::vector<Event> take_events();
    // Appends what is to be written to the stream, about `room` bytes if there are so many. What
    // is not the content of channels goes first; channels take turns, the quiet ones first.
    void output(std::string& to, std::size_t room, Span now);

    bool may_open() const;
    // Check may_open() before. The channel may be written to at once.
    Channel open(std::string_view target);

    // Those below have no effect on a channel that is over: the other side may have ended it
    // before the event was seen.
    //
    // How many bytes write() takes now.
    std::size_t room(Channel channel) const;
    void write(Channel channel, std::string_view bytes);
    // After what was written nothing more comes from this side. Once.
    void end(Channel channel);
    // Ends both directions at once; what is on its way is dropped. The reason is not "".
    void reset(Channel channel, std::string_view reason);
    // So many of the bytes of events are out of memory: the other side may send as many more.
    void consumed(Channel channel, std::size_t count);

    std::size_t channels() const { return states_.size(); }
    // What all of them hold or may still be sent, whatever the other side does.
    std::size_t bytes_promised() const;

private:
    struct State {
        bool own = false;
        std::uint32_t id = 0;
        std::string queue;  // from `sent` on
        std::size_t sent = 0;
        std::uint64_t credit = 0;  // bytes that the other side takes
        bool end_wanted = false, end_sent = false, close_sent = false;
        bool reset = false;  // here: nobody hears of it any more
        bool turn_listed = false, credit_listed = false;
        // The other direction. promised + unconsumed + owed is the window.
        std::uint32_t window = 0, promised = 0, unconsumed = 0, owed = 0;
        bool end_got = false, close_got = false;
    };
    // Channels by what they are called on the stream.
    static std::uint64_t wire_name(bool own, std::uint32_t id) {
        return (static_cast<std::uint64_t>(own) << 32) | id;
    }
    struct Frame;

    static Result<Frame> read_header(std::string_view from);
    Result<void> find_preamble(std::string_view& bytes);
    Result<void> on_frame(const Frame& frame, Span now);
    Result<void> on_hello(std::string_view payload);
    Result<void> on_open(const Frame& frame);
    Result<void> on_opens(std::string_view payload);
    Result<void> on_credit(Channel channel, State& state, std::string_view payload);
    Result<void> on_data(Channel channel, State& state, std::string_view bytes);
    Result<void> on_close(Channel channel, State& state, std::string_view reason);
    void give_opens_back(Span now);
    std::uint32_t opens_worth_saying() const;

    Channel add(bool own, std::uint32_t id);
    void erase(Channel channel);
    State* find(Channel channel);
    bool has_turn(const State& state) const;
    void list_for_turn(Channel channel, State& state);
    void send_close(State& state, std::string_view reason);
    void close_if_over(Channel channel, State& state);
    void take_turn(Channel channel, std::string& to);

    const Limits limits_;
    std::vector<Event> events_;

    // What came.
    std::string partial_;  // less than a frame; before the preamble: noise
    bool greeted_ = false;
    Span heard_;  // when bytes came

    // What the other side takes.
    std::uint16_t version_ = 0;  // 0 before its hello
    std::uint32_t its_channels_ = 0, its_window_ = 0, opens_left_ = 0;
    Span its_silence_;

    // What this side takes.
    std::uint32_t opens_promised_, own_count_ = 0, its_count_ = 0;
    Span opens_given_;  // when the last were given back
    std::uint32_t grown_ = 0;

    // What goes out: control_ from control_sent_ on, credits, then turns.
    std::string control_;
    std::size_t control_sent_ = 0;
    Span said_;  // when bytes went
    std::deque<Channel> credits_, quiet_, busy_;
    int quiet_in_a_row_ = 0;

    std::unordered_map<Channel, State> states_;
    std::unordered_map<std::uint64_t, Channel> by_wire_;
    Channel last_channel_ = 0;
    std::uint32_t last_id_ = 0;
};

}  // namespace turnout::link

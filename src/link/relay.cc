#include "link/relay.h"

#include <algorithm>
#include <limits>

#include "base/text.h"

namespace turnout::link {
namespace {

enum class Type : std::uint8_t {
    Hello = 1,   // newest and oldest version, 2 bytes each; window, channels, opens and
                 // milliseconds of silence, 4 bytes each; more may follow
    Alive = 2,   // nothing: said where there is nothing else to say
    Open = 3,    // the name of the target; by the sender's own new channel
    Credit = 4,  // 4 bytes: so many bytes more of the channel; of channel 0: opens
    Data = 5,    // bytes, not none
    End = 6,     // no more Data from the sender
    Close = 7,   // the sender's last frame of the channel. "" after both Ends, or why at any time
};

constexpr std::size_t kHelloSize = 20;
// Control frames that the other side does not take: it never lets so many come together if it
// reads.
constexpr std::size_t kMaxControl = 1 << 20;
constexpr std::size_t kCompactAt = 64 << 10;
constexpr std::uint32_t kMaxCredit = std::numeric_limits<std::uint32_t>::max();
constexpr int kMostQuietInARow = 4;  // then one of the busy channels, if there are any
constexpr Span kShortestSilence = 100ms, kLongestSilence = std::chrono::hours(1);

void put16(std::string& to, std::size_t value) {
    to += static_cast<char>(value >> 8 & 0xff);
    to += static_cast<char>(value & 0xff);
}

void put32(std::string& to, std::size_t value) {
    put16(to, value >> 16 & 0xffff);
    put16(to, value & 0xffff);
}

std::uint16_t get16(std::string_view from, std::size_t at) {
    return static_cast<std::uint16_t>(static_cast<unsigned char>(from[at]) << 8 |
                                      static_cast<unsigned char>(from[at + 1]));
}

std::uint32_t get32(std::string_view from, std::size_t at) {
    return static_cast<std::uint32_t>(get16(from, at)) << 16 | get16(from, at + 2);
}

void put_header(std::string& to, Type type, bool own, std::size_t size, std::uint32_t id) {
    to += static_cast<char>(type);
    to += static_cast<char>(own);
    put16(to, size);
    put32(to, id);
}

void put_frame(std::string& to, Type type, bool own, std::uint32_t id, std::string_view payload) {
    put_header(to, type, own, payload.size(), id);
    to += payload;
}

Failure broken(const std::string& what) {
    return fail(Code::InvalidArgument, "RelayBroken", "the relay's other side " + what);
}

}  // namespace

struct Relay::Frame {
    Type type = Type::Alive;
    bool own = false;  // the receiver's
    std::uint32_t id = 0;
    std::size_t size = 0;
    std::string_view payload;
    std::string channel() const {
        return std::string(own ? "our" : "its") + " channel " + std::to_string(id);
    }
};

Relay::Relay(Limits limits, Span now)
    : limits_(limits),
      heard_(now),
      its_silence_(limits.silence),
      opens_promised_(limits.opens),
      opens_given_(now),
      said_(now) {
    control_ = kPreamble;
    put_header(control_, Type::Hello, false, kHelloSize, 0);
    put16(control_, limits_.newest);
    put16(control_, limits_.oldest);
    put32(control_, limits_.window);
    put32(control_, limits_.channels);
    put32(control_, limits_.opens);
    put32(control_, static_cast<std::size_t>(limits_.silence / 1ms));
}

// ---- what comes

Result<void> Relay::receive(std::string_view bytes, Span now) {
    if (bytes.empty()) return {};
    heard_ = now;
    if (!greeted_) TURNOUT_TRY(find_preamble(bytes));
    if (!greeted_) return {};
    const auto gather = [&](std::size_t wanted) {  // only what is cut is copied
        const std::size_t more = std::min(wanted - std::min(wanted, partial_.size()), bytes.size());
        partial_ += bytes.substr(0, more);
        bytes.remove_prefix(more);
        return partial_.size() >= wanted;
    };
    while (!bytes.empty()) {
        const bool cut = !partial_.empty();
        if (cut ? !gather(kHeader) : bytes.size() < kHeader) {
            partial_ += std::exchange(bytes, {});
            break;
        }
        Frame frame = TURNOUT_TRY(read_header(cut ? std::string_view(partial_) : bytes));
        const std::size_t whole = kHeader + frame.size;
        if (cut ? !gather(whole) : bytes.size() < whole) {
            partial_ += std::exchange(bytes, {});
            break;
        }
        frame.payload = (cut ? std::string_view(partial_) : bytes).substr(kHeader, frame.size);
        TURNOUT_TRY(on_frame(frame, now));
        if (cut)
            partial_.clear();
        else
            bytes.remove_prefix(whole);
        if (control_.size() - control_sent_ > kMaxControl)
            return broken("does not read what it makes this side answer");
    }
    return {};
}

Result<Relay::Frame> Relay::read_header(std::string_view from) {
    Frame frame;
    const auto type = static_cast<unsigned char>(from[0]);
    const auto whose = static_cast<unsigned char>(from[1]);
    if (type < static_cast<int>(Type::Hello) || type > static_cast<int>(Type::Close))
        return broken("sent a frame of type " + std::to_string(type) + ", which there is not");
    if (whose > 1) return broken("sent a frame of channels of sort " + std::to_string(whose));
    frame.type = static_cast<Type>(type);
    frame.own = whose == 0;
    frame.size = get16(from, 2);
    frame.id = get32(from, 4);
    if (frame.size > kMaxPayload)
        return broken("sent a frame of " + std::to_string(kHeader + frame.size) +
                      " bytes, more than " + std::to_string(kMaxFrame));
    return frame;
}

Result<void> Relay::find_preamble(std::string_view& bytes) {
    const std::size_t from = partial_.size() - std::min(partial_.size(), kPreamble.size());
    const std::size_t before = partial_.size();
    partial_ += bytes.substr(0, kMaxNoise + kPreamble.size() - before);
    const std::size_t at = partial_.find(kPreamble, from);
    if (at == std::string::npos) {
        if (partial_.size() < kMaxNoise + kPreamble.size()) return {};
        return broken("is none: " + to_size_words(kMaxNoise) + " came that begin with " +
                      shown(std::string_view(partial_).substr(0, 200)));
    }
    bytes.remove_prefix(at + kPreamble.size() - before);
    partial_.clear();
    partial_.shrink_to_fit();
    greeted_ = true;
    return {};
}

Error Relay::stream_ended() const {
    std::string text = "the relay's stream ended";
    if (version_ == 0) text += " before the other side's hello";
    if (!greeted_ && !partial_.empty())
        text += ": " + shown(trim(std::string_view(partial_).substr(0, 200)));
    if (greeted_ && !partial_.empty()) text += " within a frame";
    return Error(Code::Unavailable, "RelayEnded", std::move(text));
}

Result<void> Relay::on_frame(const Frame& frame, Span now) {
    if (version_ == 0) {
        if (frame.type != Type::Hello || frame.id != 0)
            return broken("sent something else before its hello");
        return on_hello(frame.payload);
    }
    switch (frame.type) {
        case Type::Hello: return broken("sent a second hello");
        case Type::Alive:
            if (frame.id != 0 || !frame.payload.empty()) return broken("sent a wrong sign of life");
            return {};
        case Type::Open: give_opens_back(now); return on_open(frame);
        case Type::Credit:
            if (frame.id == 0) return on_opens(frame.payload);
            break;
        case Type::Data:
        case Type::End:
        case Type::Close: break;
    }
    const auto found = by_wire_.find(wire_name(frame.own, frame.id));
    if (found == by_wire_.end()) return broken("sent a frame of " + frame.channel() + ", not open");
    const Channel channel = found->second;
    State& state = states_.at(channel);
    if (state.close_got) return broken("went on with " + frame.channel() + " after closing it");
    if (frame.type == Type::Close) return on_close(channel, state, frame.payload);
    if (frame.type == Type::Credit) return on_credit(channel, state, frame.payload);
    if (state.end_got) return broken("went on with " + frame.channel() + " after its end");
    if (frame.type == Type::Data) return on_data(channel, state, frame.payload);
    if (!frame.payload.empty()) return broken("sent an end that holds something");
    state.end_got = true;
    if (!state.reset) events_.push_back(event::Ended{channel});
    close_if_over(channel, state);
    return {};
}

Result<void> Relay::on_hello(std::string_view payload) {
    if (payload.size() < kHelloSize) return broken("sent a hello that is too short");
    const std::uint16_t newest = get16(payload, 0), oldest = get16(payload, 2);
    const auto range = [](std::uint16_t from, std::uint16_t to) {
        return from == to ? std::to_string(to) : std::to_string(from) + " to " + std::to_string(to);
    };
    if (oldest == 0 || oldest > newest) return broken("sent a hello without a version");
    if (newest < limits_.oldest || oldest > limits_.newest)
        return fail(Code::FailedPrecondition, "RelayVersion",
                    "the relay's other side speaks version " + range(oldest, newest) +
                        ", this one version " + range(limits_.oldest, limits_.newest) +
                        ": install the same release on both");
    its_window_ = get32(payload, 4);
    its_channels_ = get32(payload, 8);
    opens_left_ = get32(payload, 12);
    its_silence_ = get32(payload, 16) * Span(1ms);
    if (its_window_ == 0) return broken("sent a hello with a window of 0 bytes");
    if (its_silence_ < kShortestSilence || its_silence_ > kLongestSilence)
        return broken("sent a hello with a silence of " + to_words(its_silence_) + ", not " +
                      to_words(kShortestSilence) + " to " + to_words(kLongestSilence));
    version_ = std::min(newest, limits_.newest);
    events_.push_back(event::Ready{version_});
    return {};
}

Result<void> Relay::on_open(const Frame& frame) {
    if (frame.own || frame.id == 0) return broken("opened " + frame.channel());
    if (frame.payload.empty() || frame.payload.size() > kMaxTarget)
        return broken("opened a channel to a name of " + std::to_string(frame.payload.size()) +
                      " bytes, not 1 to " + std::to_string(kMaxTarget));
    if (by_wire_.contains(wire_name(false, frame.id)))
        return broken("opened " + frame.channel() + ", which is open");
    if (its_count_ >= limits_.channels)
        return broken("opened more than " + std::to_string(limits_.channels) + " channels");
    if (opens_promised_ == 0) return broken("opens channels faster than it may");
    --opens_promised_;
    const Channel channel = add(false, frame.id);
    events_.push_back(event::Opened{channel, std::string(frame.payload)});
    return {};
}

Result<void> Relay::on_opens(std::string_view payload) {
    if (payload.size() != 4) return broken("sent credit that is no number");
    const std::uint64_t sum = std::uint64_t(opens_left_) + get32(payload, 0);
    if (sum > kMaxCredit) return broken("sent too much credit");
    opens_left_ = static_cast<std::uint32_t>(sum);
    return {};
}

Result<void> Relay::on_credit(Channel channel, State& state, std::string_view payload) {
    if (payload.size() != 4) return broken("sent credit that is no number");
    state.credit += get32(payload, 0);
    if (state.credit > kMaxCredit) return broken("sent too much credit");
    list_for_turn(channel, state);
    return {};
}

Result<void> Relay::on_data(Channel channel, State& state, std::string_view bytes) {
    if (bytes.empty()) return broken("sent a frame without bytes");
    if (bytes.size() > state.promised)
        return broken("sent " + std::to_string(bytes.size()) + " bytes where it may send " +
                      std::to_string(state.promised));
    state.promised -= static_cast<std::uint32_t>(bytes.size());
    if (state.reset) return {};  // nobody waits for them
    state.unconsumed += static_cast<std::uint32_t>(bytes.size());
    events_.push_back(event::Bytes{channel, std::string(bytes)});
    return {};
}

Result<void> Relay::on_close(Channel channel, State& state, std::string_view reason) {
    if (reason.size() > kMaxReason) return broken("gives a reason that is too long");
    if (reason.empty() && !(state.end_got && state.end_sent))
        return broken("closed a channel before its end, without reason");
    state.close_got = true;
    // That it ended well there is not yet so here, where bytes may still be consumed.
    if (reason.empty() && !state.close_sent) return {};
    if (!state.reset) events_.push_back(event::Closed{channel, std::string(reason)});
    if (!state.close_sent) send_close(state, "closed by the other side");
    erase(channel);
    return {};
}

void Relay::give_opens_back(Span now) {
    const std::uint32_t used = limits_.opens - opens_promised_;
    if (used == 0) opens_given_ = now;
    const auto due = static_cast<std::uint64_t>((now - opens_given_) / 1us) *
                     limits_.opens_per_second / 1'000'000;
    const auto more = static_cast<std::uint32_t>(std::min<std::uint64_t>(due, used));
    if (more < opens_worth_saying()) return;
    opens_given_ = now;
    opens_promised_ += more;
    std::string payload;
    put32(payload, more);
    put_frame(control_, Type::Credit, false, 0, payload);
}

// Some at a time: each is a frame.
std::uint32_t Relay::opens_worth_saying() const {
    const std::uint32_t used = limits_.opens - opens_promised_;
    return std::max(std::min(used, limits_.opens / 4), 1u);
}

// ---- time

Result<void> Relay::tick(Span now) {
    if (now - heard_ >= limits_.silence)
        return fail(Code::Unavailable, "RelaySilent",
                    "nothing came from the relay's other side for " + to_words(now - heard_));
    give_opens_back(now);
    if (now - said_ >= its_silence_ / 3 && control_.empty())
        put_header(control_, Type::Alive, false, 0, 0);
    return {};
}

Span Relay::next_tick() const {
    Span next = heard_ + limits_.silence;
    // What waits to be written is a sign of life too, once it is.
    if (control_.empty()) next = std::min(next, said_ + its_silence_ / 3);
    if (opens_promised_ < limits_.opens && limits_.opens_per_second > 0)
        next = std::min(next, opens_given_ + Span(1'000'000 * std::int64_t(opens_worth_saying()) /
                                                      limits_.opens_per_second +
                                                  1));
    return next;
}

std::vector<Event> Relay::take_events() {
    return std::exchange(events_, {});
}

// ---- what goes

void Relay::output(std::string& to, std::size_t room, Span now) {
    const std::size_t before = to.size();
    const auto left = [&] { return room - std::min(room, to.size() - before); };
    if (const std::size_t some = std::min(left(), control_.size() - control_sent_); some > 0) {
        to.append(control_, control_sent_, some);
        control_sent_ += some;
    }
    if (control_sent_ == control_.size()) {
        control_.clear();
        control_sent_ = 0;
        while (left() > 0 && !credits_.empty()) {
            const Channel channel = credits_.front();
            credits_.pop_front();
            State* state = find(channel);
            if (!state) continue;
            state->credit_listed = false;
            if (state->close_sent || state->end_got) continue;
            put_header(to, Type::Credit, state->own, 4, state->id);
            put32(to, state->owed);
            state->promised += std::exchange(state->owed, 0);
        }
        while (version_ != 0 && left() > 0 && !(quiet_.empty() && busy_.empty())) {
            const bool quiet =
                !quiet_.empty() && (busy_.empty() || quiet_in_a_row_ < kMostQuietInARow);
            quiet_in_a_row_ = quiet ? quiet_in_a_row_ + 1 : 0;
            std::deque<Channel>& from = quiet ? quiet_ : busy_;
            const Channel channel = from.front();
            from.pop_front();
            take_turn(channel, to);
        }
    }
    if (to.size() > before) said_ = now;
}

// The next frame of that channel.
void Relay::take_turn(Channel channel, std::string& to) {
    State* state = find(channel);
    if (!state) return;
    state->turn_listed = false;
    if (!has_turn(*state)) return;
    const std::size_t queued = state->queue.size() - state->sent;
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>({queued, state->credit, kMaxPayload}));
    if (size > 0) {
        put_header(to, Type::Data, state->own, size, state->id);
        to.append(state->queue, state->sent, size);
        state->credit -= size;
        state->sent += size;
        if (queued >= kMaxQueued && !state->end_wanted) events_.push_back(event::Room{channel});
        if (size == queued) {
            state->queue.clear();
            state->sent = 0;
        } else if (state->sent >= kCompactAt) {
            state->queue.erase(0, std::exchange(state->sent, 0));
        }
    }
    if (state->queue.empty() && state->end_wanted) {
        put_header(to, Type::End, state->own, 0, state->id);
        state->end_sent = true;
        close_if_over(channel, *state);
    } else if (has_turn(*state)) {
        state->turn_listed = true;
        busy_.push_back(channel);
    }
}

bool Relay::may_open() const {
    return version_ != 0 && opens_left_ > 0 && own_count_ < its_channels_;
}

Channel Relay::open(std::string_view target) {
    TURNOUT_CHECK(may_open(), "a channel was opened where none may be");
    TURNOUT_CHECK(!target.empty() && target.size() <= kMaxTarget, "the name of a target is short");
    do ++last_id_;
    while (last_id_ == 0 || by_wire_.contains(wire_name(true, last_id_)));
    --opens_left_;
    const Channel channel = add(true, last_id_);
    put_frame(control_, Type::Open, true, last_id_, target);
    return channel;
}

std::size_t Relay::room(Channel channel) const {
    const auto found = states_.find(channel);
    if (found == states_.end()) return 0;
    const State& state = found->second;
    if (state.end_wanted || state.close_sent) return 0;
    return kMaxQueued - (state.queue.size() - state.sent);
}

void Relay::write(Channel channel, std::string_view bytes) {
    State* state = find(channel);
    if (!state || state->close_sent) return;
    TURNOUT_CHECK(bytes.size() <= room(channel), "more was written than there is room");
    state->queue += bytes;
    list_for_turn(channel, *state);
}

void Relay::end(Channel channel) {
    State* state = find(channel);
    if (!state || state->close_sent) return;
    TURNOUT_CHECK(!state->end_wanted, "a channel was ended twice");
    state->end_wanted = true;
    list_for_turn(channel, *state);
}

void Relay::reset(Channel channel, std::string_view reason) {
    State* state = find(channel);
    if (!state || state->reset) return;
    TURNOUT_CHECK(!reason.empty(), "a reset has a reason");
    state->reset = true;
    if (!state->close_sent) send_close(*state, reason.substr(0, kMaxReason));
    if (state->close_got) erase(channel);
}

void Relay::consumed(Channel channel, std::size_t count) {
    State* state = find(channel);
    if (!state || state->reset || count == 0) return;
    TURNOUT_CHECK(count <= state->unconsumed, "more was consumed than came");
    state->unconsumed -= static_cast<std::uint32_t>(count);
    state->owed += static_cast<std::uint32_t>(count);
    if (state->end_got) return close_if_over(channel, *state);
    if (state->owed < state->window / 2) return;
    // All that came is consumed: the window is what the channel waits for.
    if (state->unconsumed == 0) {
        const std::uint32_t more = std::min(
            {state->window, limits_.largest_window - state->window, limits_.growth - grown_});
        state->window += more;
        state->owed += more;
        grown_ += more;
    }
    if (std::exchange(state->credit_listed, true)) return;
    credits_.push_back(channel);
}

std::size_t Relay::bytes_promised() const {
    std::size_t sum = 0;
    for (const auto& [channel, state] : states_) sum += state.window + state.queue.size();
    return sum;
}

// ---- channels

Channel Relay::add(bool own, std::uint32_t id) {
    const Channel channel = ++last_channel_;
    State& state = states_[channel];
    state.own = own;
    state.id = id;
    state.credit = its_window_;
    state.window = state.promised = limits_.window;
    by_wire_[wire_name(own, id)] = channel;
    ++(own ? own_count_ : its_count_);
    return channel;
}

void Relay::erase(Channel channel) {
    const State& state = states_.at(channel);
    grown_ -= state.window - limits_.window;
    --(state.own ? own_count_ : its_count_);
    by_wire_.erase(wire_name(state.own, state.id));
    states_.erase(channel);
}

Relay::State* Relay::find(Channel channel) {
    const auto found = states_.find(channel);
    return found == states_.end() ? nullptr : &found->second;
}

bool Relay::has_turn(const State& state) const {
    if (state.close_sent || state.end_sent) return false;
    return state.queue.empty() ? state.end_wanted : state.credit > 0;
}

void Relay::list_for_turn(Channel channel, State& state) {
    if (!has_turn(state) || std::exchange(state.turn_listed, true)) return;
    quiet_.push_back(channel);
}

void Relay::send_close(State& state, std::string_view reason) {
    state.close_sent = true;
    state.queue = {};
    state.sent = 0;
    put_frame(control_, Type::Close, state.own, state.id, reason);
}

void Relay::close_if_over(Channel channel, State& state) {
    if (state.close_sent || !state.end_sent || !state.end_got || state.unconsumed > 0) return;
    send_close(state, "");
    if (!state.close_got) return;
    events_.push_back(event::Closed{channel, ""});
    erase(channel);
}

}  // namespace turnout::link

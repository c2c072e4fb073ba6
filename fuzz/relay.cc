// What the other side of a relay may send: any bytes, in any pieces. The first byte of the input
// says how large the pieces are, and whether a hello goes before them.
#include "link/relay.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace {

using namespace turnout;
using namespace turnout::link;

// Who drives the relay: takes part in all that is opened, and opens something now and then.
class Driver {
public:
    Driver() : relay_(limits(), now_) {}

    bool feed(std::string_view bytes) {
        now_ += 10ms;
        if (!relay_.receive(bytes, now_)) return false;
        for (const Event& one : relay_.take_events())
            std::visit([this](const auto& event) { on(event); }, one);
        if (relay_.may_open() && own_ < 3) {
            ++own_;
            relay_.write(relay_.open("own"), "question");
        }
        if (!relay_.tick(now_)) return false;
        std::string out;
        relay_.output(out, 1 + bytes.size() % 7000, now_);
        const Limits most = limits();
        TURNOUT_CHECK(relay_.channels() <= most.channels + 3, "more channels than were allowed");
        TURNOUT_CHECK(relay_.bytes_promised() <=
                          relay_.channels() * (most.window + 2 * kMaxFrame) + most.growth,
                      "more bytes than were allowed");
        TURNOUT_CHECK(relay_.next_tick() > Span(0), "a tick has a time");
        return true;
    }

private:
    static Limits limits() {
        Limits limits;
        limits.channels = 4;
        limits.window = 1000;
        limits.largest_window = 8000;
        limits.growth = 10'000;
        return limits;
    }
    void on(const event::Ready&) {}
    void on(const event::Opened& event) {
        TURNOUT_CHECK(!event.target.empty() && event.target.size() <= kMaxTarget, "a wrong name");
        TURNOUT_CHECK(arrived_.emplace(event.channel, 0).second, "opened twice");
        if (event.target[0] == 'r') relay_.reset(event.channel, "refused");
        if (event.target[0] == 'e') relay_.end(event.channel);
    }
    void on(const event::Bytes& event) {
        std::size_t& arrived = arrived_[event.channel];
        arrived += event.bytes.size();
        relay_.write(event.channel,
                     std::string_view(event.bytes).substr(0, relay_.room(event.channel)));
        // Some are slow.
        if (event.channel % 3 != 0) relay_.consumed(event.channel, std::exchange(arrived, 0));
    }
    void on(const event::Ended& event) {
        relay_.consumed(event.channel, std::exchange(arrived_[event.channel], 0));
        if (event.channel % 2 == 0) relay_.reset(event.channel, "not wanted");
    }
    void on(const event::Closed& event) {
        TURNOUT_CHECK(event.reason.size() <= kMaxReason, "a reason that is too long");
    }
    void on(const event::Room& event) {
        TURNOUT_CHECK(relay_.room(event.channel) > 0, "there is no room");
    }

    Span now_ = 1s;
    Relay relay_;
    int own_ = 0;
    std::map<Channel, std::size_t> arrived_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t piece = 1 + (data[0] & 0x7f);
    std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    Driver driver;
    if (data[0] & 0x80) {
        Relay other({}, 1s);
        std::string hello;
        other.output(hello, 1000, 1s);
        TURNOUT_CHECK(driver.feed(hello), "a hello is understood");
    }
    while (!bytes.empty()) {
        const std::size_t length = std::min(piece * piece, bytes.size());
        if (!driver.feed(bytes.substr(0, length))) return 0;  // the relay would end
        bytes.remove_prefix(length);
    }
    return 0;
}

// What an agent or a server may be sent: any bytes, in any pieces. The first byte of the input says
// how large the pieces are.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "protocol/agent_protocol.h"

namespace {

using namespace turnout;
using namespace turnout::agent_protocol;

template <class Message, class Decode>
void round_trip(const Message& message, Decode decode) {
    FrameReader reader;
    reader.feed(encode(message));
    auto frame = reader.next();
    TURNOUT_CHECK(frame && *frame, "an encoded message is not one frame");
    auto again = decode(**frame);
    TURNOUT_CHECK(again && again->index() == message.index(), "an encoded message does not decode");
    TURNOUT_CHECK(encode(*again) == encode(message), "a message changed on its way");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    std::size_t piece = 1 + data[0];
    std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    FrameReader reader;
    while (!bytes.empty()) {
        std::size_t length = std::min(piece, bytes.size());
        reader.feed(bytes.substr(0, length));
        bytes.remove_prefix(length);
        for (;;) {
            auto frame = reader.next();
            if (!frame) return 0;  // the connection would end
            if (!*frame) break;
            if (auto message = decode_to_server(**frame)) round_trip(*message, decode_to_server);
            const Unreadable seen = look_at_unreadable(**frame);
            TURNOUT_CHECK(!seen.id || !seen.id->job.empty(), "an attempt without a name");
            if (auto message = decode_to_agent(**frame)) {
                round_trip(*message, decode_to_agent);
                if (const auto* lease = std::get_if<Lease>(&*message)) {
                    if (auto task = task_from_json(lease->task)) {
                        TURNOUT_CHECK(task_from_json(to_json(*task)).has_value(),
                                      "a task does not survive its own JSON");
                    }
                }
            }
        }
    }
    return 0;
}

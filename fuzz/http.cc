// HTTP/1.1 messages in any pieces: however the bytes are cut, the reader sees the same messages.
// The first byte of the input chooses requests or responses and the size of the pieces.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "io/posix/http_parser.h"

namespace {

using namespace turnout;
using namespace turnout::http;

// The messages that were read to their end, as text. What follows them, an error or too few bytes,
// may be noticed sooner in one cut than in another.
std::string read_all(Role role, std::string_view bytes, std::size_t piece) {
    MessageReader reader(role, 8 << 10);
    std::string seen;
    const auto give = [&] {
        std::size_t length = std::min(piece, bytes.size());
        if (length == 0) return false;
        reader.give(bytes.substr(0, length));
        bytes.remove_prefix(length);
        return true;
    };
    for (int messages = 0; messages < 50; ++messages) {
        reader.begin();
        for (;;) {
            auto complete = reader.parse_head();
            if (!complete) return seen;
            if (*complete) break;
            if (!give()) return seen;
        }
        const MessageHead& head = reader.head();
        const std::string before = seen;
        seen += "\nhead " + head.method + " " + head.target + " " + std::to_string(head.status) +
                (head.keep_alive ? " keep" : "") + (head.chunked ? " chunked" : "");
        TURNOUT_CHECK(!(head.chunked && head.content_length), "a body with two lengths");
        for (const auto& [name, value] : head.headers.all()) {
            TURNOUT_CHECK(name.find_first_of("\r\n") == std::string::npos &&
                              value.find_first_of("\r\n") == std::string::npos,
                          "a header with a line break");
            seen += "\n" + name + ": " + value;
        }
        seen += "\nbody ";
        std::uint64_t size = 0;
        for (;;) {
            auto part = reader.take_body();
            if (!part) return before;
            if (*part) {
                if ((*part)->empty()) break;
                size += (*part)->size();
                seen += **part;
            } else if (!give()) {
                return reader.end_of_stream() ? seen : before;
            }
        }
        bool bodyless = head.status / 100 == 1 || head.status == 204 || head.status == 304;
        if (head.content_length && !bodyless)
            TURNOUT_CHECK(size == *head.content_length, "a body of another size than it said");
        TURNOUT_CHECK(reader.done(), "the end of a body that is not done");
        if (!head.keep_alive) return seen;
    }
    return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    Role role = (data[0] & 1) != 0 ? Role::Response : Role::Request;
    std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    std::string whole = read_all(role, bytes, bytes.size());
    std::string cut = read_all(role, bytes, 1 + data[0] / 2);
    if (whole != cut)
        std::fprintf(stderr, "in one piece:%s\n\nin pieces of %d:%s\n\n", whole.c_str(),
                     1 + data[0] / 2, cut.c_str());
    TURNOUT_CHECK(whole == cut, "how the bytes were cut changed what was read");
    return 0;
}

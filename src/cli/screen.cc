#include "cli/screen.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/text.h"
#include "cli/character_widths.h"
#include "client/files.h"

namespace turnout::cli {

namespace {

constexpr std::size_t kUsual = 80;  // of a terminal that does not say
constexpr std::size_t kLeast = 40;  // below that a table is better folded by the terminal

template <std::size_t N>
bool among(const CharacterRange (&ranges)[N], std::uint32_t character) {
    const auto after = std::upper_bound(
        std::begin(ranges), std::end(ranges), character,
        [](std::uint32_t c, const CharacterRange& range) { return c < range.first; });
    return after != std::begin(ranges) && character <= std::prev(after)->last;
}

// The character at `at`, and how many bytes it has; a byte that is no UTF-8 is shown as one.
std::size_t width_at(std::string_view text, std::size_t at, std::size_t& length) {
    length = utf8_sequence(text, at);
    if (length <= 1) {
        length = 1;
        return 1;
    }
    std::uint32_t character = static_cast<unsigned char>(text[at]) & (0xFFU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i)
        character = character << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3FU);
    if (among(kZeroWidth, character)) return 0;
    return among(kWide, character) ? 2 : 1;
}

}  // namespace

Screen screen_of(int descriptor) {
    Screen screen;
    if (::isatty(descriptor) != 1) return screen;
    winsize size{};
    screen.columns = ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0
                         ? std::max<std::size_t>(size.ws_col, kLeast)
                         : kUsual;
    const std::string terminal = client::environment_variable("TERM");
    screen.colour =
        client::environment_variable("NO_COLOR").empty() && !terminal.empty() && terminal != "dumb";
    return screen;
}

namespace {

constexpr std::size_t kLongestSequence = 64;

// Of the escape sequence that begins at `at`: how long it is if it may be sent (a colour, or
// erasing the rest of a line), 0 if not; npos if it goes on behind the end.
std::size_t allowed_sequence(std::string_view text, std::size_t at) {
    if (at + 1 == text.size()) return std::string_view::npos;
    if (text[at + 1] != '[') return 0;
    for (std::size_t i = at + 2; i < text.size() && i - at < kLongestSequence; ++i) {
        if ((text[i] >= '0' && text[i] <= '9') || text[i] == ';' || text[i] == ':') continue;
        return text[i] == 'm' || text[i] == 'K' ? i + 1 - at : 0;
    }
    return text.size() - at < kLongestSequence ? std::string_view::npos : 0;
}

}  // namespace

std::string TerminalText::show(std::string_view bytes) {
    std::string text = std::exchange(held_, {});
    text += bytes;
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const auto byte = static_cast<unsigned char>(text[at]);
        if (byte == '\n' || byte == '\r' || byte == '\t' || byte == '\b' ||
            (byte >= 0x20 && byte < 0x7F)) {
            out += text[at++];
        } else if (byte == 0x1B) {
            const std::size_t length = allowed_sequence(text, at);
            if (length == std::string_view::npos) {
                held_ = text.substr(at);
                break;
            }
            if (length == 0) {
                out += "^[";
                ++at;
                continue;
            }
            if (text[at + length - 1] == 'm') coloured_ = true;
            out.append(text, at, length);
            at += length;
        } else if (byte < 0x20 || byte == 0x7F) {
            out += '^';
            out += static_cast<char>(byte ^ 0x40);
            ++at;
        } else if (const std::size_t length = utf8_sequence(text, at); length > 1) {
            // The control characters above ASCII.
            if (byte == 0xC2 && static_cast<unsigned char>(text[at + 1]) < 0xA0)
                out += "^?";
            else
                out.append(text, at, length);
            at += length;
        } else if (text.size() - at < 4 &&
                   unfinished_utf8(std::string_view(text).substr(at)) == text.size() - at) {
            held_ = text.substr(at);
            break;
        } else {
            out += '?';
            ++at;
        }
    }
    return out;
}

std::string TerminalText::end() {
    std::string out;
    for (const char c : std::exchange(held_, {}))
        out += c == 0x1B                               ? std::string("^[")
               : static_cast<unsigned char>(c) >= 0x80 ? std::string("?")
                                                       : std::string(1, c);
    if (std::exchange(coloured_, false)) out += "\x1b[0m";
    return out;
}

std::size_t width_of(std::string_view text) {
    std::size_t width = 0, length = 0;
    for (std::size_t at = 0; at < text.size(); at += length) width += width_at(text, at, length);
    return width;
}

std::string shortened(std::string_view text, std::size_t columns) {
    if (width_of(text) <= columns) return std::string(text);
    if (columns == 0) return "";
    std::size_t width = 0, length = 0, at = 0;
    for (; at < text.size(); at += length) {
        const std::size_t next = width_at(text, at, length);
        if (width + next > columns - 1) break;
        width += next;
    }
    return std::string(text.substr(0, at)) + "…";
}

std::string padded(std::string text, std::size_t columns) {
    const std::size_t has = width_of(text);
    if (has < columns) text.append(columns - has, ' ');
    return text;
}

std::string left_padded(const std::string& text, std::size_t columns) {
    const std::size_t has = width_of(text);
    return has < columns ? std::string(columns - has, ' ') + text : text;
}

std::string in_colour(std::string_view state, std::string text) {
    const char* colour = nullptr;
    for (const auto& [name, code] :
         {std::pair("Completed", "32"), std::pair("Succeeded", "32"), std::pair("Failed", "31"),
          std::pair("NotResponding", "31"), std::pair("unusable", "31"), std::pair("Running", "36"),
          std::pair("running", "36"), std::pair("Finalizing", "36"), std::pair("Preparing", "33"),
          std::pair("preparing", "33"), std::pair("Starting", "33"),
          std::pair("Provisioning", "33"), std::pair("Queued", "33"),
          std::pair("CancelRequested", "35"), std::pair("Canceled", "35")})
        if (state == name) colour = code;
    return colour == nullptr ? std::move(text)
                             : "\x1b[" + std::string(colour) + "m" + text + "\x1b[0m";
}

}  // namespace turnout::cli

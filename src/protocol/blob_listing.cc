#include "protocol/blob_listing.h"

#include <charconv>
#include <utility>

#include "base/text.h"

namespace turnout::protocol {
namespace {

void append_character(std::string& text, std::uint32_t c) {
    const auto put = [&](std::uint32_t bits) { text += static_cast<char>(bits); };
    if (c < 0x80) return put(c);
    if (c < 0x800) return put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
    if (c < 0x10000)
        return put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)),
        put(0x80 | (c & 0x3F));
}

// "&amp;…", "&#38;…", "&#x26;…" at the beginning: what it stands for, and how long it is; else 0.
std::size_t take_entity(std::string_view text, std::string& out) {
    constexpr std::pair<std::string_view, char> kNamed[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    for (const auto& [name, plain] : kNamed)
        if (text.starts_with(name)) {
            out += plain;
            return name.size();
        }
    if (!text.starts_with("&#")) return 0;
    const std::size_t end = text.substr(0, 12).find(';');
    if (end == std::string_view::npos) return 0;
    const bool hex = text[2] == 'x';
    const std::string_view digits = text.substr(hex ? 3 : 2, end - (hex ? 3 : 2));
    std::uint32_t code = 0;
    const auto parsed =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, hex ? 16 : 10);
    if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return 0;
    if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return 0;
    append_character(out, code);
    return end + 1;
}

}  // namespace

std::string xml_text(std::string_view xml, std::string_view element) {
    const std::string open = "<" + std::string(element) + ">",
                      close = "</" + std::string(element) + ">";
    std::size_t at = xml.find(open);
    if (at == std::string_view::npos) return "";
    at += open.size();
    const std::size_t end = xml.find(close, at);
    if (end == std::string_view::npos) return "";
    std::string text;
    for (std::string_view rest = xml.substr(at, end - at); !rest.empty();) {
        std::size_t length = rest.front() == '&' ? take_entity(rest, text) : 0;
        if (length == 0) {
            text += rest.front();
            length = 1;
        }
        rest.remove_prefix(length);
    }
    return text;
}

Result<BlobListing> parse_blob_listing(std::string_view xml) {
    if (xml.find("<EnumerationResults") == std::string_view::npos ||
        xml.find("</EnumerationResults>") == std::string_view::npos)
        return invalid("the answer is no listing of blobs");
    BlobListing listing;
    std::string_view rest = xml;
    while (true) {
        const std::size_t begin = rest.find("<Blob>");
        if (begin == std::string_view::npos) break;
        const std::size_t end = rest.find("</Blob>", begin);
        if (end == std::string_view::npos) return invalid("the listing of blobs is not whole");
        const std::string_view block = rest.substr(begin, end - begin);
        ListedBlob blob{xml_text(block, "Name"), xml_text(block, "Etag"), 0};
        const std::string size = xml_text(block, "Content-Length");
        const auto parsed = std::from_chars(size.data(), size.data() + size.size(), blob.size);
        if (blob.name.empty() || !is_utf8(blob.name) || parsed.ec != std::errc())
            return invalid("the listing has a blob without a name or a size");
        listing.blobs.push_back(std::move(blob));
        rest.remove_prefix(end);
    }
    listing.next_marker = xml_text(rest, "NextMarker");
    return listing;
}

}  // namespace turnout::protocol

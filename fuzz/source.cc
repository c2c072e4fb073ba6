// Addresses of inputs, where redirections lead, what may be connected to, and listings of blobs.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/text.h"
#include "fetch/addresses.h"
#include "fetch/source.h"
#include "protocol/blob_listing.h"

using namespace turnout;

namespace {

// What is sent cannot end a line of a request, and is read again as the same.
void check(const fetch::Source& source) {
    const std::string url = source.url();
    for (const char c : url)
        TURNOUT_CHECK(static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7F,
                      "a URL with a character that is not sent");
    TURNOUT_CHECK(source.path.starts_with('/') && source.port != 0 && !source.host.empty(),
                  "a source without a place");
    const auto again = fetch::parse_source(url);
    TURNOUT_CHECK(again && again->url() == url, "a URL is read in two ways");
    const std::string name = source.file_name();
    TURNOUT_CHECK(
        !name.empty() && name.find('/') == std::string::npos && name != "." && name != "..",
        "a name of a file that is none");
    if (!source.query.empty()) TURNOUT_CHECK(source.shown().ends_with("?…"), "a query is shown");
    (void)fetch::is_folder(source, "uri_folder");
    if (source.in_storage()) (void)fetch::listing_of(source, "m");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto source = fetch::parse_source(text)) {
        check(*source);
    }
    (void)fetch::shown_url(text);
    for (const char* from : {"https://a.example/x/y?sig=1", "http://a.example"}) {
        const auto to = fetch::redirected(*fetch::parse_source(from), text);
        if (!to) continue;
        check(*to);
        TURNOUT_CHECK(to->tls || from[4] == ':', "from https down to http");
    }
    if (const auto allowed = fetch::Allowed::parse(text)) {
        (void)allowed->opens("a.example", 443, std::string_view("\x7f\0\0\1", 4));
    }
    (void)fetch::not_public(text);
    if (const auto listing = protocol::parse_blob_listing(text))
        for (const auto& blob : listing->blobs)
            TURNOUT_CHECK(!blob.name.empty() && is_utf8(blob.name), "a blob without a name");
    return 0;
}

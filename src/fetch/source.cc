#include "fetch/source.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace turnout::fetch {
namespace {

constexpr std::size_t kMaxUrl = 8192;
constexpr std::string_view kStorageHost = ".blob.core.windows.net";

bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// As it may stand in a request: what is not allowed there is encoded, what is encoded stays.
Result<std::string> sendable(std::string_view text, std::string_view shown) {
    constexpr std::string_view kPlain = "-._~!$&'()*+,;=:@/?";
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7F)
            return invalid("'" + std::string(shown) + "' has a control character");
        const bool escape =
            c == '%' && i + 2 < text.size() && is_hex(text[i + 1]) && is_hex(text[i + 2]);
        const bool letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (escape || letter || kPlain.find(c) != std::string_view::npos) {
            out += c;
        } else {
            out += '%';
            out += kDigits[byte >> 4];
            out += kDigits[byte & 15];
        }
    }
    return out;
}

struct Scheme {
    std::string_view begin;
    bool tls, storage;
};
constexpr Scheme kSchemes[] = {{"https://", true, false},
                               {"http://", false, false},
                               {"wasbs://", true, true},
                               {"wasb://", false, true}};

bool starts_with_ignoring_case(std::string_view text, std::string_view begin) {
    return text.size() >= begin.size() && equal_ignoring_case(text.substr(0, begin.size()), begin);
}

Result<void> read_authority(std::string_view authority, const std::string& shown, Source& source) {
    std::string_view port;
    if (authority.starts_with('[')) {
        const std::size_t end = authority.find(']');
        if (end == std::string_view::npos)
            return invalid("'" + shown + "' lacks the ']' of its address");
        source.host = to_lower(authority.substr(1, end - 1));
        port = authority.substr(end + 1);
        if (!port.empty() && !port.starts_with(':'))
            return invalid("'" + shown + "' has no host that can be read");
        if (source.host.find_first_not_of("0123456789abcdef:.") != std::string::npos)
            return invalid("'" + shown + "' has no IPv6 address between its brackets");
    } else {
        const std::size_t colon = authority.find(':');
        source.host = to_lower(authority.substr(0, colon));
        port = colon == std::string_view::npos ? std::string_view() : authority.substr(colon);
        if (source.host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") !=
            std::string::npos)
            return invalid("'" + shown +
                           "' has a host with other characters than letters, digits, '.' and '-'");
    }
    if (source.host.empty() || source.host.size() > 253)
        return invalid("'" + shown + "' names no host");
    source.port = source.tls ? 443 : 80;
    if (port.size() <= 1) return {};
    port.remove_prefix(1);
    const auto parsed = std::from_chars(port.data(), port.data() + port.size(), source.port);
    if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || source.port == 0)
        return invalid("'" + shown + "' has a port that is no number from 1 to 65535");
    return {};
}

// The container and the name in it, of a path "/container/name".
Result<void> read_storage_path(Source& source, const std::string& shown) {
    const std::size_t slash = source.path.find('/', 1);
    const auto container =
        percent_decode(source.path.substr(1, slash == std::string::npos ? slash : slash - 1));
    const auto name = percent_decode(slash == std::string::npos
                                         ? std::string_view()
                                         : std::string_view(source.path).substr(slash + 1));
    if (!container || !name || container->empty())
        return invalid("'" + shown + "' has a path that cannot be decoded");
    source.container = *container;
    source.name = *name;
    return {};
}

bool default_port(const Source& source) {
    return source.port == (source.tls ? 443 : 80);
}

}  // namespace

std::string shown_url(std::string_view text) {
    std::string out(text.substr(0, text.find_first_of("?#")));
    if (const std::size_t scheme = out.find("://"); scheme != std::string::npos) {
        const std::size_t begin = scheme + 3, end = std::min(out.find('/', begin), out.size());
        const std::size_t at = out.substr(0, end).rfind('@');
        // What is before the '@' of blob storage is a container.
        if (at != std::string::npos && at > scheme &&
            (starts_with_ignoring_case(out, "http") ||
             out.substr(begin, at - begin).find(':') != std::string::npos))
            out.erase(begin, at + 1 - begin);
    }
    if (out.size() > 300) out = out.substr(0, 300) + "…";
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
    if (text.find('?') != std::string_view::npos) out += "?…";
    return out;
}

std::string Source::origin() const {
    std::string out = tls ? "https://" : "http://";
    out += host.find(':') == std::string::npos ? host : "[" + host + "]";
    if (!default_port(*this)) out += ":" + std::to_string(port);
    return out;
}

std::string Source::address() const {
    return origin() + path;
}
std::string Source::url() const {
    return query.empty() ? address() : address() + "?" + query;
}
std::string Source::shown() const {
    return shown_url(url());
}

std::string Source::file_name() const {
    std::string_view last = path;
    while (last.ends_with('/')) last.remove_suffix(1);
    last = last.substr(last.rfind('/') + 1);
    const auto decoded = percent_decode(last);
    if (!decoded || decoded->size() > 200 || decoded->find('/') != std::string::npos ||
        !checked_relative_path(*decoded, "name"))
        return "data";
    return *decoded;
}

Result<Source> parse_source(std::string_view text) {
    const std::string shown = shown_url(text);
    if (text.size() > kMaxUrl) return invalid("'" + shown + "' is longer than 8,192 characters");
    const auto* scheme = std::ranges::find_if(
        kSchemes, [&](const Scheme& one) { return starts_with_ignoring_case(text, one.begin); });
    if (scheme == std::end(kSchemes)) {
        const std::size_t colon = text.find(':');
        return invalid(
            "'" + shown +
            "' cannot be fetched: inputs are fetched from https://, http://, wasbs:// and wasb://" +
            (colon < 20 ? ", not from " + std::string(text.substr(0, colon)) + ":"
                        : std::string()));
    }
    Source source;
    source.tls = scheme->tls;
    std::string_view rest = text.substr(scheme->begin.size());
    rest = rest.substr(0, rest.find('#'));
    const std::size_t end = rest.find_first_of("/?");
    std::string_view authority = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end);
    const std::size_t mark = rest.find('?');
    std::string path = TURNOUT_TRY(sendable(rest.substr(0, mark), shown));
    if (mark != std::string_view::npos)
        source.query = TURNOUT_TRY(sendable(rest.substr(mark + 1), shown));
    const std::size_t at = authority.rfind('@');
    if (scheme->storage) {
        if (at == std::string_view::npos || at == 0)
            return invalid(
                "'" + shown +
                "' names no container: write wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH");
        source.container = authority.substr(0, at);
        if (source.container.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-$") !=
            std::string::npos)
            return invalid("'" + shown +
                           "' has a container that is not lower-case letters, digits and '-'");
        authority.remove_prefix(at + 1);
        path = "/" + source.container + (path.starts_with('/') ? "" : "/") + path;
    } else if (at != std::string_view::npos) {
        return invalid("'" + shown +
                       "' has a user's name or password before its host: no credentials are sent, "
                       "leave them out");
    }
    source.path = path.starts_with('/') ? std::move(path) : "/" + path;
    TURNOUT_TRY(read_authority(authority, shown, source));
    if (scheme->storage || (source.host.ends_with(kStorageHost) && source.path.size() > 1))
        TURNOUT_TRY(read_storage_path(source, shown));
    return source;
}

Result<Source> redirected(const Source& from, std::string_view location) {
    std::string target(trim(location));
    if (target.empty()) return invalid("'" + from.shown() + "' redirects to nowhere");
    if (target.starts_with("//")) {
        target = (from.tls ? "https:" : "http:") + target;
    } else if (target.starts_with('/')) {
        target = from.origin() + target;
    } else if (target.find("://") == std::string::npos ||
               target.find("://") > target.find_first_of("/?")) {
        target = from.origin() + from.path.substr(0, from.path.rfind('/') + 1) + target;
    }
    if (!starts_with_ignoring_case(target, "https://") &&
        !starts_with_ignoring_case(target, "http://"))
        return invalid("'" + from.shown() + "' redirects to '" + shown_url(target) +
                       "', which is neither https nor http");
    Source source = TURNOUT_TRY(parse_source(target));
    if (from.tls && !source.tls)
        return invalid("'" + from.shown() + "' redirects to '" + source.shown() +
                       "': from https down to http is not followed");
    return source;
}

Result<Source> listing_of(const Source& folder, std::string_view marker) {
    Source listing = folder;
    std::string prefix = folder.name;
    while (prefix.ends_with('/')) prefix.pop_back();
    listing.path = "/" + percent_encode(folder.container, "$");
    std::string query = "restype=container&comp=list";
    if (!prefix.empty()) query += "&prefix=" + percent_encode(prefix + "/");
    if (!marker.empty()) query += "&marker=" + percent_encode(marker);
    listing.query = folder.query.empty() ? query : query + "&" + folder.query;
    return listing;
}

Source blob_beside(const Source& source, std::string_view name) {
    Source blob = source;
    blob.name = name;
    blob.path = "/" + percent_encode(source.container, "$") + "/" + percent_encode(name, "/");
    return blob;
}

Result<bool> is_folder(const Source& source, std::string_view type) {
    const bool slash = source.path.ends_with('/') || (source.in_storage() && source.name.empty());
    const bool wanted = type == "uri_folder" || type == "mltable" || type == "mlflow_model" ||
                        (type != "uri_file" && slash);
    if (!wanted && slash)
        return invalid("'" + source.shown() +
                       "' is a folder: give the input the type uri_folder, or name one file in it");
    if (wanted && !source.in_storage())
        return invalid("'" + source.shown() +
                       "' cannot be fetched as a folder, since what lies beneath an address of " +
                       (source.tls ? "https" : "http") +
                       " cannot be listed: name one file with the type uri_file, or a folder of "
                       "blob storage as wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH");
    return wanted;
}

}  // namespace turnout::fetch

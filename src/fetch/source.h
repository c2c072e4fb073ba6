// Where an input from outside is: what "https://…", "http://…", "wasbs://…" and "wasb://…" name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnout::fetch {

struct Source {
    bool tls = true;
    std::string host;  // lower case, without brackets
    std::uint16_t port = 443;
    std::string path;   // as it is sent: encoded, beginning with '/'
    std::string query;  // after the '?', as it is sent; may be the signature of a link: a secret
    // Of Azure's blob storage, and of what is called wasbs: the container, and the name in it,
    // decoded.
    std::string container;
    std::string name;

    bool in_storage() const { return !container.empty(); }
    // Scheme and all but the query.
    std::string address() const;
    std::string url() const;
    // For people: of a query nothing but that there is one.
    std::string shown() const;
    // "https://host:port", the port only where it is not the scheme's.
    std::string origin() const;
    // A file name for what is there, safe on any disk.
    std::string file_name() const;

    bool operator==(const Source&) const = default;
};

// InvalidArgument says what is wrong, without the query.
Result<Source> parse_source(std::string_view text);
// Where a redirection of `from` leads: to another host or path; never from https down to http.
Result<Source> redirected(const Source& from, std::string_view location);
// All blobs beneath `name`, from `marker` on.
Result<Source> listing_of(const Source& folder, std::string_view marker);
// The blob of that name in the same container.
Source blob_beside(const Source& source, std::string_view name);

// A URL for people, whatever it is: its query is left out, and so is a user's name.
std::string shown_url(std::string_view text);

// Whether an input of that type (uri_file, uri_folder, …) is a folder there. What cannot be had of
// it is refused.
Result<bool> is_folder(const Source& source, std::string_view type);

}  // namespace turnout::fetch

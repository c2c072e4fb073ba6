// Where a copy of what is elsewhere is to be had: what a person who runs a server without the
// internet says, so that a job that names a public address runs there unchanged.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"
#include "fetch/source.h"

namespace turnout::fetch {

// "ADDRESS=COPY": all that lies beneath ADDRESS is asked for beneath COPY instead, with the same
// query, be it a file or the listing of a folder. Both begin with https:// or http:// and may have
// a path.
class Mirror {
public:
    static Result<Mirror> parse(std::string_view text);
    // Where `source` is to be had, if it lies beneath the address.
    std::optional<Source> of(const Source& source) const;
    // The copy's "HOST:PORT": who names a copy opens that (`Allowed`), whatever address it has.
    std::string place() const;

private:
    Source from_, to_;  // their paths without a '/' at the end
};

}  // namespace turnout::fetch

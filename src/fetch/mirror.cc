#include "fetch/mirror.h"

namespace turnout::fetch {
namespace {

Result<Source> end_of_mirror(std::string_view text) {
    Source source = TURNOUT_TRY(parse_source(text));
    if (!text.starts_with("https://") && !text.starts_with("http://"))
        return invalid("'" + source.shown() + "' begins neither with https:// nor with http://");
    if (!source.query.empty())
        return invalid("'" + source.shown() + "' has a query: that of what is fetched is sent");
    while (source.path.ends_with('/')) source.path.pop_back();
    return source;
}

}  // namespace

Result<Mirror> Mirror::parse(std::string_view text) {
    const std::size_t sign = text.find('=');
    if (sign == std::string_view::npos)
        return invalid("'" + shown_url(text) +
                       "' is not ADDRESS=COPY, such as "
                       "https://files.example.org/sets=http://mirror.lab.example/sets");
    Mirror mirror;
    mirror.from_ = TURNOUT_TRY(end_of_mirror(text.substr(0, sign)));
    mirror.to_ = TURNOUT_TRY(end_of_mirror(text.substr(sign + 1)));
    return mirror;
}

std::optional<Source> Mirror::of(const Source& source) const {
    if (source.tls != from_.tls || source.host != from_.host || source.port != from_.port ||
        !source.path.starts_with(from_.path))
        return std::nullopt;
    const std::string_view rest = std::string_view(source.path).substr(from_.path.size());
    if (!rest.empty() && !rest.starts_with('/')) return std::nullopt;
    Source copy = source;
    copy.tls = to_.tls;
    copy.host = to_.host;
    copy.port = to_.port;
    copy.path = to_.path + std::string(rest);
    if (copy.path.empty()) copy.path = "/";
    return copy;
}

std::string Mirror::place() const {
    return (to_.host.find(':') == std::string::npos ? to_.host : "[" + to_.host + "]") + ":" +
           std::to_string(to_.port);
}

}  // namespace turnout::fetch

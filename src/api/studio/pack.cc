#include "api/studio/pack.h"

#include "base/text.h"

namespace turnout::api::studio {
namespace {

constexpr std::string_view kFirstLine = "turnout-portal 1";
constexpr std::string_view kIndex = "index.html";

Failure no_pack(std::size_t line, const std::string& why) {
    return invalid("the portal's image, line " + std::to_string(line) + ": " + why, "portal");
}

}  // namespace

Result<Pack> Pack::parse(std::string_view image) {
    Pack pack;
    if (image.empty()) return pack;
    pack.bytes_ = image.size();
    const std::size_t head = image.find("\n\n");
    if (head == std::string_view::npos) return no_pack(1, "expected an empty line after its head");
    const std::vector<std::string> lines = split(image.substr(0, head), '\n');
    if (lines.front() != kFirstLine)
        return no_pack(1, "expected '" + std::string(kFirstLine) + "'");
    std::string_view rest = image.substr(head + 2);
    std::size_t at = 0;
    for (std::size_t number = 1; number < lines.size(); ++number) {
        // In the image itself, because views of it are kept.
        at = image.find('\n', at) + 1;
        const std::string_view line = image.substr(at, lines[number].size());
        std::string_view parts[5];
        std::size_t from = 0;
        for (std::size_t i = 0; i < 5; ++i) {
            const std::size_t tab = line.find('\t', from);
            if ((tab == std::string_view::npos) != (i == 4))
                return no_pack(number + 1, "expected five parts between tabs");
            parts[i] = line.substr(from, tab == std::string_view::npos ? tab : tab - from);
            from = tab + 1;
        }
        const auto size = parse_whole_number(parts[4]);
        if (!size || *size < 0 || static_cast<std::size_t>(*size) > rest.size())
            return no_pack(number + 1, "expected the size of '" + std::string(parts[0]) +
                                           "', of which the image holds no more than " +
                                           std::to_string(rest.size()) + " bytes");
        if (parts[3] != "gzip" && parts[3] != "plain")
            return no_pack(number + 1, "expected 'gzip' or 'plain'");
        const auto length = static_cast<std::size_t>(*size);
        pack.files_[std::string(parts[0])] = {parts[1], parts[2], parts[3] == "gzip",
                                              rest.substr(0, length)};
        rest.remove_prefix(length);
    }
    const PackedFile* const index = pack.find(kIndex);
    if (!index || index->gzip) return no_pack(1, "expected index.html among its files, plain");
    if (!rest.empty())
        return no_pack(lines.size(), std::to_string(rest.size()) + " bytes belong to no file");
    return pack;
}

const PackedFile* Pack::find(std::string_view path) const {
    const auto found = files_.find(path);
    return found == files_.end() ? nullptr : &found->second;
}

const PackedFile& Pack::index() const {
    return files_.find(kIndex)->second;
}

}  // namespace turnout::api::studio

#include "api/studio/line_index.h"

#include <algorithm>

namespace turnout::api::studio {

void LineIndex::add(std::string_view bytes) {
    while (!bytes.empty()) {
        if (length_ % kBlock == 0) ended_before_.push_back(ended_);
        const std::string_view piece =
            bytes.substr(0, static_cast<std::size_t>(kBlock - length_ % kBlock));
        ended_ += static_cast<std::uint64_t>(std::ranges::count(piece, '\n'));
        length_ += piece.size();
        open_ = piece.back() != '\n';
        bytes.remove_prefix(piece.size());
    }
}

LineIndex::Place LineIndex::before_line(std::uint64_t line) const {
    if (line == 0) return {};
    // The block in which that line begins may begin in the midst of the one before: the last block
    // before which fewer lines have ended holds its beginning.
    const auto behind = std::ranges::lower_bound(ended_before_, line);
    const auto block =
        static_cast<std::uint64_t>(std::max<std::ptrdiff_t>(behind - ended_before_.begin() - 1, 0));
    return {block * kBlock, ended_before_.empty() ? 0 : ended_before_[block]};
}

LineIndex::Place LineIndex::before_byte(std::uint64_t byte) const {
    if (ended_before_.empty()) return {};
    const std::uint64_t block = std::min<std::uint64_t>(byte / kBlock, ended_before_.size() - 1);
    return {block * kBlock, ended_before_[block]};
}

}  // namespace turnout::api::studio

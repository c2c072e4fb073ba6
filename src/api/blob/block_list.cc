#include "api/blob/block_list.h"

#include "base/text.h"

namespace turnout::api {
namespace {

constexpr std::size_t kMaxBlocks = 50'000;

// Reads the text piece by piece; every function leaves it where it was if it does not fit.
class Reader {
public:
    explicit Reader(std::string_view text) : rest_(text) {}

    void space() {
        constexpr std::string_view blanks = " \t\r\n";
        while (!rest_.empty() && blanks.find(rest_.front()) != std::string_view::npos)
            rest_.remove_prefix(1);
    }
    bool take(std::string_view literal) {
        if (!rest_.starts_with(literal)) return false;
        rest_.remove_prefix(literal.size());
        return true;
    }
    // <?xml … ?>
    bool declaration() {
        if (!rest_.starts_with("<?xml")) return true;
        const std::size_t end = rest_.find("?>");
        if (end == std::string_view::npos || end > 200) return false;
        rest_.remove_prefix(end + 2);
        return true;
    }
    // The text of <name>…</name>; false if that does not come next.
    bool element(std::string_view name, std::string_view& text) {
        const std::string open = "<" + std::string(name) + ">";
        const std::string close = "</" + std::string(name) + ">";
        if (!rest_.starts_with(open)) return false;
        const std::string_view after = rest_.substr(open.size());
        const std::size_t end = after.find('<');
        if (end == std::string_view::npos || !after.substr(end).starts_with(close)) return false;
        text = after.substr(0, end);
        rest_ = after.substr(end + close.size());
        return true;
    }
    bool at(std::string_view literal) const { return rest_.starts_with(literal); }
    bool ended() const { return rest_.empty(); }

private:
    std::string_view rest_;
};

Failure malformed(std::string why) {
    return fail(Code::InvalidArgument, "InvalidXmlDocument",
                "the block list is not well-formed: " + why, "blocklist");
}

}  // namespace

Result<std::vector<std::string>> parse_block_list(std::string_view xml) {
    Reader reader(xml);
    reader.take("\xef\xbb\xbf");
    reader.space();
    if (!reader.declaration()) return malformed("its declaration does not end");
    reader.space();
    std::vector<std::string> ids;
    if (!reader.take("<BlockList>")) {
        if (!reader.take("<BlockList/>") && !reader.take("<BlockList />"))
            return malformed("<BlockList> is expected");
    } else {
        for (reader.space(); !reader.take("</BlockList>"); reader.space()) {
            std::string_view text;
            if (reader.at("<Committed>"))
                return fail(Code::InvalidArgument, "InvalidBlockList",
                            "<Committed> blocks are not kept here; upload the block again and "
                            "name it as <Latest>",
                            "blocklist");
            if (!reader.element("Latest", text) && !reader.element("Uncommitted", text))
                return malformed("<Latest>, <Uncommitted> or </BlockList> is expected");
            auto id = from_base64(trim(text));
            if (!id || id->empty() || id->size() > 64)
                return fail(Code::InvalidArgument, "InvalidBlockId",
                            "a block id is the base64 of 1 to 64 bytes", "blocklist");
            if (ids.size() == kMaxBlocks)
                return fail(Code::InvalidArgument, "BlockListTooLong",
                            "a blob has at most 50,000 blocks", "blocklist");
            ids.push_back(std::move(*id));
        }
    }
    reader.space();
    if (!reader.ended()) return malformed("something follows </BlockList>");
    return ids;
}

}  // namespace turnout::api

#include "model/audit_chain.h"

#include <charconv>

#include "base/hash.h"
#include "base/json_text.h"
#include "base/text.h"

namespace turnout {
namespace {

constexpr std::string_view kNumber = "{\"n\":", kPrev = ",\"prev\":\"", kHash = ",\"hash\":\"";
constexpr std::size_t kHex = 64, kTail = kHash.size() + kHex + 2;  // and `"}`

std::string head_of_row(std::uint64_t number) {
    return std::string(kNumber) + std::to_string(number) + std::string(kPrev);
}

// Is the hash at its end that of what is before?
bool is_intact(std::string_view row) {
    if (row.size() < kTail || !row.ends_with("\"}")) return false;
    const std::string_view body = row.substr(0, row.size() - kTail), tail = row.substr(body.size());
    return tail.starts_with(kHash) && tail.substr(kHash.size(), kHex) == to_hex(sha256(body));
}

std::string rows(std::uint64_t first, std::uint64_t last) {
    return first == last
               ? "record " + std::to_string(first) + " is"
               : "records " + std::to_string(first) + " to " + std::to_string(last) + " are";
}

}  // namespace

std::string audit_row(const Act& act, AuditMark& end) {
    std::string row;
    {
        JsonText json(row);
        const auto maybe = [&](std::string_view name, std::string_view value) {
            if (!value.empty()) json.text(name, value);
        };
        json.number("n", static_cast<std::int64_t>(++end.number));
        json.text("prev", end.hash).text("at", to_iso8601(act.at)).text("user", act.user);
        maybe("via", act.via);
        maybe("token", act.token);
        maybe("job", act.job);
        maybe("from", act.from);
        json.text("action", act.action);
        maybe("method", act.method);
        maybe("path", act.path);
        maybe("about", act.about);
        if (act.status != 0) json.number("status", act.status);
        if (act.times != 1) json.number("times", act.times);
    }
    row.pop_back();
    end.hash = to_hex(sha256(row));
    row.append(kHash).append(end.hash).append("\"}");
    return row;
}

std::uint64_t number_of_audit_row(std::string_view row) {
    std::uint64_t number = 0;
    if (!row.starts_with(kNumber)) return 0;
    row.remove_prefix(kNumber.size());
    const auto read = std::from_chars(row.data(), row.data() + row.size(), number);
    return read.ec == std::errc() ? number : 0;
}

AuditCheck AuditCheck::of_export(std::string_view first_row) {
    AuditMark before;
    const std::uint64_t number = number_of_audit_row(first_row);
    const std::string head = head_of_row(number);
    if (number > 1 && first_row.starts_with(head) && first_row.size() >= head.size() + kHex)
        before = {number - 1, std::string(first_row.substr(head.size(), kHex))};
    return AuditCheck(std::move(before));
}

std::string AuditCheck::next(std::uint64_t number, std::string_view row) {
    if (number <= end_.number)
        return "record " + std::to_string(number) + " comes after record " +
               std::to_string(end_.number);
    if (number > end_.number + 1) return rows(end_.number + 1, number - 1) + " missing";
    const std::string name = "record " + std::to_string(number);
    if (!is_intact(row)) return name + " was changed";
    const std::string head = head_of_row(number);
    if (!row.starts_with(head))
        return "in the place of " + name + " is another one, which says that it is number " +
               std::to_string(number_of_audit_row(row));
    if (row.substr(head.size(), kHex) != end_.hash)
        return name + " does not follow on record " + std::to_string(end_.number) +
               ": one of the two was replaced";
    end_ = {number, std::string(row.substr(row.size() - kHex - 2, kHex))};
    return "";
}

}  // namespace turnout

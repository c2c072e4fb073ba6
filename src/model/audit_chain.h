// The record of who did what, as a chain: each row holds the hash of the one before, so that one
// which was changed, removed or put elsewhere is found. Pure: the server writes and checks rows
// with this, and the command line an exported file.
//
// A row is a JSON object in one line, of which place and form of the first two members and of the
// last one are part of the format:
//     {"n":17,"prev":"<64 hex>","at":"2026-…Z",…,"hash":"<64 hex>"}
// `hash` is the SHA-256 of everything before `,"hash"`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"

namespace turnout {

// What somebody did.
struct Act {
    Instant at{};
    std::string user;   // "" = nobody that is known
    std::string via;    // "signed link", or what of the server did it; "" = a token
    std::string token;  // id of that token, as `turnout token list` shows it
    std::string job;    // by whose token it was done
    std::string from;   // address without port, "unix", "node"
    std::string action;
    std::string method, path;  // without a query
    std::string about;         // what it was about, where the path does not say it
    int status = 0;            // of the answer
    std::int64_t times = 1;    // so many like it
};

// A place in the chain: the row of that number, and its hash. 0: before the first.
struct AuditMark {
    std::uint64_t number = 0;
    std::string hash = std::string(64, '0');
    bool operator==(const AuditMark&) const = default;
};

// The row that follows on `end`, which then is its end.
std::string audit_row(const Act& act, AuditMark& end);

// Goes along a chain from a mark on.
class AuditCheck {
public:
    explicit AuditCheck(AuditMark before) : end_(std::move(before)) {}
    // Of a file that was exported: begins with whatever its first row says.
    static AuditCheck of_export(std::string_view first_row);
    // The next row, as it is kept under that number: what is wrong with the chain there, in words;
    // "" = nothing.
    std::string next(std::uint64_t number, std::string_view row);
    const AuditMark& end() const { return end_; }

private:
    AuditMark end_;
};
// The number that a row says of itself; 0 if it says none.
std::uint64_t number_of_audit_row(std::string_view row);

}  // namespace turnout

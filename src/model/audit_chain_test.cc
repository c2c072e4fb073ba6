#include "model/audit_chain.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/json.h"

namespace turnout {
namespace {

Act act_number(int i) {
    Act act;
    act.at = Instant{1'700'000'000'000'000 + i * 1'000'000};
    act.user = i % 3 == 0 ? "ann" : "bob";
    act.from = "10.0.0." + std::to_string(i);
    act.action = "Microsoft.MachineLearningServices/workspaces/jobs/write";
    act.method = "PUT";
    act.path = "/subscriptions/s/\"quoted\"\n/jobs/j" + std::to_string(i);
    act.status = 201;
    act.times = i % 5 == 0 ? 7 : 1;
    return act;
}

struct Kept {
    std::uint64_t number;
    std::string text;
};

struct Chain {
    AuditMark before, end;
    std::vector<Kept> rows;
};

Chain chain_of(int count, AuditMark before = {}) {
    Chain chain{before, before, {}};
    for (int i = 0; i < count; ++i) {
        std::string row = audit_row(act_number(i), chain.end);
        chain.rows.push_back({chain.end.number, std::move(row)});
    }
    return chain;
}

// What is wrong with it; "" if it is whole and ends where it should.
std::string fault_of(const Chain& chain) {
    AuditCheck check(chain.before);
    for (const Kept& row : chain.rows)
        if (std::string fault = check.next(row.number, row.text); !fault.empty()) return fault;
    return check.end() == chain.end ? "" : "it ends early";
}

TEST(AuditChain, IsWholeAsItWasWrittenAndBehindACut) {
    EXPECT_EQ(fault_of(chain_of(0)), "");
    EXPECT_EQ(fault_of(chain_of(20)), "");
    Chain cut = chain_of(20);
    AuditCheck check(cut.before);
    for (int i = 0; i < 7; ++i) {
        ASSERT_EQ(check.next(cut.rows[0].number, cut.rows[0].text), "");
        cut.rows.erase(cut.rows.begin());
    }
    cut.before = check.end();
    EXPECT_EQ(fault_of(cut), "");
}

TEST(AuditChain, ARowIsAnObjectInOneLineThatTellsItAll) {
    AuditMark end{41, std::string(64, 'a')};
    const std::string row = audit_row(act_number(0), end);
    EXPECT_EQ(end.number, 42u);
    EXPECT_EQ(row.find('\n'), std::string::npos);
    const auto json = parse_json(row);
    ASSERT_TRUE(json) << row;
    EXPECT_EQ(json->dump(), row) << "read and written again it stays what it is: exports do that";
    EXPECT_EQ(json->at("n").as_int(), 42);
    EXPECT_EQ(json->at("user").as_view(), "ann");
    EXPECT_EQ(json->at("times").as_int(), 7);
    EXPECT_EQ(json->at("path").as_view(), act_number(0).path);
    EXPECT_EQ(json->at("hash").as_view(), end.hash);
    EXPECT_EQ(number_of_audit_row(row), 42u);
}

// Each byte of each row, changed to another one.
TEST(AuditChain, AnyChangedByteIsFoundAndItsRecordNamed) {
    const Chain whole = chain_of(4);
    std::mt19937 random(7);
    for (std::size_t r = 0; r < whole.rows.size(); ++r)
        for (std::size_t at = 0; at < whole.rows[r].text.size(); ++at) {
            Chain changed = whole;
            char& byte = changed.rows[r].text[at];
            byte = static_cast<char>(byte ^ static_cast<char>(1 + random() % 255));
            EXPECT_EQ(fault_of(changed), "record " + std::to_string(r + 1) + " was changed") << at;
        }
}

TEST(AuditChain, AnyMissingMovedOrForeignRecordIsFoundAndNamed) {
    const Chain whole = chain_of(6), other = chain_of(6, {0, std::string(64, 'f')});
    for (std::size_t r = 0; r < whole.rows.size(); ++r) {
        const std::string n = std::to_string(r + 1);
        Chain shorter = whole;
        shorter.rows.erase(shorter.rows.begin() + static_cast<std::ptrdiff_t>(r));
        EXPECT_EQ(fault_of(shorter),
                  r + 1 == whole.rows.size() ? "it ends early" : "record " + n + " is missing");
        Chain foreign = whole;  // whole in itself, of another chain
        foreign.rows[r].text = other.rows[r].text;
        EXPECT_NE(fault_of(foreign), "") << n;
        if (r == 0) continue;
        Chain swapped = whole;
        std::swap(swapped.rows[r].text, swapped.rows[r - 1].text);
        EXPECT_EQ(fault_of(swapped), "in the place of record " + std::to_string(r) +
                                         " is another one, which says that it is number " + n);
    }
    // One who writes a row anew, with a hash that fits it, breaks the next one.
    Chain anew = whole;
    AuditMark forged{2, whole.rows[1].text.substr(whole.rows[1].text.size() - 66, 64)};
    Act act = act_number(2);
    act.user = "eve";
    anew.rows[2].text = audit_row(act, forged);
    EXPECT_EQ(fault_of(anew), "record 4 does not follow on record 3: one of the two was replaced");
    Chain gone = whole;
    gone.rows.erase(gone.rows.begin() + 1, gone.rows.begin() + 4);
    EXPECT_EQ(fault_of(gone), "records 2 to 4 are missing");
}

TEST(AuditChain, AnExportChecksFromItsFirstLineOn) {
    const Chain whole = chain_of(9);
    AuditCheck check = AuditCheck::of_export(whole.rows[4].text);
    for (std::size_t r = 4; r < 9; ++r)
        EXPECT_EQ(check.next(whole.rows[r].number, whole.rows[r].text), "");
    AuditCheck gap = AuditCheck::of_export(whole.rows[0].text);
    EXPECT_EQ(gap.next(1, whole.rows[0].text), "");
    EXPECT_EQ(gap.next(3, whole.rows[2].text), "record 2 is missing");
    for (const std::string text : {"", "{", "{\"n\":", "{\"n\":x", "{\"n\":7,\"prev\":\"", "[]"})
        EXPECT_NE(AuditCheck::of_export(text).next(1, text), "") << text;
}

}  // namespace
}  // namespace turnout

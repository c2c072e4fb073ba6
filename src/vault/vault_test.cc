#include "vault/vault.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/json.h"
#include "base/text.h"
#include "store/memory/memory_store.h"
#include "store/test_world.h"
#include "vault/machine_secrets.h"

namespace turnout {
namespace {

Failure died() {
    return fail(Code::Unavailable, "Died", "it is over");
}

// What is durable, and a process that ends after so many durable steps.
struct Disk : Store {
    ManualLoop loop;
    MemoryStore store{loop};
    std::optional<std::string> file;
    int steps = 1'000'000;

    bool step() { return steps > 0 && steps-- > 0; }
    Result<std::optional<Record>> get(Table table, std::string_view key) override {
        return store.get(table, key);
    }
    Result<std::vector<Record>> scan(Table table, const Range& range) override {
        return store.scan(table, range);
    }
    void commit(Batch batch, Done done) override {
        if (step()) return store.commit(std::move(batch), std::move(done));
        loop.post([done = std::move(done)] { done(died()); });
    }
    using Store::commit;
    KeyFile key_file() {
        return {"/data/secrets.key", [this] { return Result<std::optional<std::string>>(file); },
                [this](const std::string& text) -> Result<void> {
                    if (!step()) return died();
                    file = text;
                    return {};
                }};
    }
};

class VaultTest : public ::testing::Test {
protected:
    Disk disk;
    CountingRandom random;
    Vault vault{disk, disk.loop, random, disk.key_file()};

    template <class T>
    T wait(Task<T> task) {
        auto outcome = begin(std::move(task));
        disk.loop.settle();
        EXPECT_TRUE(outcome.done());
        return std::move(*outcome);
    }
    bool set(const std::string& wsid, const std::string& name, const std::string& value) {
        const auto done = wait(vault.set(wsid, name, Secret(value), "ann"));
        EXPECT_TRUE(done) << done.error().message;
        return done && *done;
    }
    std::string value(const std::string& wsid, const std::string& name) {
        const auto opened = vault.reveal(wsid, name);
        return opened ? opened->reveal() : opened.error().reason;
    }
    std::string row(const std::string& key) { return (*disk.get(Table::Secret, key))->value; }
    void put_row(const std::string& key, std::string text, Table table = Table::Secret) {
        Batch batch;
        batch.put(table, key, std::move(text));
        disk.store.commit(std::move(batch), [](auto) {});
        disk.loop.settle();
    }
    // What opens a machine: as a build before the vault kept it, or as it is kept.
    void put_plain_machine(const std::string& key) {
        put_row(key, R"({"key":"the key of )" + key + R"(","password":""})", Table::MachineSecret);
    }
    void put_machine(const std::string& key) {
        const auto row =
            write_machine_secret(vault, key, {Secret("the key of " + key), Secret("")});
        ASSERT_TRUE(row) << row.error().message;
        put_row(row->key, row->value.value(), Table::MachineSecret);
    }
    std::string machine(const std::string& key) {
        const auto read = read_machine_secret(vault, disk, key);
        if (!read) return read.error().reason;
        return *read ? (*read)->key.reveal() : "none";
    }
    std::string machine_row(const std::string& key) {
        return (*disk.get(Table::MachineSecret, key))->value;
    }
    std::vector<Record> rows() { return *disk.scan(Table::Secret, {}); }
    std::size_t keys() { return parse_sealing_keys(*disk.file)->keys.size(); }
};

TEST_F(VaultTest, KeepsWhatOnlyAJobGets) {
    EXPECT_FALSE(disk.file) << "a server without secrets has no key";
    EXPECT_TRUE(set("ws1", "token", "a value of its own"));
    EXPECT_TRUE(set("ws2", "token", "another value"));
    disk.loop.pass(1s);
    EXPECT_FALSE(set("ws1", "token", "a newer value"));
    EXPECT_EQ(value("ws1", "token"), "a newer value");
    EXPECT_EQ(value("ws2", "token"), "another value");
    const auto all = vault.list("ws1");
    ASSERT_TRUE(all);
    ASSERT_EQ(all->size(), 1u);
    EXPECT_EQ((*all)[0].name, "token");
    EXPECT_EQ((*all)[0].created_by, "ann");
    EXPECT_EQ((*all)[0].changed.micros - (*all)[0].created.micros, 1'000'000);
    for (const Record& record : rows())
        EXPECT_EQ(record.value.find("value"), std::string::npos) << record.value;
    EXPECT_TRUE(wait(vault.remove("ws1", "token")));
    EXPECT_EQ(value("ws1", "token"), "ResourceNotFound");
    EXPECT_EQ(wait(vault.remove("ws1", "token")).error().code, Code::NotFound);
    EXPECT_EQ(value("ws2", "token"), "another value");
}

TEST_F(VaultTest, RefusesWhatCannotBeOneWithoutSayingIt) {
    for (const std::string name : {"", "a/b", "..", "-a", "a b"})
        EXPECT_EQ(wait(vault.set("ws", name, Secret("planted"), "ann")).error().code,
                  Code::InvalidArgument);
    for (const std::string& text : {std::string(), std::string(25'001, 'p')}) {
        const auto refused = wait(vault.set("ws", "a", Secret(text), "ann"));
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().message.find("ppp"), std::string::npos);
    }
    set("ws", "hf-token", "a value");
    EXPECT_NE(vault.reveal("ws", "hf-tokn").error().message.find("hf-token"), std::string::npos);
}

TEST_F(VaultTest, ARowThatWasMovedDoesNotOpen) {
    set("ws1", "a", "the value of a");
    set("ws1", "b", "the value of b");
    put_row("ws1/b", row("ws1/a"));
    put_row("ws2/a", row("ws1/a"));
    EXPECT_EQ(value("ws1", "a"), "the value of a");
    EXPECT_EQ(value("ws1", "b"), "SealBroken");
    EXPECT_EQ(value("ws2", "a"), "SealBroken");
}

TEST_F(VaultTest, AMissingOrOtherKeyIsToldByTheNameOfItsFile) {
    set("ws", "a", "the value of a");
    const auto says_file = [&](const Error& error) {
        EXPECT_EQ(error.subject, "/data/secrets.key") << error.message;
        EXPECT_NE(error.message.find("/data/secrets.key"), std::string::npos) << error.message;
    };
    const std::string kept = *disk.file;
    disk.file.reset();
    says_file(vault.reveal("ws", "a").error());
    says_file(wait(vault.set("ws", "b", Secret("another"), "ann")).error());
    says_file(wait(vault.rotate()).error());
    says_file(wait(vault.resume()).error());
    EXPECT_FALSE(disk.file) << "no key is made beside rows of another one";
    disk.file = "what it was, damaged";
    says_file(vault.reveal("ws", "a").error());
    says_file(wait(vault.rotate()).error());
    disk.file = serialize({{make_sealing_key(random)}});
    says_file(vault.reveal("ws", "a").error());
    says_file(wait(vault.resume()).error());
    disk.file = kept;
    EXPECT_EQ(value("ws", "a"), "the value of a");
}

TEST_F(VaultTest, ARotationThatIsKilledAnywhereLosesNothing) {
    std::map<std::string, std::string> values;
    for (int i = 0; i < 250; ++i) {  // several batches
        const std::string name = "secret-" + std::to_string(i);
        values[name] = "the value of " + name;
        set("ws", name, values[name]);
    }
    const std::string first = parse_sealing_keys(*disk.file)->keys[0].id;
    int killed = 0;
    for (int steps = 0;; ++steps) {
        const std::string before = *disk.file;
        disk.steps = steps;
        const bool done = wait(vault.rotate()).has_value();
        killed += !done;
        disk.steps = 1'000'000;
        Vault next(disk, disk.loop, random, disk.key_file());
        const auto all_open = [&] {
            for (const auto& [name, text] : values) {
                const auto opened = next.reveal("ws", name);
                ASSERT_TRUE(opened) << opened.error().message;
                ASSERT_EQ(opened->reveal(), text);
            }
        };
        all_open();
        ASSERT_TRUE(wait(next.resume()));
        all_open();
        const auto file = parse_sealing_keys(*disk.file);
        ASSERT_LE(file->keys.size(), 2u) << "after " << steps << " steps";
        for (const Record& record : rows())
            ASSERT_EQ(sealed_by(*from_base64(parse_json(record.value)->at("sealed").as_view())),
                      file->keys[0].id);
        if (done) break;
    }
    EXPECT_EQ(killed, 5) << "the file, three batches, and the file again";
    EXPECT_EQ(parse_sealing_keys(*disk.file)->find(first), nullptr);
    EXPECT_EQ(*wait(vault.rotate()), 250u);
}

TEST_F(VaultTest, WhatOpensMachinesIsSealedAsSecretsAre) {
    EXPECT_EQ(machine("ws/vm"), "none");
    put_machine("ws/vm");
    EXPECT_EQ(machine("ws/vm"), "the key of ws/vm");
    EXPECT_EQ(machine_row("ws/vm").find("the key"), std::string::npos);
    put_row("ws/other", machine_row("ws/vm"), Table::MachineSecret);
    EXPECT_EQ(machine("ws/other"), "SealBroken") << "another's row";
    set("ws", "vm", "a secret of that name");
    put_row("ws/third", row("ws/vm"), Table::MachineSecret);
    EXPECT_EQ(machine("ws/third"), "SealBroken") << "a row of another table";
    disk.file.reset();
    EXPECT_EQ(machine("ws/vm"), "SealingKeyMissing");
    const auto refused = wait(vault.set("ws", "b", Secret("b's value"), "ann"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, "SealingKeyMissing");
}

TEST_F(VaultTest, WhatEarlierBuildsKeptInPlainTextIsSealedHoweverOftenThatIsKilled) {
    std::set<std::string> keys;
    for (int i = 0; i < 150; ++i) keys.insert("ws/vm-" + std::to_string(i));
    for (const std::string& key : keys) put_plain_machine(key);
    int killed = 0;
    for (int steps = 0;; ++steps) {
        disk.steps = steps;
        Vault next(disk, disk.loop, random, disk.key_file());
        const bool done = wait(next.resume()).has_value();
        disk.steps = 1'000'000;
        for (const std::string& key : keys) ASSERT_EQ(machine(key), "the key of " + key);
        if (done) break;
        ++killed;
    }
    EXPECT_EQ(killed, 2) << "the file, two batches, of which one stays done";
    for (const std::string& key : keys)
        EXPECT_EQ(machine_row(key).find("the key"), std::string::npos);
    const std::string before = machine_row("ws/vm-7");
    EXPECT_EQ(*wait(vault.rotate()), 150u);
    EXPECT_NE(machine_row("ws/vm-7"), before);
    EXPECT_EQ(machine("ws/vm-7"), "the key of ws/vm-7");
}

// Machines come and go while their rows are sealed anew.
TEST_F(VaultTest, ARowThatChangesUnderARotationIsSealedAsItIsThen) {
    put_machine("ws/a");
    put_machine("ws/b");
    const std::string old_row = machine_row("ws/a");
    auto outcome = begin(vault.rotate());
    Batch batch;
    batch.erase(Table::MachineSecret, "ws/b");
    disk.store.commit(std::move(batch), [](auto) {});
    disk.loop.settle();
    ASSERT_TRUE(outcome.done());
    EXPECT_TRUE(*outcome) << outcome->error().message;
    EXPECT_NE(machine_row("ws/a"), old_row);
    EXPECT_EQ(machine("ws/a"), "the key of ws/a");
    EXPECT_EQ(machine("ws/b"), "none");
}

TEST_F(VaultTest, ABackupOfTheDatabaseOpensWithTheKeyFileOfAfterwards) {
    set("ws", "a", "the value of a");
    const std::string copied = row("ws/a");
    ASSERT_TRUE(wait(vault.rotate()));
    ASSERT_NE(row("ws/a"), copied);
    put_row("ws/a", copied);
    EXPECT_EQ(value("ws", "a"), "the value of a");
    EXPECT_EQ(keys(), 2u);
}

}  // namespace
}  // namespace turnout

// Who walks over a message. What members a type has is said once, by a function `describe(visit,
// value)` (descriptions.h); writing it, reading it and going through its texts follow from that.
// Private to protocol/.
//
// A description calls, for each member in the order of the wire:
//
//     visit.text("name", value.name, {.limit = 255});   and number, yes_no, span, choice, …
//     visit.check(value.rank >= 0, "rank", "a number that is not negative");
//
// What is said of a member holds for both ways: a reader refuses what is over its limit or missing,
// a writer leaves out what is empty where that is the usual.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/json_text.h"
#include "protocol/agent_protocol.h"

namespace turnout::agent_protocol {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// A value of that type, to be read (const) or filled.
template <class S, class T>
concept Of = std::same_as<std::remove_const_t<S>, T>;

// What errors call a value of that type.
template <class T>
inline constexpr std::string_view kCalled = "message";

struct Member {
    std::size_t limit = kMaxJson;  // of a text, in bytes; of a list of objects, in items
    bool required = false;         // a text that is there and not empty; an object that is there
    bool sparse = false;           // not written while it is empty, 0 or false
};

// ---- writing

// Appends an object as text: a Json first would take several times as long.
class TextOut {
public:
    explicit TextOut(std::string& out) : out_(out) {}
    void text(std::string_view name, std::string_view value) {
        begin(name);
        append_json_string(out_, value);
    }
    void number(std::string_view name, std::int64_t value) {
        begin(name);
        append_number(out_, value);
    }
    void yes_no(std::string_view name, bool value) {
        begin(name);
        out_ += value ? "true" : "false";
    }
    void json(std::string_view name, const Json& value) {
        begin(name);
        value.dump_to(out_);
    }
    void texts(std::string_view name, const std::vector<std::string>& texts) {
        items(name, texts, [this](const std::string& text) { append_json_string(out_, text); });
    }
    void pairs(std::string_view name, const Pairs& pairs) {
        items(name, pairs, [this](const auto& pair) {
            out_ += '[';
            append_json_string(out_, pair.first);
            out_ += ',';
            append_json_string(out_, pair.second);
            out_ += ']';
        });
    }
    template <class Write>
    void object(std::string_view name, const Write& write) {
        begin(name);
        whole(write);
    }
    template <class T, class Write>
    void objects(std::string_view name, const std::vector<T>& values, const Write& write) {
        items(name, values,
              [&](const T& value) { whole([&](TextOut& inner) { write(inner, value); }); });
    }
    template <class Write>
    void whole(const Write& write) {
        out_ += '{';
        write(*this);
        out_ += '}';
    }

private:
    // Names are ours: nothing in them needs escaping.
    void begin(std::string_view name) {
        if (out_.back() != '{') out_ += ',';
        out_ += '"';
        out_ += name;
        out_ += "\":";
    }
    template <class T, class Each>
    void items(std::string_view name, const std::vector<T>& all, const Each& each) {
        begin(name);
        out_ += '[';
        for (const T& one : all) {
            if (&one != all.data()) out_ += ',';
            each(one);
        }
        out_ += ']';
    }
    std::string& out_;
};

// Makes a Json object of it.
class TreeOut {
public:
    void text(std::string_view name, std::string_view value) { put(name, value); }
    void number(std::string_view name, std::int64_t value) { put(name, value); }
    void yes_no(std::string_view name, bool value) { put(name, value); }
    void json(std::string_view name, const Json& value) { put(name, value); }
    void texts(std::string_view name, const std::vector<std::string>& texts) {
        put(name, Json(Json::Array(texts.begin(), texts.end())));
    }
    void pairs(std::string_view name, const Pairs& pairs) {
        Json::Array list;
        list.reserve(pairs.size());
        for (const auto& [first, second] : pairs) list.push_back(Json::array({first, second}));
        put(name, std::move(list));
    }
    template <class Write>
    void object(std::string_view name, const Write& write) {
        TreeOut inner;
        write(inner);
        put(name, std::move(inner).take());
    }
    template <class T, class Write>
    void objects(std::string_view name, const std::vector<T>& values, const Write& write) {
        Json::Array list;
        list.reserve(values.size());
        for (const T& value : values) {
            TreeOut inner;
            write(inner, value);
            list.push_back(std::move(inner).take());
        }
        put(name, std::move(list));
    }
    Json take() && { return Json(std::move(members_)); }

private:
    void put(std::string_view name, Json value) {
        members_.emplace_back(std::string(name), std::move(value));
    }
    Json::Object members_;
};

template <class Out>
class Writer {
public:
    static constexpr bool kReads = false;
    explicit Writer(Out& out) : out_(out) {}

    void text(std::string_view name, const std::string& value, Member is = {}) {
        if (!is.sparse || !value.empty()) out_.text(name, value);
    }
    void optional_text(std::string_view name, const std::optional<std::string>& value) {
        if (value) out_.text(name, *value);
    }
    // The one place where it travels: server to node, on the authenticated link.
    void secret(std::string_view name, const Secret& value) {
        if (!value.empty()) out_.text(name, value.reveal());
    }
    template <class Int>
    void number(std::string_view name, Int value, Member is = {}) {
        if (!is.sparse || value != 0) out_.number(name, static_cast<std::int64_t>(value));
    }
    void yes_no(std::string_view name, bool value, Member is = {}) {
        if (!is.sparse || value) out_.yes_no(name, value);
    }
    void span(std::string_view name, Span value) { out_.number(name, value.count()); }
    template <class Choice>
    void choice(std::string_view name, Choice value, Member = {}) {
        out_.text(name, name_of(value));
    }
    void texts(std::string_view name, const std::vector<std::string>& value, Member is = {}) {
        if (!is.sparse || !value.empty()) out_.texts(name, value);
    }
    void pairs(std::string_view name, const Pairs& value) { out_.pairs(name, value); }
    void json(std::string_view name, const Json& value) { out_.json(name, value); }
    template <class T>
    void object(std::string_view name, const T& value, Member = {}) {
        out_.object(name, [&](Out& inner) { write(inner, value); });
    }
    template <class T>
    void optional_object(std::string_view name, const std::optional<T>& value) {
        if (value) object(name, *value);
    }
    template <class T>
    void objects(std::string_view name, const std::vector<T>& values, Member is = {}) {
        if (is.sparse && values.empty()) return;
        out_.objects(name, values, [](Out& inner, const T& value) { write(inner, value); });
    }
    void tail(const std::string&) {}
    void check(bool, std::string_view, std::string_view) {}

    template <class T>
    static void write(Out& out, const T& value) {
        Writer writer(out);
        describe(writer, value);
    }

private:
    Out& out_;
};

// ---- reading

// The first wrong member is remembered. An absent member keeps the value that it has; a list that
// is there replaces the one before. Null counts as absent.
class Reader {
public:
    static constexpr bool kReads = true;
    // `given`: the same document, if what it holds may be taken out of it.
    Reader(const Json& json, std::string_view called, std::string_view tail = {},
           Json* given = nullptr);

    void text(std::string_view name, std::string& into, Member is = {});
    void optional_text(std::string_view name, std::optional<std::string>& into);
    void secret(std::string_view name, Secret& into);
    template <class Int>
    void number(std::string_view name, Int& into, Member = {}) {
        const Json* value = find(name);
        if (!value) return;
        if (!value->is_int()) return wrong(name, "a whole number");
        const std::int64_t number = value->as_int();
        if (!std::in_range<Int>(number)) return wrong(name, "a number in range");
        into = static_cast<Int>(number);
    }
    void yes_no(std::string_view name, bool& into, Member = {});
    void span(std::string_view name, Span& into);
    template <class Choice>
    void choice(std::string_view name, Choice& into, Member is = {}) {
        std::string text;
        if (!is.required) text = name_of(into);
        this->text(name, text);
        Result<Choice> parsed = parse_choice(text, into);
        if (parsed)
            into = *parsed;
        else
            keep(std::move(parsed).error());
    }
    void texts(std::string_view name, std::vector<std::string>& into, Member is = {});
    // [["name", "value"], …]: order and duplicates kept.
    void pairs(std::string_view name, Pairs& into);
    void json(std::string_view name, Json& into);  // an object
    template <class T>
    void object(std::string_view name, T& into, Member is = {}) {
        const Json* value = is.required ? &json_.at(name) : find(name);
        if (!value) return;
        T fresh;
        if (read(*value, fresh)) into = std::move(fresh);
    }
    template <class T>
    void optional_object(std::string_view name, std::optional<T>& into) {
        if (T fresh; find(name) && read(*find(name), fresh)) into = std::move(fresh);
    }
    template <class T>
    void objects(std::string_view name, std::vector<T>& into, Member is = {}) {
        const Json* list = list_at(name, is.limit);
        if (!list) return;
        into.clear();
        into.reserve(list->items().size());
        for (const Json& item : list->items()) read(item, into.emplace_back());
    }
    void tail(std::string& into) { into = tail_; }
    void check(bool is_right, std::string_view name, std::string_view expected) {
        if (!is_right) wrong(name, expected);
    }

    template <class T>
    Result<T> finish(T value) {
        if (error_) return Failure(std::move(*error_));
        return value;
    }

private:
    template <class T>
    bool read(const Json& json, T& into) {
        Reader reader(json, kCalled<T>);
        describe(reader, into);
        if (reader.error_) keep(std::move(*reader.error_));
        return !reader.error_;
    }
    const Json* find(std::string_view name) const;
    const Json* list_at(std::string_view name, std::size_t limit);
    void wrong(std::string_view name, std::string_view expected);
    void keep(Error error) {
        if (!error_) error_ = std::move(error);
    }

    const Json& json_;
    std::string_view called_, tail_;
    Json* given_;
    std::optional<Error> error_;
};

// ---- every text of a value. A secret is none: it belongs to one attempt.
template <class Each>
class Texts {
public:
    static constexpr bool kReads = false;
    explicit Texts(const Each& each) : each_(each) {}

    void text(std::string_view, std::string& value, Member = {}) { each_(value); }
    void optional_text(std::string_view, std::optional<std::string>& value) {
        if (value) each_(*value);
    }
    void texts(std::string_view, std::vector<std::string>& all, Member = {}) {
        for (std::string& one : all) each_(one);
    }
    void pairs(std::string_view, Pairs& all) {
        for (auto& [name, value] : all) {
            each_(name);
            each_(value);
        }
    }
    template <class T>
    void object(std::string_view, T& value, Member = {}) {
        describe(*this, value);
    }
    template <class T>
    void optional_object(std::string_view, std::optional<T>& value) {
        if (value) describe(*this, *value);
    }
    template <class T>
    void objects(std::string_view, std::vector<T>& all, Member = {}) {
        for (T& one : all) describe(*this, one);
    }
    void secret(std::string_view, Secret&) {}
    template <class Int>
    void number(std::string_view, Int&, Member = {}) {}
    void yes_no(std::string_view, bool&, Member = {}) {}
    void span(std::string_view, Span&) {}
    template <class Choice>
    void choice(std::string_view, Choice&, Member = {}) {}
    void check(bool, std::string_view, std::string_view) {}

private:
    const Each& each_;
};

}  // namespace turnout::agent_protocol

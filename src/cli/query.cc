#include "cli/query.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "yaml/yaml.h"

namespace turnout::cli {

namespace {

struct Node;
using NodePtr = std::unique_ptr<Node>;

struct Node {
    enum Kind {
        Identity,
        Field,
        Index,
        Slice,
        Flatten,
        ListProjection,
        ValueProjection,
        Filter,
        MultiHash,
        MultiList,
        Pipe,
        Literal,
        Compare,
        And,
        Or,
        Not,
        Call,
        Expression
    } kind;
    std::string text{};  // field, operator, function
    Json value{};        // literal
    std::optional<std::int64_t> numbers[3]{};
    NodePtr left{}, right{}, condition{};
    std::vector<std::pair<std::string, NodePtr>> parts{};
};

struct Refusal {
    std::string message;
};

NodePtr make(Node::Kind kind, NodePtr left = nullptr, NodePtr right = nullptr) {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->left = std::move(left);
    node->right = std::move(right);
    return node;
}

bool truthy(const Json& value) {
    if (value.is_null()) return false;
    if (value.is_bool()) return value.as_bool();
    if (value.is_string()) return !value.as_view().empty();
    if (value.is_array()) return !value.items().empty();
    if (value.is_object()) return !value.members().empty();
    return true;
}

// A recursive-descent parser; precedence: | || && ! comparison, then postfix.
class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    NodePtr whole() {
        NodePtr node = pipe();
        skip();
        if (at_ != text_.size())
            refuse("'" + std::string(text_.substr(at_, 10)) + "' is not expected here");
        return node;
    }

private:
    [[noreturn]] void refuse(const std::string& message) const {
        throw Refusal{"--query: at column " + std::to_string(at_ + 1) + ": " + message};
    }
    void skip() {
        while (at_ < text_.size() &&
               (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n'))
            ++at_;
    }
    bool peek(std::string_view token) {
        skip();
        return text_.substr(at_).starts_with(token);
    }
    bool take(std::string_view token) {
        if (!peek(token)) return false;
        at_ += token.size();
        return true;
    }
    void need(std::string_view token) {
        if (!take(token)) refuse("expected '" + std::string(token) + "'");
    }
    struct Deeper {
        explicit Deeper(Parser& owner) : parser(owner) {
            if (++parser.depth_ > 50) parser.refuse("nested too deeply");
        }
        ~Deeper() { --parser.depth_; }
        Parser& parser;
    };

    NodePtr pipe() {
        const Deeper deeper(*this);
        NodePtr node = either();
        while (peek("|") && !peek("||")) {
            take("|");
            node = make(Node::Pipe, std::move(node), either());
        }
        return node;
    }
    NodePtr either() {
        NodePtr node = both();
        while (take("||")) node = make(Node::Or, std::move(node), both());
        return node;
    }
    NodePtr both() {
        NodePtr node = comparison();
        while (take("&&")) node = make(Node::And, std::move(node), comparison());
        return node;
    }
    NodePtr comparison() {
        NodePtr node = unary();
        for (const char* op : {"==", "!=", "<=", ">=", "<", ">"}) {
            if (!take(op)) continue;
            node = make(Node::Compare, std::move(node), unary());
            node->text = op;
            break;
        }
        return node;
    }
    NodePtr unary() {
        const Deeper deeper(*this);
        if (peek("!") && !peek("!=")) {
            take("!");
            return make(Node::Not, unary());
        }
        return postfix(primary());
    }

    // What follows a projection applies to each item: it is parsed as the projection's right side.
    NodePtr projected(Node::Kind kind, NodePtr left, NodePtr condition = nullptr) {
        NodePtr node = make(kind, std::move(left));
        node->condition = std::move(condition);
        NodePtr rest = make(Node::Identity);
        // A further `[]` flattens the whole result, it is not part of the projection.
        node->right = postfix(std::move(rest), true);
        return node;
    }

    NodePtr postfix(NodePtr node, bool in_projection = false) {
        while (true) {
            skip();
            if (at_ >= text_.size()) return node;
            if (text_[at_] == '.') {
                ++at_;
                skip();
                if (take("*")) {
                    node = projected(Node::ValueProjection, std::move(node));
                    continue;
                }
                if (peek("{")) {
                    NodePtr hash = multi_hash();
                    node = make(Node::Pipe, std::move(node), std::move(hash));
                } else if (peek("[")) {
                    ++at_;
                    NodePtr list = multi_list();
                    node = make(Node::Pipe, std::move(node), std::move(list));
                } else {
                    node = make(Node::Pipe, std::move(node), field_or_call());
                }
            } else if (text_[at_] == '[') {
                std::size_t ahead = at_ + 1;
                while (ahead < text_.size() && text_[ahead] == ' ') ++ahead;
                if (ahead < text_.size() && text_[ahead] == ']') {
                    if (in_projection) return node;
                    at_ = ahead + 1;
                    node = projected(Node::Flatten, std::move(node));
                    continue;
                }
                ++at_;
                node = bracket(std::move(node));
            } else {
                return node;
            }
        }
    }

    NodePtr bracket(NodePtr left) {
        skip();
        if (take("*")) {
            need("]");
            return projected(Node::ListProjection, std::move(left));
        }
        if (take("?")) {
            NodePtr condition = pipe();
            need("]");
            return projected(Node::Filter, std::move(left), std::move(condition));
        }
        std::optional<std::int64_t> numbers[3];
        int colons = 0;
        while (true) {
            skip();
            if (at_ < text_.size() &&
                (text_[at_] == '-' || (text_[at_] >= '0' && text_[at_] <= '9'))) {
                numbers[colons] = integer();
            } else if (at_ < text_.size() && text_[at_] == ':' && colons < 2) {
                ++at_;
                ++colons;
            } else {
                break;
            }
        }
        if (colons == 0 && !numbers[0]) {
            // `[a, b]` after nothing is a list; anything else is a mistake.
            if (left->kind == Node::Identity) return multi_list();
            refuse("expected a number, '*', '?' or ':'");
        }
        need("]");
        if (colons == 0) {
            NodePtr node = make(Node::Index, std::move(left));
            node->numbers[0] = numbers[0];
            return node;
        }
        NodePtr node = projected(Node::Slice, std::move(left));
        for (int i = 0; i < 3; ++i) node->numbers[i] = numbers[i];
        return node;
    }

    std::int64_t integer() {
        const std::size_t begin = at_;
        if (text_[at_] == '-') ++at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        const Json number = yaml_scalar(text_.substr(begin, at_ - begin));
        if (!number.is_int()) refuse("expected a whole number");
        return number.as_int();
    }

    NodePtr primary() {
        skip();
        if (at_ >= text_.size()) refuse("the expression ends too early");
        const char c = text_[at_];
        if (c == '@') {
            ++at_;
            return make(Node::Identity);
        }
        if (c == '*') {
            ++at_;
            return projected(Node::ValueProjection, make(Node::Identity));
        }
        if (c == '(') {
            ++at_;
            NodePtr node = pipe();
            need(")");
            return node;
        }
        if (c == '&') {
            ++at_;
            return make(Node::Expression, either());
        }
        if (c == '{') return multi_hash();
        if (c == '[') {
            std::size_t ahead = at_ + 1;
            while (ahead < text_.size() && text_[ahead] == ' ') ++ahead;
            if (ahead < text_.size() && text_[ahead] == ']') {
                at_ = ahead + 1;
                return projected(Node::Flatten, make(Node::Identity));
            }
            ++at_;
            return bracket(make(Node::Identity));
        }
        if (c == '\'') {
            std::string text;
            for (++at_; at_ < text_.size() && text_[at_] != '\''; ++at_) {
                if (text_[at_] == '\\' && at_ + 1 < text_.size() && text_[at_ + 1] == '\'') ++at_;
                text += text_[at_];
            }
            need("'");
            NodePtr node = make(Node::Literal);
            node->value = Json(text);
            return node;
        }
        if (c == '`') {
            const std::size_t end = text_.find('`', at_ + 1);
            if (end == std::string_view::npos) refuse("a '`' is not closed");
            const std::string_view inner = text_.substr(at_ + 1, end - at_ - 1);
            at_ = end + 1;
            NodePtr node = make(Node::Literal);
            const Result<Json> json = parse_json(inner);
            node->value = json ? *json : Json(inner);
            return node;
        }
        return field_or_call();
    }

    std::string name() {
        skip();
        if (at_ < text_.size() && text_[at_] == '"') {
            const std::size_t begin = at_;
            for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_)
                if (text_[at_] == '\\') ++at_;
            if (at_ >= text_.size()) refuse("a '\"' is not closed");
            ++at_;
            const Result<Json> json = parse_json(text_.substr(begin, at_ - begin));
            if (!json) refuse("not a quoted name");
            return json->as_string();
        }
        const std::size_t begin = at_;
        const auto part = [](char c, bool first) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                   (!first && c >= '0' && c <= '9');
        };
        while (at_ < text_.size() && part(text_[at_], at_ == begin)) ++at_;
        if (at_ == begin)
            refuse("expected a name" +
                   (at_ < text_.size() ? ", found '" + std::string(1, text_[at_]) + "'"
                                       : std::string()) +
                   ": quote names with other characters as \"a-b\"");
        return std::string(text_.substr(begin, at_ - begin));
    }

    NodePtr field_or_call() {
        const bool quoted = peek("\"");
        std::string word = name();
        if (quoted || at_ >= text_.size() || text_[at_] != '(') {
            NodePtr node = make(Node::Field);
            node->text = std::move(word);
            return node;
        }
        ++at_;
        NodePtr node = make(Node::Call);
        node->text = std::move(word);
        while (!take(")")) {
            if (!node->parts.empty()) need(",");
            node->parts.emplace_back("", pipe());
        }
        return node;
    }

    NodePtr multi_hash() {
        need("{");
        NodePtr node = make(Node::MultiHash);
        do {
            std::string key = name();
            need(":");
            node->parts.emplace_back(std::move(key), pipe());
        } while (take(","));
        need("}");
        return node;
    }
    NodePtr multi_list() {
        NodePtr node = make(Node::MultiList);
        do {
            node->parts.emplace_back("", pipe());
        } while (take(","));
        need("]");
        return node;
    }

    std::string_view text_;
    std::size_t at_ = 0;
    int depth_ = 0;
};

Json evaluate(const Node& node, const Json& here);

Json each(const Node& node, const Json::Array& items) {
    Json out = Json::array();
    for (const Json& item : items) {
        Json value = evaluate(*node.right, item);
        if (!value.is_null()) out.push(std::move(value));
    }
    return out;
}

bool less(const Json& a, const Json& b) {
    if (a.is_number() && b.is_number()) return a.as_double() < b.as_double();
    return a.as_view() < b.as_view();
}

Json call(const Node& node, const Json& here) {
    const std::string& name = node.text;
    const auto count = [&](std::size_t wanted) {
        if (node.parts.size() != wanted)
            throw Refusal{"--query: " + name + "() takes " + std::to_string(wanted) + " argument" +
                          (wanted == 1 ? "" : "s")};
    };
    const auto argument = [&](std::size_t i) { return evaluate(*node.parts[i].second, here); };
    const auto wrong = [&](std::string_view expected) {
        return Refusal{"--query: " + name + "() takes " + std::string(expected)};
    };
    if (name == "not_null") {
        for (std::size_t i = 0; i < node.parts.size(); ++i)
            if (Json value = argument(i); !value.is_null()) return value;
        return {};
    }
    if (name == "length") {
        count(1);
        const Json value = argument(0);
        if (value.is_array()) return static_cast<std::int64_t>(value.items().size());
        if (value.is_object()) return static_cast<std::int64_t>(value.members().size());
        if (value.is_string())
            return static_cast<std::int64_t>(
                std::count_if(value.as_view().begin(), value.as_view().end(),
                              [](char c) { return (c & 0xC0) != 0x80; }));
        throw wrong("a list, mapping or text");
    }
    if (name == "keys" || name == "values") {
        count(1);
        const Json value = argument(0);
        if (!value.is_object()) throw wrong("a mapping");
        Json out = Json::array();
        for (const auto& [key, member] : value.members())
            out.push(name == "keys" ? Json(key) : member);
        return out;
    }
    if (name == "contains") {
        count(2);
        const Json in = argument(0), what = argument(1);
        if (in.is_string())
            return what.is_string() && in.as_view().find(what.as_view()) != std::string_view::npos;
        if (!in.is_array()) throw wrong("a list or text");
        return std::any_of(in.items().begin(), in.items().end(),
                           [&](const Json& item) { return item.equal_unordered(what); });
    }
    if (name == "starts_with" || name == "ends_with") {
        count(2);
        const Json text = argument(0), part = argument(1);
        if (!text.is_string() || !part.is_string()) throw wrong("two texts");
        return name == "starts_with" ? text.as_view().starts_with(part.as_view())
                                     : text.as_view().ends_with(part.as_view());
    }
    if (name == "join") {
        count(2);
        const Json list = argument(1);
        std::vector<std::string> parts;
        for (const Json& item : list.items()) parts.push_back(item.as_string());
        return join(parts, argument(0).as_view());
    }
    if (name == "to_string") {
        count(1);
        const Json value = argument(0);
        return value.is_string() ? value : Json(value.dump());
    }
    if (name == "to_number") {
        count(1);
        const Json value = argument(0);
        const Json number = value.is_string() ? yaml_scalar(value.as_view()) : value;
        return number.is_number() ? number : Json();
    }
    if (name == "reverse") {
        count(1);
        Json value = argument(0);
        if (!value.is_array()) throw wrong("a list");
        std::reverse(value.items().begin(), value.items().end());
        return value;
    }
    if (name == "sort" || name == "sort_by" || name == "max" || name == "min" || name == "max_by" ||
        name == "min_by") {
        const bool by = name.ends_with("_by");
        count(by ? 2 : 1);
        Json value = argument(0);
        if (!value.is_array()) throw wrong("a list");
        const Node* key = by ? node.parts[1].second.get() : nullptr;
        if (by && key->kind != Node::Expression)
            throw wrong("a list and an expression such as &name");
        const auto key_of = [&](const Json& item) {
            return by ? evaluate(*key->left, item) : item;
        };
        std::stable_sort(value.items().begin(), value.items().end(),
                         [&](const Json& a, const Json& b) { return less(key_of(a), key_of(b)); });
        if (name.starts_with("sort")) return value;
        if (value.items().empty()) return {};
        return name.starts_with("max") ? value.items().back() : value.items().front();
    }
    if (name == "sum") {
        count(1);
        const Json list = argument(0);
        double sum = 0;
        for (const Json& item : list.items()) sum += item.as_double();
        return sum == static_cast<double>(static_cast<std::int64_t>(sum))
                   ? Json(static_cast<std::int64_t>(sum))
                   : Json(sum);
    }
    throw Refusal{"--query: the function '" + name +
                  "' is not supported: length, keys, values, contains, starts_with, ends_with, "
                  "sort, sort_by, max_by, min_by, max, min, sum, reverse, join, to_string, "
                  "to_number, not_null are"};
}

Json slice(const Node& node, const Json& list) {
    const std::int64_t size = static_cast<std::int64_t>(list.items().size());
    const std::int64_t step = node.numbers[2].value_or(1);
    if (step == 0) throw Refusal{"--query: the step of a slice is not 0"};
    const auto bound = [&](std::optional<std::int64_t> number, std::int64_t fallback) {
        if (!number) return fallback;
        const std::int64_t value = *number < 0 ? *number + size : *number;
        return step > 0 ? std::clamp<std::int64_t>(value, 0, size)
                        : std::clamp<std::int64_t>(value, -1, size - 1);
    };
    const std::int64_t begin = bound(node.numbers[0], step > 0 ? 0 : size - 1);
    const std::int64_t end = bound(node.numbers[1], step > 0 ? size : -1);
    Json out = Json::array();
    for (std::int64_t i = begin; step > 0 ? i < end : i > end; i += step)
        out.push(list.items()[static_cast<std::size_t>(i)]);
    return out;
}

Json evaluate(const Node& node, const Json& here) {
    switch (node.kind) {
        case Node::Identity: return here;
        case Node::Field: return here.at(node.text);
        case Node::Index: {
            const Json list = evaluate(*node.left, here);
            const std::int64_t size = static_cast<std::int64_t>(list.items().size());
            const std::int64_t index =
                *node.numbers[0] < 0 ? *node.numbers[0] + size : *node.numbers[0];
            return index >= 0 && index < size ? list.items()[static_cast<std::size_t>(index)]
                                              : Json();
        }
        case Node::Slice: {
            const Json list = evaluate(*node.left, here);
            if (!list.is_array()) return {};
            const Json part = slice(node, list);
            return each(node, part.items());
        }
        case Node::Flatten: {
            const Json list = evaluate(*node.left, here);
            if (!list.is_array()) return {};
            Json flat = Json::array();
            for (const Json& item : list.items()) {
                if (!item.is_array())
                    flat.push(item);
                else
                    for (const Json& inner : item.items()) flat.push(inner);
            }
            return each(node, std::as_const(flat).items());
        }
        case Node::ListProjection: {
            const Json list = evaluate(*node.left, here);
            return list.is_array() ? each(node, list.items()) : Json();
        }
        case Node::ValueProjection: {
            const Json object = evaluate(*node.left, here);
            if (!object.is_object()) return {};
            Json::Array values;
            for (const auto& [key, member] : object.members()) values.push_back(member);
            return each(node, values);
        }
        case Node::Filter: {
            const Json list = evaluate(*node.left, here);
            if (!list.is_array()) return {};
            Json::Array kept;
            for (const Json& item : list.items())
                if (truthy(evaluate(*node.condition, item))) kept.push_back(item);
            return each(node, kept);
        }
        case Node::MultiHash: {
            if (here.is_null()) return {};
            Json out = Json::object();
            for (const auto& [key, part] : node.parts) out.set(key, evaluate(*part, here));
            return out;
        }
        case Node::MultiList: {
            if (here.is_null()) return {};
            Json out = Json::array();
            for (const auto& [key, part] : node.parts) out.push(evaluate(*part, here));
            return out;
        }
        case Node::Pipe: return evaluate(*node.right, evaluate(*node.left, here));
        case Node::Literal: return node.value;
        case Node::Compare: {
            const Json a = evaluate(*node.left, here), b = evaluate(*node.right, here);
            const bool equal = a.is_number() && b.is_number() ? a.as_double() == b.as_double()
                                                              : a.equal_unordered(b);
            if (node.text == "==") return equal;
            if (node.text == "!=") return !equal;
            if (!((a.is_number() && b.is_number()) || (a.is_string() && b.is_string()))) return {};
            if (node.text == "<") return less(a, b);
            if (node.text == ">") return less(b, a);
            if (node.text == "<=") return !less(b, a);
            return !less(a, b);
        }
        case Node::And: {
            Json a = evaluate(*node.left, here);
            return truthy(a) ? evaluate(*node.right, here) : a;
        }
        case Node::Or: {
            Json a = evaluate(*node.left, here);
            return truthy(a) ? a : evaluate(*node.right, here);
        }
        case Node::Not: return !truthy(evaluate(*node.left, here));
        case Node::Call: return call(node, here);
        case Node::Expression:
            throw Refusal{"--query: '&' is for the second argument of sort_by, max_by and min_by"};
    }
    return {};
}

}  // namespace

Result<Json> query(std::string_view expression, const Json& document) {
    try {
        const NodePtr node = Parser(expression).whole();
        return evaluate(*node, document);
    } catch (const Refusal& refusal) {
        return invalid(refusal.message, "--query");
    }
}

}  // namespace turnout::cli

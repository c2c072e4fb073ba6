#include "api/mlflow/filter.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/text.h"

namespace turnout::api::mlflow {
namespace {

constexpr std::size_t kMaxFilter = 16 << 10;

struct Token {
    enum class Kind { End, Word, Text, Quoted, Number, Symbol } kind = Kind::End;
    std::string text;
};

bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '/' || static_cast<unsigned char>(c) >= 0x80;
}

class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}

    const Token& peek() const { return next_; }
    Token take() { return std::exchange(next_, {}); }

    Result<void> advance() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' ||
                                      text_[at_] == '\n' || text_[at_] == '\r'))
            ++at_;
        next_ = {};
        if (at_ == text_.size()) return {};
        const char c = text_[at_];
        const std::size_t begin = at_;
        if (c == '\'' || c == '"' || c == '`') {
            const std::size_t end = text_.find(c, begin + 1);
            if (end == std::string_view::npos)
                return invalid("the filter has an unclosed " + std::string(1, c) + " at '" +
                                   std::string(text_.substr(begin, 30)) + "'",
                               "filter");
            next_ = {c == '\'' ? Token::Kind::Text : Token::Kind::Quoted,
                     std::string(text_.substr(begin + 1, end - begin - 1))};
            at_ = end + 1;
            return {};
        }
        const bool sign = (c == '-' || c == '+') && begin + 1 < text_.size();
        if ((c >= '0' && c <= '9') ||
            (sign &&
             ((text_[begin + 1] >= '0' && text_[begin + 1] <= '9') || text_[begin + 1] == '.'))) {
            ++at_;
            while (at_ < text_.size() && (is_word(text_[at_]) || text_[at_] == '.' ||
                                          ((text_[at_] == '-' || text_[at_] == '+') &&
                                           (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E'))))
                ++at_;
            next_ = {Token::Kind::Number, std::string(text_.substr(begin, at_ - begin))};
            return {};
        }
        if (is_word(c)) {
            while (at_ < text_.size() && is_word(text_[at_])) ++at_;
            next_ = {Token::Kind::Word, std::string(text_.substr(begin, at_ - begin))};
            return {};
        }
        ++at_;
        if (at_ < text_.size() && text_[at_] == '=' &&
            (c == '!' || c == '<' || c == '>' || c == '='))
            ++at_;
        next_ = {Token::Kind::Symbol, std::string(text_.substr(begin, at_ - begin))};
        return {};
    }

private:
    std::string_view text_;
    std::size_t at_ = 0;
    Token next_;
};

Failure unexpected(const Token& token, std::string_view wanted) {
    const std::string found = token.kind == Token::Kind::End ? "the end" : "'" + token.text + "'";
    return invalid("the filter is not understood at " + found + ": expected " + std::string(wanted),
                   "filter");
}

std::optional<Entity> to_entity(std::string_view text) {
    const std::string name = to_lower(text);
    if (name == "metric" || name == "metrics") return Entity::Metric;
    if (name == "param" || name == "params" || name == "parameter" || name == "parameters")
        return Entity::Param;
    if (name == "tag" || name == "tags") return Entity::Tag;
    if (name == "attribute" || name == "attributes" || name == "attr" || name == "run")
        return Entity::Attribute;
    return std::nullopt;
}

Result<Column> read_column(Reader& reader) {
    Token first = reader.take();
    if (first.kind != Token::Kind::Word && first.kind != Token::Kind::Quoted)
        return unexpected(first, "a name such as metrics.accuracy");
    TURNOUT_TRY(reader.advance());
    if (reader.peek().kind != Token::Kind::Symbol || reader.peek().text != ".")
        return Column{Entity::Attribute, first.text};
    const auto entity = to_entity(first.text);
    if (!entity)
        return invalid("the filter cannot look at '" + first.text +
                           "': metrics, params, tags and attributes can be searched",
                       "filter");
    TURNOUT_TRY(reader.advance());
    Column column{*entity, ""};
    // Names may have dots in them without quotes.
    for (;;) {
        const Token& part = reader.peek();
        if (part.kind != Token::Kind::Word && part.kind != Token::Kind::Quoted &&
            part.kind != Token::Kind::Number)
            return unexpected(part, "a name after '" + first.text + ".'");
        column.name += part.text;
        TURNOUT_TRY(reader.advance());
        if (reader.peek().kind != Token::Kind::Symbol || reader.peek().text != ".") return column;
        column.name += ".";
        TURNOUT_TRY(reader.advance());
    }
}

Result<Compare> read_compare(Reader& reader) {
    const Token token = reader.take();
    TURNOUT_TRY(reader.advance());
    if (token.kind == Token::Kind::Symbol) {
        if (token.text == "=" || token.text == "==") return Compare::Equal;
        if (token.text == "!=") return Compare::NotEqual;
        if (token.text == "<") return Compare::Less;
        if (token.text == "<=") return Compare::LessEqual;
        if (token.text == ">") return Compare::Greater;
        if (token.text == ">=") return Compare::GreaterEqual;
    } else if (token.kind == Token::Kind::Word) {
        const std::string word = to_lower(token.text);
        if (word == "like") return Compare::Like;
        if (word == "ilike") return Compare::ILike;
        if (word == "in") return Compare::In;
        if (word == "not" && to_lower(reader.peek().text) == "in") {
            TURNOUT_TRY(reader.advance());
            return Compare::NotIn;
        }
        if (word == "is") {
            const bool negated = to_lower(reader.peek().text) == "not";
            if (negated) TURNOUT_TRY(reader.advance());
            if (to_lower(reader.peek().text) != "null") return unexpected(reader.peek(), "NULL");
            TURNOUT_TRY(reader.advance());
            return negated ? Compare::IsNotNull : Compare::IsNull;
        }
    }
    return unexpected(token, "one of = != < <= > >= LIKE ILIKE IN IS");
}

bool is_text(const Token& token) {
    return token.kind == Token::Kind::Text || token.kind == Token::Kind::Quoted;
}

Result<void> read_values(Reader& reader, Condition& condition) {
    if (condition.compare == Compare::In || condition.compare == Compare::NotIn) {
        if (reader.peek().text != "(" || reader.peek().kind != Token::Kind::Symbol)
            return unexpected(reader.peek(), "'(' after IN");
        do {
            TURNOUT_TRY(reader.advance());
            if (!is_text(reader.peek())) return unexpected(reader.peek(), "a text in quotes");
            condition.texts.push_back(reader.take().text);
            TURNOUT_TRY(reader.advance());
        } while (reader.peek().kind == Token::Kind::Symbol && reader.peek().text == ",");
        if (reader.peek().text != ")" || reader.peek().kind != Token::Kind::Symbol)
            return unexpected(reader.peek(), "',' or ')'");
        return reader.advance();
    }
    const Token token = reader.take();
    TURNOUT_TRY(reader.advance());
    if (token.kind == Token::Kind::Number) {
        const char* begin = token.text.data() + (token.text[0] == '+' ? 1 : 0);
        const auto [end, error] =
            std::from_chars(begin, token.text.data() + token.text.size(), condition.number);
        if (error != std::errc() || end != token.text.data() + token.text.size())
            return unexpected(token, "a number");
        condition.is_number = true;
        return {};
    }
    if (!is_text(token)) return unexpected(token, "a number, or a text in quotes");
    condition.texts.push_back(token.text);
    if (condition.compare == Compare::Like) condition.like = LikePattern(token.text);
    if (condition.compare == Compare::ILike) condition.like = LikePattern(to_lower(token.text));
    return {};
}

// Numbers are compared with numbers, texts with texts.
Result<void> check_types(Condition& condition) {
    const Column& column = condition.column;
    const bool numeric =
        column.entity == Entity::Metric ||
        (column.entity == Entity::Attribute &&
         (column.name == "start_time" || column.name == "end_time" || column.name == "created" ||
          column.name == "Created" || column.name == "creation_time" ||
          column.name == "last_update_time" || column.name == "version_number"));
    const bool order =
        condition.compare == Compare::Less || condition.compare == Compare::LessEqual ||
        condition.compare == Compare::Greater || condition.compare == Compare::GreaterEqual;
    if (numeric && !condition.is_number)
        return invalid("'" + column.name + "' is compared with a number, without quotes", "filter");
    if (!numeric && condition.is_number)
        return invalid("'" + column.name + "' is compared with a text: put the value in quotes",
                       "filter");
    if (!numeric && order)
        return invalid(
            "'" + column.name + "' is a text: it can be compared with = != LIKE ILIKE IN",
            "filter");
    return {};
}

}  // namespace

Result<std::vector<Condition>> parse_filter(std::string_view text) {
    std::vector<Condition> conditions;
    if (text.size() > kMaxFilter)
        return invalid("the filter is longer than " + std::to_string(kMaxFilter) + " characters",
                       "filter");
    if (!text.empty() && trim(text).empty()) return invalid("the filter is blank", "filter");
    Reader reader(text);
    TURNOUT_TRY(reader.advance());
    while (reader.peek().kind != Token::Kind::End) {
        if (!conditions.empty()) {
            if (to_lower(reader.peek().text) != "and" || reader.peek().kind != Token::Kind::Word)
                return unexpected(reader.peek(), "AND");
            TURNOUT_TRY(reader.advance());
        }
        Condition condition;
        condition.column = TURNOUT_TRY(read_column(reader));
        condition.compare = TURNOUT_TRY(read_compare(reader));
        if (condition.compare == Compare::IsNull || condition.compare == Compare::IsNotNull) {
            if (condition.column.entity != Entity::Param && condition.column.entity != Entity::Tag)
                return invalid(
                    "'" + condition.column.name +
                        "' always is there: IS NULL and IS NOT NULL are for params and tags",
                    "filter");
            conditions.push_back(std::move(condition));
            continue;
        }
        TURNOUT_TRY(read_values(reader, condition));
        TURNOUT_TRY(check_types(condition));
        conditions.push_back(std::move(condition));
    }
    return conditions;
}

Result<Order> parse_order(std::string_view text) {
    Reader reader(text);
    TURNOUT_TRY(reader.advance());
    Order order;
    order.column = TURNOUT_TRY(read_column(reader));
    const std::string direction = to_lower(reader.peek().text);
    if (direction == "asc" || direction == "desc") {
        order.ascending = direction == "asc";
        TURNOUT_TRY(reader.advance());
    }
    if (reader.peek().kind != Token::Kind::End)
        return invalid(
            "order_by is not understood at '" + reader.peek().text + "': expected ASC or DESC",
            "order_by");
    return order;
}

bool holds(const Condition& condition, const Cell& cell) {
    if (condition.compare == Compare::IsNull || condition.compare == Compare::IsNotNull)
        return std::holds_alternative<std::monostate>(cell) ==
               (condition.compare == Compare::IsNull);
    if (const double* number = std::get_if<double>(&cell)) {
        switch (condition.compare) {
            case Compare::Equal: return *number == condition.number;
            case Compare::NotEqual: return *number != condition.number;
            case Compare::Less: return *number < condition.number;
            case Compare::LessEqual: return *number <= condition.number;
            case Compare::Greater: return *number > condition.number;
            case Compare::GreaterEqual: return *number >= condition.number;
            case Compare::Like:
            case Compare::ILike:
            case Compare::In:
            case Compare::NotIn:
            case Compare::IsNull:
            case Compare::IsNotNull: return false;
        }
        return false;
    }
    const std::string* text = std::get_if<std::string>(&cell);
    if (!text || condition.texts.empty())
        return false;  // what is not there fulfils nothing, as in SQL
    const bool among =
        std::find(condition.texts.begin(), condition.texts.end(), *text) != condition.texts.end();
    switch (condition.compare) {
        case Compare::Equal:
        case Compare::In: return among;
        case Compare::NotEqual:
        case Compare::NotIn: return !among;
        case Compare::Like: return condition.like.matches(*text);
        case Compare::ILike: return condition.like.matches(to_lower(*text));
        case Compare::Less:
        case Compare::LessEqual:
        case Compare::Greater:
        case Compare::GreaterEqual:
        case Compare::IsNull:
        case Compare::IsNotNull: return false;
    }
    return false;
}

}  // namespace turnout::api::mlflow

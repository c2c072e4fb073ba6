#include "protocol/visitors.h"

namespace turnout::agent_protocol {

Reader::Reader(const Json& json, std::string_view called, std::string_view tail, Json* given)
    : json_(json), called_(called), tail_(tail), given_(given) {
    if (!json.is_object()) wrong("", "an object");
}

const Json* Reader::find(std::string_view name) const {
    const Json* value = json_.is_object() ? json_.find(name) : nullptr;
    return value && !value->is_null() ? value : nullptr;
}

const Json* Reader::list_at(std::string_view name, std::size_t limit) {
    const Json* value = find(name);
    if (!value) return nullptr;
    if (value->is_array() && value->items().size() <= limit) return value;
    wrong(name, "a list");
    return nullptr;
}

void Reader::wrong(std::string_view name, std::string_view expected) {
    if (error_) return;
    std::string message(called_);
    if (!name.empty()) message += "." + std::string(name);
    error_ = invalid(message + " of the agent protocol must be " + std::string(expected),
                     std::string(name))
                 .error();
}

void Reader::text(std::string_view name, std::string& into, Member is) {
    if (const Json* value = find(name)) {
        if (!value->is_string() || value->as_view().size() > is.limit) return wrong(name, "text");
        into = value->as_view();
    }
    if (is.required && into.empty()) wrong(name, "text that is not empty");
}

void Reader::optional_text(std::string_view name, std::optional<std::string>& into) {
    if (find(name)) text(name, into.emplace());
}

void Reader::secret(std::string_view name, Secret& into) {
    if (!find(name)) return;
    std::string value;
    text(name, value);
    into = Secret(std::move(value));
}

void Reader::yes_no(std::string_view name, bool& into, Member) {
    if (const Json* value = find(name)) {
        if (!value->is_bool()) return wrong(name, "true or false");
        into = value->as_bool();
    }
}

void Reader::span(std::string_view name, Span& into) {
    std::int64_t micros = into.count();
    number(name, micros);
    if (micros < 0) return wrong(name, "microseconds that are not negative");
    into = Span(micros);
}

void Reader::texts(std::string_view name, std::vector<std::string>& into, Member) {
    const Json* list = list_at(name, kMaxListed);
    if (!list) return;
    into.clear();
    into.reserve(list->items().size());
    for (const Json& item : list->items()) {
        if (!item.is_string()) return wrong(name, "a list of texts");
        into.emplace_back(item.as_view());
    }
}

void Reader::pairs(std::string_view name, Pairs& into) {
    const Json* list = list_at(name, kMaxListed);
    if (!list) return;
    into.clear();
    into.reserve(list->items().size());
    for (const Json& item : list->items()) {
        const Json::Array& parts = item.items();
        if (parts.size() != 2 || !parts[0].is_string() || !parts[1].is_string())
            return wrong(name, "a list of pairs of texts");
        into.emplace_back(parts[0].as_view(), parts[1].as_view());
    }
}

void Reader::json(std::string_view name, Json& into) {
    if (Json* value = given_ ? given_->find(name) : nullptr)
        into = std::move(*value);
    else
        into = json_.at(name);
    if (!into.is_object()) wrong(name, "an object");
}

}  // namespace turnout::agent_protocol

#include "resources/rest_types.h"

#include <string_view>

namespace turnout::resources {
namespace {

bool is_one_value(const Json& value) {
    return value.is_string() || value.is_number() || value.is_bool();
}

bool is_whole(const Json& value) {
    return value.is_number() && value.as_double() == static_cast<double>(value.as_int());
}

// "" if it has the type that the kind says.
std::string_view wanted_instead(Kind kind, const Json& value) {
    switch (kind) {
        case Kind::Text:
        case Kind::Choice: return value.is_string() ? "" : "a text";
        case Kind::Seconds: return value.is_string() ? "" : "a duration such as PT1H";
        case Kind::Whole: return is_whole(value) ? "" : "a whole number";
        case Kind::Number: return value.is_number() ? "" : "a number";
        case Kind::Flag: return value.is_bool() ? "" : "true or false";
        case Kind::TextMap: return value.is_object() ? "" : "an object of texts";
        case Kind::AnyMap:
        case Kind::Object: return value.is_object() ? "" : "an object";
        case Kind::TextList: return value.is_array() ? "" : "a list of texts";
        case Kind::Special: return "";
    }
    return "";
}

void look_at(const Field& field, const std::string& place, const Json& value,
             std::vector<WrongType>& found);

void look_into(const Description& description, const Json& part, std::string_view above,
               const std::string& place, std::vector<WrongType>& found) {
    for (const Field& field : description.fields) {
        std::string_view path = field.rest;
        if (field.need == Need::ReadOnly || path.empty() || !path.starts_with(above)) continue;
        path.remove_prefix(above.size());
        look_at(field, place + std::string(path), at_path(part, path), found);
    }
}

void look_at(const Field& field, const std::string& place, const Json& value,
             std::vector<WrongType>& found) {
    if (value.is_null()) return;
    if (const std::string_view wanted = wanted_instead(field.kind, value); !wanted.empty()) {
        found.push_back({place, std::string(wanted), &value});
        return;
    }
    switch (field.kind) {
        case Kind::TextMap:  // numbers are taken as texts, as clients write them
            for (const auto& [key, member] : value.members())
                if (!member.is_null() && !is_one_value(member))
                    found.push_back({place + "." + key.substr(0, 64), "a text", &member});
            return;
        case Kind::TextList:
            for (std::size_t i = 0; i < value.items().size(); ++i)
                if (!is_one_value(value.items()[i]))
                    found.push_back(
                        {place + "[" + std::to_string(i) + "]", "a text", &value.items()[i]});
            return;
        case Kind::Object: look_into(*field.object, value, "", place + ".", found); return;
        case Kind::Text:
        case Kind::Choice:
        case Kind::Seconds:
        case Kind::Whole:
        case Kind::Number:
        case Kind::Flag:
        case Kind::AnyMap:
        case Kind::Special: return;
    }
}

}  // namespace

std::vector<WrongType> wrong_types(const Description& description, const Json& properties) {
    std::vector<WrongType> found;
    look_into(description, properties, "properties.", "", found);
    return found;
}

}  // namespace turnout::resources

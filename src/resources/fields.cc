#include "resources/fields.h"

namespace turnout::resources {

Field text(std::string yaml, std::string rest, std::string help, Need need, std::string flag) {
    return {.yaml = std::move(yaml),
            .rest = std::move(rest),
            .kind = Kind::Text,
            .need = need,
            .help = std::move(help),
            .flag = std::move(flag)};
}
Field field(std::string yaml, std::string rest, Kind kind, std::string help, std::string flag) {
    return {.yaml = std::move(yaml),
            .rest = std::move(rest),
            .kind = kind,
            .help = std::move(help),
            .flag = std::move(flag)};
}
Field choice(std::string yaml, std::string rest, std::vector<Choice> choices, std::string help,
             Need need, std::string flag) {
    return {.yaml = std::move(yaml),
            .rest = std::move(rest),
            .kind = Kind::Choice,
            .need = need,
            .help = std::move(help),
            .flag = std::move(flag),
            .choices = std::move(choices)};
}
Field object(std::string yaml, std::string rest, const Description& description, std::string help,
             std::string refused) {
    return {.yaml = std::move(yaml),
            .rest = std::move(rest),
            .kind = Kind::Object,
            .help = std::move(help),
            .refused = std::move(refused),
            .object = &description};
}
Field between(std::int64_t least, Field field, std::int64_t most) {
    field.least = least;
    field.most = most;
    return field;
}
Field ruled(const TextRule& rule, Field field) {
    field.rule = &rule;
    return field;
}
Field needed(Field field) {
    field.need = Need::Required;
    return field;
}
Field special(std::string yaml, Special shape, std::string help, Need need, std::string flag) {
    return {.yaml = std::move(yaml),
            .kind = Kind::Special,
            .need = need,
            .help = std::move(help),
            .flag = std::move(flag),
            .special = std::move(shape)};
}
Field documented(Field field, const Description& keys) {
    field.object = &keys;
    return field;
}
Field shown(std::string yaml, std::string rest, std::string help, Kind kind) {
    return {.yaml = std::move(yaml),
            .rest = std::move(rest),
            .kind = kind,
            .need = Need::ReadOnly,
            .help = std::move(help)};
}
Field refused(std::string yaml, std::string help, std::string why) {
    return {.yaml = std::move(yaml),
            .kind = Kind::AnyMap,
            .help = std::move(help),
            .refused = std::move(why)};
}

}  // namespace turnout::resources

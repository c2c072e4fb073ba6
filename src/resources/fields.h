// How a field of a description is written down (see describe.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "resources/describe.h"

namespace turnout::resources {

Field text(std::string yaml, std::string rest, std::string help, Need need = Need::Optional,
           std::string flag = {});
Field field(std::string yaml, std::string rest, Kind kind, std::string help, std::string flag = {});
Field choice(std::string yaml, std::string rest, std::vector<Choice> choices, std::string help,
             Need need = Need::Optional, std::string flag = {});
Field object(std::string yaml, std::string rest, const Description& description, std::string help,
             std::string refused = {});
// A whole number, or one of seconds.
Field between(std::int64_t least, Field field, std::int64_t most = INT64_MAX);
Field ruled(const TextRule& rule, Field field);
Field needed(Field field);
Field special(std::string yaml, Special shape, std::string help, Need need = Need::Optional,
              std::string flag = {});
// A Special whose keys are those of a description.
Field documented(Field field, const Description& keys);
Field shown(std::string yaml, std::string rest, std::string help, Kind kind = Kind::AnyMap);
Field refused(std::string yaml, std::string help, std::string why);

}  // namespace turnout::resources

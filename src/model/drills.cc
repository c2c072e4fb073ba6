#include "model/drills.h"

#include "base/text.h"

namespace turnout {

Error not_offered(std::string_view name, const std::vector<DrillKind>& offered) {
    std::vector<std::string> names;
    for (const DrillKind& kind : offered) names.push_back(kind.name);
    return invalid(
               "drill '" + std::string(name.substr(0, 40)) + "' is not offered there" +
                   (names.empty() ? std::string(": none is") : ": expected " + join(names, ", ")),
               "kind")
        .error();
}

}  // namespace turnout

#include "model/group.h"

namespace turnout {

std::string child_name(std::string_view group, std::int64_t index) {
    return std::string(group) + "_" + std::to_string(index);
}

}  // namespace turnout

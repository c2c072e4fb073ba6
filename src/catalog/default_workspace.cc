#include "catalog/default_workspace.h"

#include <algorithm>

namespace turnout {

Result<std::optional<Workspace>> default_workspace(Catalog& assets) {
    std::vector<Workspace> all = TURNOUT_TRY(assets.list_workspaces("", ""));
    const auto oldest =
        std::ranges::min_element(all, {}, &Workspace::created);  // of equal ones the first by name
    if (oldest == all.end()) return std::nullopt;
    return std::move(*oldest);
}

}  // namespace turnout

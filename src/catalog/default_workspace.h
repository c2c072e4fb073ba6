// Which workspace is meant where none is named.
#pragma once

#include <optional>

#include "base/result.h"
#include "catalog/catalog.h"

namespace turnout {

// The oldest, at every door: what the server tells its clients, MLflow and run history without a
// workspace in the path, `turnout login`. One that is made later takes nobody's place. Nothing if
// there is none.
Result<std::optional<Workspace>> default_workspace(Catalog& assets);

}  // namespace turnout

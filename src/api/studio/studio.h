// What the portal asks for beside the public API: short rows of jobs, and the page of one job with
// its log and metrics, for whoever has its link (GET, that job alone) or is logged in.
#pragma once

#include "api/api.h"

namespace turnout::api::studio {

void add_shell_routes(Router& router, Services& services);     // shell.cc
void add_row_routes(Router& router, Services& services);       // rows.cc
void add_document_routes(Router& router, Services& services);  // document.cc
void add_line_routes(Router& router, Services& services);      // lines.cc
void add_series_routes(Router& router, Services& services);    // series.cc

}  // namespace turnout::api::studio

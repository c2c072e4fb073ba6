// What people ask: why a job waits, what would start it, what the nodes do. Reads only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/owner.h"

namespace turnout::control {

class Explain : Owner {
public:
    explicit Explain(Owners& all) : Owner(all) {}

    std::string waiting_for(const std::string& workspace, const std::string& name) const;
    std::vector<std::string> placed_jobs(const std::string& workspace) const;
    std::optional<schedule::Waiting> waiting(const std::string& workspace,
                                             const std::string& name) const;
    Waited waited(const std::string& workspace, const std::string& name) const;
    std::optional<Control::Explanation> explain(const std::string& workspace,
                                                const std::string& name) const;
};

}  // namespace turnout::control

// Folders and names in containers of the blob service. Pure.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace turnout::access {

class Places {
public:
    // A folder's name may end with '/'; "" = all of the container.
    void add(std::string_view container, std::string_view prefix);
    // It is one of them, or beneath one.
    bool hold(std::string_view container, std::string_view name) const;

private:
    std::set<std::string, std::less<>> places_;
};

}  // namespace turnout::access

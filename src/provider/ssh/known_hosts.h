// Which keys hosts have shown.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "io/loop.h"
#include "provider/ssh/hosts.h"

namespace turnout {

// The keys that hosts have shown, kept in a file: the first one of each is believed, another one is
// refused. Used on the loop; the file is written beside it.
class KnownHosts {
public:
    KnownHosts(Loop& loop, std::string path) : loop_(loop), path_(std::move(path)) {}
    Result<void> read();
    // What somebody wrote down as the host's key is right; else what it showed first.
    Result<void> check(const SshHost& host, const std::string& shown);
    std::string of(const std::string& host) const;  // "" if it has shown none
    void forget(const std::string& host);           // the next one that it shows is its first

private:
    void write();

    Loop& loop_;
    std::string path_;
    std::map<std::string, std::string> keys_;
    bool writing_ = false, changed_ = false;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // weakly held by what is written
};

}  // namespace turnout

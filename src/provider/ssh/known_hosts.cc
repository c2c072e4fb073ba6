#include "provider/ssh/known_hosts.h"

#include <unistd.h>

#include <utility>

#include "base/json.h"
#include "io/posix/files.h"

namespace turnout {

Result<void> KnownHosts::read() {
    if (access(path_.c_str(), F_OK) != 0) return {};
    const std::string text = TURNOUT_TRY(read_file(path_));
    const Json json = TURNOUT_TRY(parse_json(text));
    for (const auto& [host, key] : json.members()) keys_[host] = key.as_string();
    return {};
}

Result<void> KnownHosts::check(const SshHost& host, const std::string& shown_key) {
    const std::string& wanted = host.host_key;
    const auto known = keys_.find(host.name());
    const std::string& right = !wanted.empty() || known == keys_.end() ? wanted : known->second;
    if (right.empty() && !shown_key.empty()) {
        keys_[host.name()] = shown_key;
        write();
        return {};
    }
    if (right == shown_key && !shown_key.empty()) return {};
    const std::string before = wanted.empty()  ? " when it was first used"
                               : host.attached ? " is in the tag turnout.host_key"
                                               : " is in its pool";
    return fail(Code::PermissionDenied, "HostKeyChanged",
                host.name() + " shows the key " + shown_key + ", but " + right + before +
                    ": if that is meant, " +
                    (host.attached ? "attach it with the tag `turnout.host_key: " + shown_key + "`"
                                   : "write `host_key: " + shown_key + "` in its pool") +
                    "; else another machine answers in its place",
                "host_key");
}

void KnownHosts::forget(const std::string& host) {
    if (keys_.erase(host) > 0) write();
}

std::string KnownHosts::of(const std::string& host) const {
    const auto known = keys_.find(host);
    return known == keys_.end() ? "" : known->second;
}

void KnownHosts::write() {
    if (writing_) {
        changed_ = true;
        return;
    }
    writing_ = true;
    Json json = Json::object();
    for (const auto& [host, key] : keys_) json.set(host, key);
    loop_.blocking([path = path_, text = json.dump_pretty() +
                                         "\n"] { (void)write_file_atomically(path, text, 0600); },
                   [this, alive = std::weak_ptr<int>(alive_)] {
                       if (!alive.lock()) return;
                       writing_ = false;
                       if (std::exchange(changed_, false)) write();
                   });
}

}  // namespace turnout

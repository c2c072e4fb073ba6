// The node's link to the server: a stream of frames both ways, made again when it breaks. Used on
// the loop only; nothing here fails, what does not work is tried again.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/server.h"
#include "base/secret.h"
#include "protocol/agent_protocol.h"

namespace turnout::agent {

class ServerLink {
public:
    // None is called after stop() or close().
    struct Events {
        // A link stands; nothing is read from it before this is over.
        std::function<Task<void>()> standing;
        // `server`: the versions of the protocol that it speaks.
        std::function<void(const agent_protocol::Speaks& server)> connected;
        std::function<void(const agent_protocol::ToAgent&)> message;
        // A message about that attempt that nobody can read.
        std::function<void(const agent_protocol::AttemptId&, const std::string& why)> unreadable;
        std::function<void()> disconnected;
        std::function<void()> told;         // after one or several of these that came together
        std::function<bool()> unreachable;  // whether to go on trying
        std::function<void(const std::string&)> trouble;  // for the agent's own log
    };
    ServerLink(Loop& loop, const Clock& clock, Server& server, Secret token, Events events);
    ~ServerLink();
    ServerLink(const ServerLink&) = delete;
    ServerLink& operator=(const ServerLink&) = delete;

    // Connects, and connects again when the connection breaks. What `owner` owns is there as long
    // as anything of that is under way: all that the constructor was given.
    void begin(std::shared_ptr<void> owner);
    void stop();   // nothing is heard any more; the connection stands as long as the process
    void close();  // as when it is destroyed
    bool connected() const;

    // Dropped without a link.
    void put(std::string frame);
    // What is put between the two leaves together, at `release`.
    void hold();
    void release();

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with the coroutines that serve the link
};

}  // namespace turnout::agent

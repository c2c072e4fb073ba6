// The connections of the nodes' agents: frames in, to control and to the logs; frames out. One per
// node; a newer one replaces an older one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "base/task.h"
#include "control/control.h"
#include "io/http.h"
#include "io/loop.h"
#include "tracking/tracking.h"

namespace turnout {

class AgentLinks {
public:
    // `speaks`: the versions of the protocol; others than this build's own are for tests.
    AgentLinks(Loop& loop, Tracking& tracking, agent_protocol::Speaks speaks = {});
    ~AgentLinks();  // closes all

    void set_control(Control* control) { control_ = control; }  // once, before any link

    // Serves one upgraded connection until it ends. `node` is who its token says it is.
    Task<void> serve(NodeId node, std::unique_ptr<http::Stream> stream);

    void send(const NodeId& node, const agent_protocol::ToAgent& message);
    void disconnect(const NodeId& node);
    // For a drill: that node's link is closed, and refused for so long.
    void cut(const NodeId& node, Span how_long);
    const agent_protocol::Speaks& speaks() const { return speaks_; }
    bool connected(const NodeId& node) const { return links_.contains(node); }
    // In whose words its agent has said hello; 0: it is not connected.
    int version_of(const NodeId& node) const;

private:
    struct Link;
    Task<void> write_out(std::shared_ptr<Link> link);
    Result<void> take(Link& link, const agent_protocol::FrameReader::Frame& frame);
    void take_log(Link& link, agent_protocol::LogChunk chunk);
    void call_for_logs();
    void flush(std::shared_ptr<Link> link);
    void ping_later();

    Loop& loop_;
    Tracking& tracking_;
    const agent_protocol::Speaks speaks_;
    Control* control_ = nullptr;
    Loop::TimerId pinging_ = 0;
    std::map<NodeId, Loop::TimerId> cut_;  // until that timer
    // Shared: the coroutines that read and write a link end some time after it was replaced.
    std::map<NodeId, std::shared_ptr<Link>> links_;
    bool some_without_room_ = false;                         // a link has logs that found none
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // weakly held by callbacks of commits
};

}  // namespace turnout

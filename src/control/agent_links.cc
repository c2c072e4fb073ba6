#include "control/agent_links.h"

#include <set>
#include <utility>
#include <vector>

namespace turnout {

namespace ap = agent_protocol;

namespace {
// An agent that does not read what it is told is cut off; it says Hello again and is told anew.
constexpr std::size_t kMaxOutgoing = 64 << 20;
// The agent counts the time since it last heard from here (fencing), and a link whose other end is
// gone says nothing by itself.
constexpr Span kPingEvery = 15s;
constexpr int kSilentPings = 3;
// Further ones of a node come again by themselves.
constexpr std::size_t kMaxWithoutRoom = 1000;
}  // namespace

struct AgentLinks::Link {
    NodeId node;
    std::unique_ptr<http::Stream> stream;
    ap::FrameReader frames;
    std::string outgoing;
    bool writing = false;
    bool flushing = false;  // it will be written out in this turn of the loop
    bool closed = false;
    bool greeted = false;
    int version = 0;     // of its hello
    int unanswered = 0;  // pings since it last said anything
    // Of the attempts that it was told of: those that it has, and those that it is to let go of.
    // What it has is said anew on each link.
    std::set<ap::AttemptId> leased, taken;
    // The logs of which something found no room: they are called for when there is some.
    std::set<std::pair<ap::AttemptId, std::string>> without_room;

    void told(const ap::ToAgent& message) {
        if (const auto* lease = std::get_if<ap::Lease>(&message)) {
            leased.insert(lease->id);
            taken.erase(lease->id);
        } else if (const auto* cancel = std::get_if<ap::Cancel>(&message)) {
            const bool lost = cancel->cause == ap::Cause::NodeLost;
            (lost ? taken : leased).insert(cancel->id);
            (lost ? leased : taken).erase(cancel->id);
        } else if (const auto* ack = std::get_if<ap::EndAck>(&message)) {
            leased.erase(ack->id);
            taken.erase(ack->id);
        }
    }
};

AgentLinks::AgentLinks(Loop& loop, Tracking& tracking, ap::Speaks speaks)
    : loop_(loop), tracking_(tracking), speaks_(speaks) {
    ping_later();
}

AgentLinks::~AgentLinks() {
    loop_.cancel(pinging_);
    for (const auto& [node, timer] : cut_) loop_.cancel(timer);
    for (auto& [node, link] : links_) {
        link->closed = true;
        link->stream->close();
    }
}

Task<void> AgentLinks::serve(NodeId node, std::unique_ptr<http::Stream> stream) {
    if (cut_.contains(node)) {
        stream->close();
        co_return;
    }
    if (const auto old = links_.find(node); old != links_.end()) {
        old->second->closed = true;
        old->second->stream->close();
        links_.erase(old);
        control_->agent_disconnected(node);
    }
    auto link = std::make_shared<Link>();
    link->node = node;
    link->stream = std::move(stream);
    links_[node] = link;

    while (!link->closed) {
        Result<std::string> bytes = co_await link->stream->read();
        if (!bytes || bytes->empty() || link->closed) break;
        link->frames.feed(*bytes);
        link->unanswered = 0;
        bool fine = true;
        for (;;) {
            Result<std::optional<ap::FrameReader::Frame>> frame = link->frames.next();
            if (!frame || (*frame && !take(*link, **frame))) {
                fine = false;
                break;
            }
            if (!*frame || link->closed) break;
        }
        if (!fine) break;
    }
    if (!link->closed) {
        link->closed = true;
        link->stream->close();
        links_.erase(node);
        if (link->greeted) control_->agent_disconnected(node);
    }
}

Result<void> AgentLinks::take(Link& link, const ap::FrameReader::Frame& frame) {
    Result<ap::ToServer> decoded = ap::decode_to_server(frame);
    if (!decoded) {
        // It would be said again on the next link, and end that too. So it ends what it is about.
        const ap::Unreadable seen = ap::look_at_unreadable(frame);
        if (!link.greeted || !seen.id || !link.node.starts_with(seen.id->workspace + "/"))
            return Failure(decoded.error());
        if (seen.type != "end" && seen.type != "log") return {};
        ap::EndReport report{*seen.id, {}};
        report.ending.cause = ap::Cause::Internal;
        report.ending.exit_code = -1;
        report.ending.message =
            "the server cannot read what the node told of this job: " + decoded.error().message;
        control_->agent_says(link.node, report);
        return {};
    }
    ap::ToServer message = std::move(*decoded);
    if (auto* hello = std::get_if<ap::Hello>(&message)) {
        if (hello->node != link.node)
            return invalid("the agent's token is of another node", hello->node);
        if (!speaks_.has(hello->protocol)) {
            const std::string why = ap::why_refused(hello->protocol, hello->build, speaks_);
            control_->agent_refused(link.node, why);
            return invalid(why, "protocol");
        }
        link.greeted = true;
        link.version = hello->protocol;
        control_->agent_connected(link.node, *hello);
        return {};
    }
    if (!link.greeted) return invalid("the agent did not say hello");
    if (auto* chunk = std::get_if<ap::LogChunk>(&message)) {
        take_log(link, std::move(*chunk));
        return {};
    }
    if (std::holds_alternative<ap::Pong>(message)) return {};
    control_->agent_says(link.node, message);
    return {};
}

void AgentLinks::take_log(Link& link, ap::LogChunk chunk) {
    const ap::AttemptId id = chunk.id;
    const std::string stream = chunk.stream;
    if (!link.leased.contains(id)) {
        // Another node's, or nobody's: nothing of it is written. The link stays, since a node that
        // was away says such things in good faith of an attempt that was taken from it; that one it
        // may end, and so it hears that no more of its log is wanted.
        if (link.taken.contains(id))
            send(link.node, ap::LogAck{id, stream, chunk.offset + chunk.bytes.size()});
        return;
    }
    // It is kept by its node, whose window stops it and which sends it again in some seconds: what
    // else the node has to say comes over this link too.
    if (tracking_.logs_full()) {
        if (link.without_room.size() < kMaxWithoutRoom) link.without_room.emplace(id, stream);
        some_without_room_ = true;
        return;
    }
    tracking_.append_log(std::move(chunk),
                         [this, node = link.node, id, stream,
                          alive = std::weak_ptr<int>(alive_)](Result<std::uint64_t> durable) {
                             if (!alive.lock()) return;
                             // Without an acknowledgement the agent sends it again: in some
                             // seconds, or on its next connection. A full disk is no reason to cut
                             // the link, over which cancels and ends come.
                             if (durable)
                                 send(node, ap::LogAck{id, stream, *durable});
                             else if (durable.error().code != Code::ResourceExhausted)
                                 disconnect(node);
                             if (!tracking_.logs_full()) call_for_logs();
                         });
}

// Whoever tries again in a while only may find no room each time, while others fill it.
void AgentLinks::call_for_logs() {
    if (!std::exchange(some_without_room_, false)) return;
    const auto links = links_;
    for (const auto& [node, link] : links)
        for (const auto& [id, stream] : std::exchange(link->without_room, {}))
            if (link->leased.contains(id)) send(node, ap::LogAck{id, stream, 0});
}

void AgentLinks::send(const NodeId& node, const ap::ToAgent& message) {
    const auto found = links_.find(node);
    // Before its Hello a link gets nothing: what was meant for the node's earlier life would come
    // to one that does not expect it, and all that matters is said again after the Hello.
    if (found == links_.end() || found->second->closed || !found->second->greeted) return;
    const std::string frame = ap::encode(message);
    if (!ap::fits(frame)) {  // the node would end the link, and be told the same on the next one
        if (const auto* lease = std::get_if<ap::Lease>(&message))
            loop_.post([this, node, id = lease->id, alive = std::weak_ptr<int>(alive_)] {
                if (!alive.lock()) return;
                ap::EndReport report{id, {}};
                report.ending.cause = ap::Cause::Input;
                report.ending.exit_code = -1;
                report.ending.message = "the job is larger than what a node can be told";
                control_->agent_says(node, report);
            });
        return;
    }
    found->second->told(message);
    found->second->outgoing += frame;
    if (found->second->outgoing.size() > kMaxOutgoing) return disconnect(node);
    // What one turn of the loop has to say leaves together.
    if (std::exchange(found->second->flushing, true)) return;
    loop_.post([this, link = found->second, alive = std::weak_ptr<int>(alive_)] {
        link->flushing = false;
        if (alive.lock()) flush(link);
    });
}

int AgentLinks::version_of(const NodeId& node) const {
    const auto found = links_.find(node);
    return found != links_.end() && !found->second->closed ? found->second->version : 0;
}

void AgentLinks::disconnect(const NodeId& node) {
    const auto found = links_.find(node);
    if (found == links_.end()) return;
    found->second->stream->close();  // the reading side notices and tells control
}

void AgentLinks::cut(const NodeId& node, Span how_long) {
    if (const auto before = cut_.find(node); before != cut_.end()) loop_.cancel(before->second);
    cut_[node] = loop_.after(how_long, [this, node] { cut_.erase(node); });
    disconnect(node);
}

void AgentLinks::ping_later() {
    pinging_ = loop_.after(kPingEvery, [this] {
        ping_later();
        std::vector<NodeId> silent;
        for (auto& [node, link] : links_) {
            if (++link->unanswered > kSilentPings) {
                silent.push_back(node);
            } else if (link->greeted) {
                link->outgoing += ap::encode(ap::ToAgent(ap::Ping{link->unanswered}));
                flush(link);
            }
        }
        for (const NodeId& node : silent) disconnect(node);
    });
}

void AgentLinks::flush(std::shared_ptr<Link> link) {
    if (link->writing || link->closed || link->outgoing.empty()) return;
    link->writing = true;
    start(write_out(link), [] {});
}

Task<void> AgentLinks::write_out(std::shared_ptr<Link> link) {
    while (!link->closed && !link->outgoing.empty()) {
        const Result<void> written =
            co_await link->stream->write(std::exchange(link->outgoing, {}));
        if (!written) {
            link->stream->close();
            break;
        }
    }
    link->writing = false;
}

}  // namespace turnout

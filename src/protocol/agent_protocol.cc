#include "protocol/agent_protocol.h"

#include <array>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/text.h"
#include "protocol/descriptions.h"

namespace turnout::agent_protocol {
namespace {

constexpr std::array<std::pair<Phase, std::string_view>, 5> kPhases{{
    {Phase::Preparing, "preparing"},
    {Phase::Running, "running"},
    {Phase::Ready, "ready"},
    {Phase::Finalizing, "finalizing"},
    {Phase::Ended, "ended"},
}};

constexpr std::array<std::pair<Cause, std::string_view>, 11> kCauses{{
    {Cause::None, "none"},
    {Cause::UserCode, "user_code"},
    {Cause::OutOfMemory, "out_of_memory"},
    {Cause::TooManyProcesses, "too_many_processes"},
    {Cause::Timeout, "timeout"},
    {Cause::Canceled, "canceled"},
    {Cause::Preempted, "preempted"},
    {Cause::NodeLost, "node_lost"},
    {Cause::Environment, "environment"},
    {Cause::Input, "input"},
    {Cause::Internal, "internal"},
}};

void append_length(std::string& frame, std::size_t length) {
    for (int shift = 24; shift >= 0; shift -= 8)
        frame.push_back(static_cast<char>((length >> shift) & 0xff));
}

std::uint32_t read_length(std::string_view bytes) {
    std::uint32_t length = 0;
    for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    return length;
}

// A frame of a message: its type, then its members.
template <class T>
std::string frame_of(const T& message, std::string_view tail) {
    static_assert(!kType<T>.empty());
    std::string frame(8, '\0');
    frame.reserve(512 + tail.size());
    TextOut out(frame);
    out.whole([&](TextOut& inner) {
        inner.text("type", kType<T>);
        Writer<TextOut>::write(inner, message);
    });
    std::string lengths;
    append_length(lengths, frame.size() - 8);
    append_length(lengths, tail.size());
    frame.replace(0, 8, lengths);
    frame += tail;
    return frame;
}

template <class T>
std::string_view tail_of(const T&) {
    return "";
}
std::string_view tail_of(const LogChunk& chunk) {
    return chunk.bytes;
}

template <class Variant>
std::string encode_any(const Variant& message) {
    return std::visit([](const auto& one) { return frame_of(one, tail_of(one)); }, message);
}

// Of the messages that a variant can be, the one of that type.
template <class Variant>
Result<Variant> decode_any(const FrameReader::Frame& frame, std::string_view from) {
    Json json = TURNOUT_TRY(parse_json(frame.json));
    Reader reader(json, "message", frame.tail, &json);
    std::string type;
    reader.text("type", type);
    std::optional<Result<Variant>> decoded;
    const auto try_type = [&]<class T>(std::type_identity<T>) {
        if (type != kType<T>) return false;
        T message;
        describe(reader, message);
        decoded = reader.finish(Variant(std::move(message)));
        return true;
    };
    [&]<class... Types>(std::type_identity<std::variant<Types...>>) {
        (try_type(std::type_identity<Types>()) || ...);
    }(std::type_identity<Variant>());
    if (decoded) return std::move(*decoded);
    return invalid("unknown message '" + type.substr(0, 64) + "' from " + std::string(from));
}

Result<AttemptId> attempt_from_json(const Json& json) {
    Reader reader(json, kCalled<AttemptId>);
    AttemptId id;
    describe(reader, id);
    return reader.finish(std::move(id));
}

// `task` with the members of `json` in place of its own.
Result<TaskSpec> with_members(TaskSpec task, const Json& json) {
    Reader reader(json, kCalled<TaskSpec>);
    describe(reader, task);
    return reader.finish(std::move(task));
}

}  // namespace

std::string_view name_of(Phase phase) {
    for (const auto& [value, name] : kPhases)
        if (value == phase) return name;
    return "";
}

std::string_view name_of(Cause cause) {
    for (const auto& [value, name] : kCauses)
        if (value == cause) return name;
    return "";
}

Result<Phase> parse_phase(std::string_view text) {
    for (const auto& [value, name] : kPhases)
        if (name == text) return value;
    return invalid("unknown phase '" + std::string(text.substr(0, 64)) + "'", "phase");
}

Result<Cause> parse_cause(std::string_view text) {
    for (const auto& [value, name] : kCauses)
        if (name == text) return value;
    return invalid("unknown cause '" + std::string(text.substr(0, 64)) + "'", "cause");
}

std::string_view name_of(TaskEnvironment::Kind kind) {
    switch (kind) {
        case TaskEnvironment::Kind::UserManaged: return "user_managed";
        case TaskEnvironment::Kind::Venv: return "venv";
    }
    return "";
}

Result<Phase> parse_choice(std::string_view text, Phase) {
    return parse_phase(text);
}
Result<Cause> parse_choice(std::string_view text, Cause) {
    return parse_cause(text);
}
Result<TaskEnvironment::Kind> parse_choice(std::string_view text, TaskEnvironment::Kind) {
    for (const auto kind : {TaskEnvironment::Kind::UserManaged, TaskEnvironment::Kind::Venv})
        if (name_of(kind) == text) return kind;
    return invalid("environment.kind of the agent protocol must be 'user_managed' or 'venv'",
                   "kind");
}

std::string encode(const ToServer& message) {
    return encode_any(message);
}
std::string encode(const ToAgent& message) {
    return encode_any(message);
}

Result<std::optional<FrameReader::Frame>> FrameReader::next() {
    std::string_view rest = std::string_view(buffer_).substr(read_);
    if (rest.size() < 8) return std::nullopt;
    std::size_t json = read_length(rest);
    std::size_t tail = read_length(rest.substr(4));
    if (json > kMaxJson || tail > kMaxTail)
        return invalid("a frame of the agent protocol is over its limit: " + std::to_string(json) +
                       " + " + std::to_string(tail) + " bytes");
    if (rest.size() < 8 + json + tail) return std::nullopt;
    Frame frame{std::string(rest.substr(8, json)), std::string(rest.substr(8 + json, tail))};
    read_ += 8 + json + tail;
    // Consumed bytes are dropped in bulk: once per buffer, not once per frame.
    if (read_ == buffer_.size() || read_ > (64 << 10)) {
        buffer_.erase(0, read_);
        read_ = 0;
    }
    return std::optional<Frame>(std::move(frame));
}

bool fits(std::string_view frame) {
    return frame.size() >= 8 && read_length(frame) <= kMaxJson &&
           read_length(frame.substr(4)) <= kMaxTail;
}

bool is_channel(std::string_view name) {
    return !name.empty() && std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-';
    });
}

Unreadable look_at_unreadable(const FrameReader::Frame& frame) {
    Unreadable seen;
    const auto json = parse_json(frame.json);
    if (!json || !json->is_object()) return seen;
    seen.type = json->at("type").as_string();
    if (auto id = attempt_from_json(json->at("id"))) seen.id = std::move(*id);
    return seen;
}

Result<ToServer> decode_to_server(const FrameReader::Frame& frame) {
    return decode_any<ToServer>(frame, "an agent");
}
Result<ToAgent> decode_to_agent(const FrameReader::Frame& frame) {
    return decode_any<ToAgent>(frame, "the server");
}

Json to_json(const TaskSpec& task) {
    TreeOut out;
    Writer<TreeOut>::write(out, task);
    return std::move(out).take();
}

Result<TaskSpec> task_from_json(const Json& json) {
    return with_members(TaskSpec{}, json);
}

int ports_needed(const TaskSpec& task) {
    if (task.service) return task.service->port == 0 ? 1 : 0;
    if (task.distribution.empty() && task.node_count <= 1) return 0;
    return task.distribution == "TensorFlow"
               ? 1 + std::max(1, task.worker_count + task.parameter_servers)
               : 1;
}

int service_port(const TaskSpec& task) {
    return task.service && task.service->port != 0 ? task.service->port : task.master_port;
}

Result<TaskSpec> expand_task(TaskSpec base, const Json& own, const AttemptId& id) {
    const auto put_name = [&](std::string& text) { replace_all(text, kJobPlaceholder, id.job); };
    Texts texts(put_name);
    describe(texts, base);
    TaskSpec task = TURNOUT_TRY(with_members(std::move(base), own));
    for (const auto& [name, value] : task.parameters)
        task.variables.emplace_back("AZUREML_SWEEP_" + name, value);
    if (service_port(task) == 0 || !task.service) return task;
    const std::string port = std::to_string(service_port(task));
    replace_all(task.command, kPortPlaceholder, port);
    for (auto& [name, value] : task.variables) replace_all(value, kPortPlaceholder, port);
    task.variables.emplace_back(kPortVariable, port);
    return task;
}

}  // namespace turnout::agent_protocol

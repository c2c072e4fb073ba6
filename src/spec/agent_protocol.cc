#include "spec/agent_protocol.h"

#include <array>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/text.h"

namespace turnout::agent_protocol {
namespace {

constexpr std::size_t kMaxAttempts = 100'000;

constexpr std::array<std::pair<Phase, std::string_view>, 4> kPhases{{
    {Phase::Preparing, "preparing"},
    {Phase::Running, "running"},
    {Phase::Finalizing, "finalizing"},
    {Phase::Ended, "ended"},
}};

constexpr std::array<std::pair<Cause, std::string_view>, 10> kCauses{{
    {Cause::None, "none"},
    {Cause::UserCode, "user_code"},
    {Cause::OutOfMemory, "out_of_memory"},
    {Cause::Timeout, "timeout"},
    {Cause::Canceled, "canceled"},
    {Cause::Preempted, "preempted"},
    {Cause::NodeLost, "node_lost"},
    {Cause::Environment, "environment"},
    {Cause::Input, "input"},
    {Cause::Internal, "internal"},
}};

// Reads members of one object. The first wrong one is remembered, so that a decoder is a plain list
// of members and one check at its end. An absent member keeps the value it has; a list that is
// there replaces the one before.
class Members {
public:
    Members(const Json& json, std::string_view what) : json_(json), what_(what) {
        if (!json.is_object()) wrong("", "an object");
    }

    void text(std::string_view name, std::string& into, std::size_t limit = kMaxJson) {
        if (const Json* value = find(name)) {
            if (!value->is_string() || value->as_view().size() > limit) return wrong(name, "text");
            into = value->as_string();
        }
    }
    void required_text(std::string_view name, std::string& into, std::size_t limit = 1024) {
        text(name, into, limit);
        if (into.empty()) wrong(name, "text that is not empty");
    }
    template <class Int>
    void number(std::string_view name, Int& into) {
        if (const Json* value = find(name)) {
            if (!value->is_int()) return wrong(name, "a whole number");
            std::int64_t number = value->as_int();
            if (!std::in_range<Int>(number)) return wrong(name, "a number in range");
            into = static_cast<Int>(number);
        }
    }
    void boolean(std::string_view name, bool& into) {
        if (const Json* value = find(name)) {
            if (!value->is_bool()) return wrong(name, "true or false");
            into = value->as_bool();
        }
    }
    void span(std::string_view name, Span& into) {
        std::int64_t micros = into.count();
        number(name, micros);
        if (micros < 0) return wrong(name, "microseconds that are not negative");
        into = Span(micros);
    }
    void texts(std::string_view name, std::vector<std::string>& into) {
        if (find(name)) into.clear();
        each(name, kMaxListed, [&](const Json& item) {
            if (!item.is_string()) return wrong(name, "a list of texts");
            into.push_back(item.as_string());
        });
    }
    // [["name", "value"], …]: order and duplicates kept.
    void pairs(std::string_view name, std::vector<std::pair<std::string, std::string>>& into) {
        if (find(name)) into.clear();
        each(name, kMaxListed, [&](const Json& item) {
            const auto& parts = item.items();
            if (parts.size() != 2 || !parts[0].is_string() || !parts[1].is_string())
                return wrong(name, "a list of pairs of texts");
            into.emplace_back(parts[0].as_string(), parts[1].as_string());
        });
    }
    template <class Each>
    void each(std::string_view name, std::size_t limit, Each each_item) {
        const Json* value = find(name);
        if (!value) return;
        if (!value->is_array() || value->items().size() > limit) return wrong(name, "a list");
        for (const Json& item : value->items()) each_item(item);
    }
    template <class T, class Decode>
    void object(std::string_view name, T& into, Decode decode) {
        const Json* value = find(name);
        if (!value) return;
        accept(decode(*value), into);
    }
    template <class T>
    void accept(Result<T> result, T& into) {
        if (result)
            into = std::move(*result);
        else if (!error_)
            error_ = result.error();
    }
    void wrong(std::string_view name, std::string_view expected) {
        if (error_) return;
        std::string message = std::string(what_);
        if (!name.empty()) message += "." + std::string(name);
        error_ = invalid(message + " of the agent protocol must be " + std::string(expected),
                         std::string(name))
                     .error();
    }
    // Null counts as absent.
    const Json* find(std::string_view name) const {
        const Json* value = json_.is_object() ? json_.find(name) : nullptr;
        return value && !value->is_null() ? value : nullptr;
    }
    template <class T>
    Result<T> finish(T value) {
        if (error_) return Failure(std::move(*error_));
        return value;
    }

private:
    const Json& json_;
    std::string_view what_;
    std::optional<Error> error_;
};

Json to_json(const AttemptId& id) {
    return Json::object({{"workspace", id.workspace}, {"job", id.job}, {"attempt", id.attempt}});
}

Result<AttemptId> attempt_from_json(const Json& json) {
    Members members(json, "id");
    AttemptId id;
    members.required_text("workspace", id.workspace, kMaxIdText);
    members.required_text("job", id.job, kMaxIdText);
    members.number("attempt", id.attempt);
    if (id.attempt < 0) members.wrong("attempt", "a number that is not negative");
    return members.finish(std::move(id));
}

Result<Durations> durations_from_json(const Json& json) {
    Members members(json, "durations");
    Durations durations;
    members.span("snapshot", durations.snapshot);
    members.span("environment", durations.environment);
    members.span("inputs", durations.inputs);
    members.span("waiting", durations.waiting);
    members.span("user_code", durations.user_code);
    members.span("outputs", durations.outputs);
    return members.finish(durations);
}

Json texts_to_json(const std::vector<std::string>& texts) {
    Json list = Json::array();
    for (const auto& text : texts) list.push(text);
    return list;
}

Json pairs_to_json(const std::vector<std::pair<std::string, std::string>>& pairs) {
    Json list = Json::array();
    for (const auto& [name, value] : pairs) list.push(Json::array({name, value}));
    return list;
}

Json to_json(const BlobFolder& folder) {
    return Json::object({{"container", folder.container}, {"prefix", folder.prefix}});
}

Result<BlobFolder> folder_from_json(const Json& json) {
    Members members(json, "blobs");
    BlobFolder folder;
    members.text("container", folder.container, 255);
    members.text("prefix", folder.prefix, kMaxBlobName);
    return members.finish(std::move(folder));
}

Result<std::optional<BlobFolder>> optional_folder_from_json(const Json& json) {
    auto folder = TURNOUT_TRY(folder_from_json(json));
    return std::optional<BlobFolder>(std::move(folder));
}

Json to_json(const TaskInput& input) {
    Json json = Json::object({{"name", input.name}, {"type", input.type}, {"mode", input.mode}});
    if (!input.literal.empty()) json.set("literal", input.literal);
    if (input.blobs) json.set("blobs", to_json(*input.blobs));
    if (input.local_path) json.set("local_path", *input.local_path);
    if (!input.uri.empty()) json.set("uri", input.uri);
    return json;
}

Result<TaskInput> input_from_json(const Json& json) {
    Members members(json, "input");
    TaskInput input;
    members.required_text("name", input.name);
    members.text("type", input.type);
    members.text("mode", input.mode);
    members.text("literal", input.literal);
    members.object("blobs", input.blobs, optional_folder_from_json);
    if (members.find("local_path")) members.text("local_path", input.local_path.emplace());
    members.text("uri", input.uri);
    return members.finish(std::move(input));
}

Json to_json(const TaskOutput& output) {
    return Json::object({{"name", output.name},
                         {"type", output.type},
                         {"mode", output.mode},
                         {"target", to_json(output.target)}});
}

Result<TaskOutput> output_from_json(const Json& json) {
    Members members(json, "output");
    TaskOutput output;
    members.required_text("name", output.name);
    members.text("type", output.type);
    members.text("mode", output.mode);
    members.object("target", output.target, folder_from_json);
    return members.finish(std::move(output));
}

std::string_view name_of(TaskEnvironment::Kind kind) {
    switch (kind) {
        case TaskEnvironment::Kind::UserManaged: return "user_managed";
        case TaskEnvironment::Kind::Venv: return "venv";
    }
    return "";
}

Json to_json(const TaskEnvironment& environment) {
    return Json::object({{"name", environment.name},
                         {"hash", environment.hash},
                         {"kind", name_of(environment.kind)},
                         {"interpreter", environment.interpreter},
                         {"python_version", environment.python_version},
                         {"requirements", texts_to_json(environment.requirements)},
                         {"notices", texts_to_json(environment.notices)},
                         {"variables", pairs_to_json(environment.variables)}});
}

Result<TaskEnvironment> environment_from_json(const Json& json) {
    Members members(json, "environment");
    TaskEnvironment environment;
    members.text("name", environment.name);
    members.text("hash", environment.hash, 255);
    std::string kind(name_of(environment.kind));
    members.text("kind", kind);
    if (kind == name_of(TaskEnvironment::Kind::Venv))
        environment.kind = TaskEnvironment::Kind::Venv;
    else if (kind != name_of(TaskEnvironment::Kind::UserManaged))
        members.wrong("kind", "'user_managed' or 'venv'");
    members.text("interpreter", environment.interpreter);
    members.text("python_version", environment.python_version);
    members.texts("requirements", environment.requirements);
    members.texts("notices", environment.notices);
    members.pairs("variables", environment.variables);
    return members.finish(std::move(environment));
}

Result<Ending> ending_from_json(const Json& json) {
    Members members(json, "ending");
    Ending ending;
    std::string cause(name_of(ending.cause));
    members.text("cause", cause);
    members.accept(parse_cause(cause), ending.cause);
    members.number("exit_code", ending.exit_code);
    members.number("signal", ending.signal);
    members.text("message", ending.message);
    members.texts("last_lines", ending.last_lines);
    members.number("peak_memory_bytes", ending.peak_memory_bytes);
    members.object("durations", ending.durations, durations_from_json);
    return members.finish(std::move(ending));
}

// The stream becomes a path among the job's artifacts, so it is checked where it enters.
void read_stream(Members& members, std::string& stream) {
    members.required_text("stream", stream);
    auto checked = checked_relative_path(stream, "stream");
    if (!checked) members.wrong("stream", "a relative path");
}

void append_length(std::string& frame, std::size_t length) {
    for (int shift = 24; shift >= 0; shift -= 8)
        frame.push_back(static_cast<char>((length >> shift) & 0xff));
}

std::uint32_t read_length(std::string_view bytes) {
    std::uint32_t length = 0;
    for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    return length;
}

std::string frame_of(const Json& json, std::string_view tail) {
    std::string text = json.dump();
    std::string frame;
    frame.reserve(8 + text.size() + tail.size());
    append_length(frame, text.size());
    append_length(frame, tail.size());
    frame += text;
    frame += tail;
    return frame;
}

// Writes the members of an object as text, for the messages that go with every attempt: building a
// Json first would take several times as long.
class Fields {
public:
    explicit Fields(std::string& out) : out_(out) { out_ += '{'; }
    Fields& text(std::string_view name, std::string_view value) {
        begin(name);
        Json(value).dump_to(out_);
        return *this;
    }
    Fields& number(std::string_view name, std::int64_t value) {
        begin(name);
        out_ += std::to_string(value);
        return *this;
    }
    Fields& json(std::string_view name, const Json& value) {
        begin(name);
        value.dump_to(out_);
        return *this;
    }
    Fields& id(const AttemptId& id) {
        begin("id");
        Fields inner(out_);
        inner.text("workspace", id.workspace)
            .text("job", id.job)
            .number("attempt", id.attempt)
            .end();
        return *this;
    }
    Fields& durations(const Durations& durations) {
        begin("durations");
        Fields inner(out_);
        inner.number("snapshot", durations.snapshot.count())
            .number("environment", durations.environment.count())
            .number("inputs", durations.inputs.count())
            .number("waiting", durations.waiting.count())
            .number("user_code", durations.user_code.count())
            .number("outputs", durations.outputs.count())
            .end();
        return *this;
    }
    Fields& ending(const Ending& ending) {
        begin("ending");
        Fields inner(out_);
        inner.text("cause", name_of(ending.cause))
            .number("exit_code", ending.exit_code)
            .number("signal", ending.signal)
            .text("message", ending.message)
            .json("last_lines", texts_to_json(ending.last_lines))
            .number("peak_memory_bytes", ending.peak_memory_bytes)
            .durations(ending.durations)
            .end();
        return *this;
    }
    void end() { out_ += '}'; }

private:
    // Names are ours: nothing in them needs escaping.
    void begin(std::string_view name) {
        if (out_.back() != '{') out_ += ',';
        out_ += '"';
        out_ += name;
        out_ += "\":";
    }
    std::string& out_;
};

// A frame whose JSON `write` writes.
template <class Write>
std::string written_frame(std::string_view tail, const Write& write) {
    std::string frame(8, '\0');
    frame.reserve(512 + tail.size());
    Fields fields(frame);
    write(fields);
    fields.end();
    std::string lengths;
    append_length(lengths, frame.size() - 8);
    append_length(lengths, tail.size());
    frame.replace(0, 8, lengths);
    frame += tail;
    return frame;
}

struct EncodeToServer {
    std::string operator()(const Hello& hello) const {
        Json attempts = Json::array();
        for (const auto& id : hello.attempts) attempts.push(to_json(id));
        return frame_of(Json::object({{"type", "hello"},
                                      {"protocol", hello.protocol},
                                      {"build", hello.build},
                                      {"node", hello.node},
                                      {"boot_id", hello.boot_id},
                                      {"pid", hello.pid},
                                      {"cores", hello.cores},
                                      {"memory_bytes", hello.memory_bytes},
                                      {"attempts", std::move(attempts)}}),
                        "");
    }
    std::string operator()(const PhaseReport& report) const {
        return written_frame("", [&](Fields& fields) {
            fields.text("type", "phase")
                .id(report.id)
                .text("phase", name_of(report.phase))
                .text("detail", report.detail)
                .number("running_for", report.running_for.count())
                .durations(report.durations);
        });
    }
    std::string operator()(const EndReport& report) const {
        return written_frame("", [&](Fields& fields) {
            fields.text("type", "end").id(report.id).ending(report.ending);
        });
    }
    std::string operator()(const LogChunk& chunk) const {
        return written_frame(chunk.bytes, [&](Fields& fields) {
            fields.text("type", "log")
                .id(chunk.id)
                .text("stream", chunk.stream)
                .number("offset", static_cast<std::int64_t>(chunk.offset));
        });
    }
    std::string operator()(const Pong& pong) const {
        return frame_of(Json::object({{"type", "pong"}, {"sequence", pong.sequence}}), "");
    }
};

struct EncodeToAgent {
    std::string operator()(const Welcome& welcome) const {
        Json json = Json::object(
            {{"type", "welcome"}, {"lost_node_after", welcome.lost_node_after.count()}});
        if (welcome.max_running != 0) json.set("max_running", welcome.max_running);
        return frame_of(json, "");
    }
    std::string operator()(const Base& base) const {
        return frame_of(Json::object({{"type", "base"}, {"hash", base.hash}, {"task", base.task}}),
                        "");
    }
    std::string operator()(const Lease& lease) const {
        return written_frame("", [&](Fields& fields) {
            fields.text("type", "lease").id(lease.id).json("task", lease.task);
            if (!lease.base.empty()) fields.text("base", lease.base);
        });
    }
    std::string operator()(const Cancel& cancel) const {
        Json json = Json::object({{"type", "cancel"},
                                  {"id", to_json(cancel.id)},
                                  {"cause", name_of(cancel.cause)},
                                  {"grace", cancel.grace.count()}});
        if (cancel.only_if_waiting) json.set("only_if_waiting", true);
        return frame_of(json, "");
    }
    std::string operator()(const LogAck& ack) const {
        return written_frame("", [&](Fields& fields) {
            fields.text("type", "log_ack")
                .id(ack.id)
                .text("stream", ack.stream)
                .number("offset", static_cast<std::int64_t>(ack.offset));
        });
    }
    std::string operator()(const EndAck& ack) const {
        return written_frame("",
                             [&](Fields& fields) { fields.text("type", "end_ack").id(ack.id); });
    }
    std::string operator()(const Leave&) const {
        return frame_of(Json::object({{"type", "leave"}}), "");
    }
    std::string operator()(const Ping& ping) const {
        return frame_of(Json::object({{"type", "ping"}, {"sequence", ping.sequence}}), "");
    }
};

// `task` with the members of `json` in place of its own.
Result<TaskSpec> with_members(TaskSpec task, const Json& json) {
    Members members(json, "task");
    members.text("command", task.command);
    members.object("code", task.code, optional_folder_from_json);
    members.text("code_hash", task.code_hash, 255);
    members.object("environment", task.environment, environment_from_json);
    if (members.find("inputs")) task.inputs.clear();
    members.each("inputs", kMaxListed, [&](const Json& item) {
        members.accept(input_from_json(item), task.inputs.emplace_back());
    });
    if (members.find("outputs")) task.outputs.clear();
    members.each("outputs", kMaxListed, [&](const Json& item) {
        members.accept(output_from_json(item), task.outputs.emplace_back());
    });
    members.pairs("variables", task.variables);
    members.object("artifacts", task.artifacts, folder_from_json);
    members.span("timeout", task.timeout);
    members.number("memory_limit_bytes", task.memory_limit_bytes);
    members.number("cpu_limit_millicores", task.cpu_limit_millicores);
    if (members.find("run_token")) {
        std::string token;
        members.text("run_token", token);
        task.run_token = Secret(std::move(token));
    }
    members.text("mlflow_path", task.mlflow_path);
    members.text("mlflow_experiment_id", task.mlflow_experiment_id);
    members.pairs("parameters", task.parameters);
    members.text("distribution", task.distribution, 64);
    members.number("node_count", task.node_count);
    members.number("rank", task.rank);
    members.number("processes", task.processes);
    members.number("worker_count", task.worker_count);
    members.number("parameter_servers", task.parameter_servers);
    members.text("master_address", task.master_address, 1024);
    members.number("master_port", task.master_port);
    members.number("shm_size_bytes", task.shm_size_bytes);
    members.boolean("prefill_outputs", task.prefill_outputs);
    // What would start nothing, or be out of its own range, is refused here and not met later.
    if (task.node_count < 1) members.wrong("node_count", "a number above 0");
    if (task.processes < 1) members.wrong("processes", "a number above 0");
    if (task.rank < 0 || task.rank >= task.node_count)
        members.wrong("rank", "a number below node_count");
    if (task.worker_count < 0) members.wrong("worker_count", "a number that is not negative");
    if (task.parameter_servers < 0)
        members.wrong("parameter_servers", "a number that is not negative");
    if (task.master_port < 0 || task.master_port > 65535) members.wrong("master_port", "a port");
    if (task.shm_size_bytes < 0) members.wrong("shm_size_bytes", "a number that is not negative");
    return members.finish(std::move(task));
}

template <class Each>
void for_each_text(BlobFolder& folder, const Each& each) {
    each(folder.container);
    each(folder.prefix);
}

template <class Each>
void for_each_text(std::vector<std::pair<std::string, std::string>>& pairs, const Each& each) {
    for (auto& [name, value] : pairs) {
        each(name);
        each(value);
    }
}

// Every text of a task; the run token is none: it belongs to one attempt.
template <class Each>
void for_each_text(TaskSpec& task, const Each& each) {
    each(task.command);
    if (task.code) for_each_text(*task.code, each);
    each(task.code_hash);
    TaskEnvironment& environment = task.environment;
    for (std::string* text : {&environment.name, &environment.hash, &environment.interpreter,
                              &environment.python_version})
        each(*text);
    for (auto& line : environment.requirements) each(line);
    for (auto& line : environment.notices) each(line);
    for_each_text(environment.variables, each);
    for (auto& input : task.inputs) {
        for (std::string* text :
             {&input.name, &input.type, &input.mode, &input.literal, &input.uri})
            each(*text);
        if (input.blobs) for_each_text(*input.blobs, each);
        if (input.local_path) each(*input.local_path);
    }
    for (auto& output : task.outputs) {
        for (std::string* text : {&output.name, &output.type, &output.mode}) each(*text);
        for_each_text(output.target, each);
    }
    for_each_text(task.variables, each);
    for_each_text(task.artifacts, each);
    each(task.mlflow_path);
    each(task.mlflow_experiment_id);
    for_each_text(task.parameters, each);
    each(task.distribution);
    each(task.master_address);
}

// An offset plus what follows it must stay a number.
void check_offset(Members& members, std::uint64_t offset) {
    if (offset > (std::uint64_t{1} << 62)) members.wrong("offset", "a number in range");
}

template <class Variant, class T>
Result<Variant> as(Result<T> result) {
    if (!result) return Failure(std::move(result).error());
    return Variant(std::move(*result));
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

std::string encode(const ToServer& message) {
    return std::visit(EncodeToServer{}, message);
}
std::string encode(const ToAgent& message) {
    return std::visit(EncodeToAgent{}, message);
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

Unreadable look_at_unreadable(const FrameReader::Frame& frame) {
    Unreadable seen;
    const auto json = parse_json(frame.json);
    if (!json || !json->is_object()) return seen;
    seen.type = json->at("type").as_string();
    if (auto id = attempt_from_json(json->at("id"))) seen.id = std::move(*id);
    return seen;
}

Result<ToServer> decode_to_server(const FrameReader::Frame& frame) {
    Json json = TURNOUT_TRY(parse_json(frame.json));
    Members members(json, "message");
    std::string type;
    members.text("type", type);
    if (type == "hello") {
        Hello hello;
        members.number("protocol", hello.protocol);
        members.text("build", hello.build, 255);
        members.text("node", hello.node, 1024);
        members.text("boot_id", hello.boot_id, 255);
        members.number("pid", hello.pid);
        members.number("cores", hello.cores);
        members.number("memory_bytes", hello.memory_bytes);
        members.each("attempts", kMaxAttempts, [&](const Json& item) {
            members.accept(attempt_from_json(item), hello.attempts.emplace_back());
        });
        return as<ToServer>(members.finish(std::move(hello)));
    }
    if (type == "phase") {
        PhaseReport report;
        members.accept(attempt_from_json(json.at("id")), report.id);
        std::string phase;
        members.text("phase", phase);
        members.accept(parse_phase(phase), report.phase);
        members.text("detail", report.detail);
        members.span("running_for", report.running_for);
        members.object("durations", report.durations, durations_from_json);
        return as<ToServer>(members.finish(std::move(report)));
    }
    if (type == "end") {
        EndReport report;
        members.accept(attempt_from_json(json.at("id")), report.id);
        members.accept(ending_from_json(json.at("ending")), report.ending);
        return as<ToServer>(members.finish(std::move(report)));
    }
    if (type == "log") {
        LogChunk chunk;
        members.accept(attempt_from_json(json.at("id")), chunk.id);
        read_stream(members, chunk.stream);
        members.number("offset", chunk.offset);
        check_offset(members, chunk.offset);
        chunk.bytes = frame.tail;
        return as<ToServer>(members.finish(std::move(chunk)));
    }
    if (type == "pong") {
        Pong pong;
        members.number("sequence", pong.sequence);
        return as<ToServer>(members.finish(pong));
    }
    return invalid("unknown message '" + type.substr(0, 64) + "' from an agent");
}

Result<ToAgent> decode_to_agent(const FrameReader::Frame& frame) {
    Json json = TURNOUT_TRY(parse_json(frame.json));
    Members members(json, "message");
    std::string type;
    members.text("type", type);
    if (type == "welcome") {
        Welcome welcome;
        members.span("lost_node_after", welcome.lost_node_after);
        members.number("max_running", welcome.max_running);
        if (welcome.max_running < 0) members.wrong("max_running", "a number that is not negative");
        return as<ToAgent>(members.finish(welcome));
    }
    if (type == "base") {
        Base base;
        members.required_text("hash", base.hash, 255);
        base.task = json.at("task");
        if (!base.task.is_object()) members.wrong("task", "an object");
        return as<ToAgent>(members.finish(std::move(base)));
    }
    if (type == "lease") {
        Lease lease;
        members.accept(attempt_from_json(json.at("id")), lease.id);
        if (Json* task = json.find("task")) lease.task = std::move(*task);
        if (!lease.task.is_object()) members.wrong("task", "an object");
        members.text("base", lease.base, 255);
        return as<ToAgent>(members.finish(std::move(lease)));
    }
    if (type == "cancel") {
        Cancel cancel;
        members.accept(attempt_from_json(json.at("id")), cancel.id);
        std::string cause(name_of(cancel.cause));
        members.text("cause", cause);
        members.accept(parse_cause(cause), cancel.cause);
        members.span("grace", cancel.grace);
        members.boolean("only_if_waiting", cancel.only_if_waiting);
        return as<ToAgent>(members.finish(std::move(cancel)));
    }
    if (type == "log_ack") {
        LogAck ack;
        members.accept(attempt_from_json(json.at("id")), ack.id);
        read_stream(members, ack.stream);
        members.number("offset", ack.offset);
        check_offset(members, ack.offset);
        return as<ToAgent>(members.finish(std::move(ack)));
    }
    if (type == "end_ack") {
        EndAck ack;
        members.accept(attempt_from_json(json.at("id")), ack.id);
        return as<ToAgent>(members.finish(std::move(ack)));
    }
    if (type == "leave") return as<ToAgent>(members.finish(Leave{}));
    if (type == "ping") {
        Ping ping;
        members.number("sequence", ping.sequence);
        return as<ToAgent>(members.finish(ping));
    }
    return invalid("unknown message '" + type.substr(0, 64) + "' from the server");
}

Json to_json(const TaskSpec& task) {
    Json json = Json::object({{"command", task.command}});
    if (task.code) json.set("code", to_json(*task.code));
    json.set("code_hash", task.code_hash);
    json.set("environment", to_json(task.environment));
    Json inputs = Json::array();
    for (const auto& input : task.inputs) inputs.push(to_json(input));
    json.set("inputs", std::move(inputs));
    Json outputs = Json::array();
    for (const auto& output : task.outputs) outputs.push(to_json(output));
    json.set("outputs", std::move(outputs));
    json.set("variables", pairs_to_json(task.variables));
    json.set("artifacts", to_json(task.artifacts));
    json.set("timeout", task.timeout.count());
    json.set("memory_limit_bytes", task.memory_limit_bytes);
    json.set("cpu_limit_millicores", task.cpu_limit_millicores);
    // The one place where it travels: server to node, on the authenticated link.
    if (!task.run_token.empty()) json.set("run_token", task.run_token.reveal());
    json.set("mlflow_path", task.mlflow_path);
    json.set("mlflow_experiment_id", task.mlflow_experiment_id);
    json.set("parameters", pairs_to_json(task.parameters));
    json.set("distribution", task.distribution);
    json.set("node_count", task.node_count);
    json.set("rank", task.rank);
    json.set("processes", task.processes);
    json.set("worker_count", task.worker_count);
    json.set("parameter_servers", task.parameter_servers);
    json.set("master_address", task.master_address);
    json.set("master_port", task.master_port);
    json.set("shm_size_bytes", task.shm_size_bytes);
    json.set("prefill_outputs", task.prefill_outputs);
    return json;
}

Result<TaskSpec> task_from_json(const Json& json) {
    return with_members(TaskSpec{}, json);
}

Result<TaskSpec> expand_task(TaskSpec base, const Json& own, const AttemptId& id) {
    for_each_text(base, [&](std::string& text) { replace_all(text, kJobPlaceholder, id.job); });
    TaskSpec task = TURNOUT_TRY(with_members(std::move(base), own));
    for (const auto& [name, value] : task.parameters)
        task.variables.emplace_back("AZUREML_SWEEP_" + name, value);
    return task;
}

}  // namespace turnout::agent_protocol

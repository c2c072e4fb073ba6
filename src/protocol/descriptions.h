// What each message of the agent protocol is made of: its members, in the order of the wire, with
// their limits. Private to protocol/; visitors.h says who walks over this.
#pragma once

#include "base/text.h"
#include "protocol/secret_reference.h"
#include "protocol/visitors.h"

namespace turnout::agent_protocol {

inline constexpr std::size_t kMaxAttempts = 100'000;

std::string_view name_of(TaskEnvironment::Kind kind);
// The third argument only says which.
Result<Phase> parse_choice(std::string_view text, Phase);
Result<Cause> parse_choice(std::string_view text, Cause);
Result<TaskEnvironment::Kind> parse_choice(std::string_view text, TaskEnvironment::Kind);
Result<Probe::Kind> parse_choice(std::string_view text, Probe::Kind);
Result<Restart::When> parse_choice(std::string_view text, Restart::When);

template <>
inline constexpr std::string_view kCalled<AttemptId> = "id";
template <>
inline constexpr std::string_view kCalled<Gpu> = "gpu";
template <>
inline constexpr std::string_view kCalled<Facts> = "facts";
template <>
inline constexpr std::string_view kCalled<Durations> = "durations";
template <>
inline constexpr std::string_view kCalled<Ending> = "ending";
template <>
inline constexpr std::string_view kCalled<BlobFolder> = "blobs";
template <>
inline constexpr std::string_view kCalled<TaskInput> = "input";
template <>
inline constexpr std::string_view kCalled<TaskOutput> = "output";
template <>
inline constexpr std::string_view kCalled<TaskEnvironment> = "environment";
template <>
inline constexpr std::string_view kCalled<Probe> = "service.probe";
template <>
inline constexpr std::string_view kCalled<Restart> = "service.restart";
template <>
inline constexpr std::string_view kCalled<ServiceSpec> = "service";
template <>
inline constexpr std::string_view kCalled<TaskSpec> = "task";
template <>
inline constexpr std::string_view kCalled<SecretValue> = "secret";

// The member `type` of each message.
template <class T>
inline constexpr std::string_view kType = "";
template <>
inline constexpr std::string_view kType<Hello> = "hello";
template <>
inline constexpr std::string_view kType<PhaseReport> = "phase";
template <>
inline constexpr std::string_view kType<EndReport> = "end";
template <>
inline constexpr std::string_view kType<LogChunk> = "log";
template <>
inline constexpr std::string_view kType<Pong> = "pong";
template <>
inline constexpr std::string_view kType<Broken> = "broken";
template <>
inline constexpr std::string_view kType<Welcome> = "welcome";
template <>
inline constexpr std::string_view kType<Base> = "base";
template <>
inline constexpr std::string_view kType<Lease> = "lease";
template <>
inline constexpr std::string_view kType<Cancel> = "cancel";
template <>
inline constexpr std::string_view kType<LogAck> = "log_ack";
template <>
inline constexpr std::string_view kType<EndAck> = "end_ack";
template <>
inline constexpr std::string_view kType<Leave> = "leave";
template <>
inline constexpr std::string_view kType<Ping> = "ping";
template <>
inline constexpr std::string_view kType<Reach> = "reach";

// ---- parts

template <class V, Of<AttemptId> S>
void describe(V& visit, S& id) {
    visit.text("workspace", id.workspace, {.limit = kMaxIdText, .required = true});
    visit.text("job", id.job, {.limit = kMaxIdText, .required = true});
    visit.number("attempt", id.attempt);
    visit.check(id.attempt >= 0, "attempt", "a number that is not negative");
}

template <class V, Of<Durations> S>
void describe(V& visit, S& durations) {
    visit.span("snapshot", durations.snapshot);
    visit.span("environment", durations.environment);
    visit.span("inputs", durations.inputs);
    visit.span("waiting", durations.waiting);
    visit.span("user_code", durations.user_code);
    visit.span("outputs", durations.outputs);
}

template <class V, Of<Ending> S>
void describe(V& visit, S& ending) {
    visit.choice("cause", ending.cause);
    visit.number("exit_code", ending.exit_code);
    visit.number("signal", ending.signal);
    visit.text("message", ending.message);
    visit.texts("last_lines", ending.last_lines);
    visit.number("peak_memory_bytes", ending.peak_memory_bytes);
    visit.object("durations", ending.durations);
}

template <class V, Of<Gpu> S>
void describe(V& visit, S& gpu) {
    visit.text("model", gpu.model, {.limit = 255});
    visit.number("memory_bytes", gpu.memory_bytes);
    visit.check(gpu.memory_bytes >= 0, "memory_bytes", "a number that is not negative");
}

template <class V, Of<Facts> S>
void describe(V& visit, S& facts) {
    visit.text("host", facts.host, {.limit = 255, .sparse = true});
    visit.text("address", facts.address, {.limit = 255, .sparse = true});
    visit.number("cores", facts.cores, {.sparse = true});
    visit.check(facts.cores >= 0, "cores", "a number that is not negative");
    visit.number("memory_bytes", facts.memory_bytes, {.sparse = true});
    visit.check(facts.memory_bytes >= 0, "memory_bytes", "a number that is not negative");
    visit.number("cpu_limit_millicores", facts.cpu_limit_millicores, {.sparse = true});
    visit.check(facts.cpu_limit_millicores >= 0, "cpu_limit_millicores",
                "a number that is not negative");
    visit.number("memory_limit_bytes", facts.memory_limit_bytes, {.sparse = true});
    visit.check(facts.memory_limit_bytes >= 0, "memory_limit_bytes",
                "a number that is not negative");
    visit.objects("gpus", facts.gpus, {.limit = 1000});
    visit.texts("pythons", facts.pythons);
    visit.text("container_engine", facts.container_engine, {.limit = 64, .sparse = true});
    visit.number("free_disk_bytes", facts.free_disk_bytes, {.sparse = true});
    visit.check(facts.free_disk_bytes >= 0, "free_disk_bytes", "a number that is not negative");
    visit.text("image", facts.image, {.limit = 1024, .sparse = true});
}

// The stream becomes a path among the job's artifacts, and an offset plus what follows it must stay
// a number: both are checked where they enter.
template <class V, class Text, class Number>
void describe_place_in_log(V& visit, Text& stream, Number& offset) {
    visit.text("stream", stream, {.limit = 1024, .required = true});
    if constexpr (V::kReads)
        visit.check(checked_relative_path(stream, "stream").has_value(), "stream",
                    "a relative path");
    visit.number("offset", offset);
    visit.check(offset <= (std::uint64_t{1} << 62), "offset", "a number in range");
}

// ---- agent to server

template <class V, Of<Hello> S>
void describe(V& visit, S& hello) {
    visit.number("protocol", hello.protocol);
    visit.text("build", hello.build, {.limit = 255});
    visit.text("node", hello.node, {.limit = 1024});
    if (hello.protocol > kVersion) return;  // what else it says, nobody here knows
    visit.text("boot_id", hello.boot_id, {.limit = 255});
    visit.number("pid", hello.pid);
    if (hello.protocol < 2) {
        visit.number("cores", hello.facts.cores);
        visit.number("memory_bytes", hello.facts.memory_bytes);
    } else {
        visit.object("facts", hello.facts);
    }
    visit.objects("attempts", hello.attempts, {.limit = kMaxAttempts});
}

template <class V, Of<PhaseReport> S>
void describe(V& visit, S& report) {
    visit.object("id", report.id, {.required = true});
    visit.choice("phase", report.phase, {.required = true});
    visit.text("detail", report.detail);
    visit.span("running_for", report.running_for);
    visit.object("durations", report.durations);
}

template <class V, Of<EndReport> S>
void describe(V& visit, S& report) {
    visit.object("id", report.id, {.required = true});
    visit.object("ending", report.ending, {.required = true});
}

template <class V, Of<LogChunk> S>
void describe(V& visit, S& chunk) {
    visit.object("id", chunk.id, {.required = true});
    describe_place_in_log(visit, chunk.stream, chunk.offset);
    visit.tail(chunk.bytes);
}

template <class V, Of<Pong> S>
void describe(V& visit, S& pong) {
    visit.number("sequence", pong.sequence);
}

template <class V, Of<Broken> S>
void describe(V& visit, S& broken) {
    visit.text("why", broken.why, {.limit = 4096});
}

// ---- server to agent

template <class V, Of<Welcome> S>
void describe(V& visit, S& welcome) {
    visit.span("lost_node_after", welcome.lost_node_after);
    visit.number("max_running", welcome.max_running, {.sparse = true});
    visit.check(welcome.max_running >= 0, "max_running", "a number that is not negative");
}

template <class V, Of<Base> S>
void describe(V& visit, S& base) {
    visit.text("hash", base.hash, {.limit = 255, .required = true});
    visit.json("task", base.task);
}

template <class V, Of<Lease> S>
void describe(V& visit, S& lease) {
    visit.object("id", lease.id, {.required = true});
    visit.json("task", lease.task);
    visit.text("base", lease.base, {.limit = 255, .sparse = true});
    visit.objects("secrets", lease.secrets, {.limit = kMaxListed, .sparse = true});
}

template <class V, Of<Cancel> S>
void describe(V& visit, S& cancel) {
    visit.object("id", cancel.id, {.required = true});
    visit.choice("cause", cancel.cause);
    visit.span("grace", cancel.grace);
    visit.yes_no("only_if_waiting", cancel.only_if_waiting, {.sparse = true});
}

template <class V, Of<LogAck> S>
void describe(V& visit, S& ack) {
    visit.object("id", ack.id, {.required = true});
    describe_place_in_log(visit, ack.stream, ack.offset);
}

template <class V, Of<EndAck> S>
void describe(V& visit, S& ack) {
    visit.object("id", ack.id, {.required = true});
}

template <class V, Of<Leave> S>
void describe(V&, S&) {}

template <class V, Of<Ping> S>
void describe(V& visit, S& ping) {
    visit.number("sequence", ping.sequence);
}

template <class V, Of<Reach> S>
void describe(V& visit, S& reach) {
    visit.object("id", reach.id, {.required = true});
    visit.text("channel", reach.channel, {.limit = 64, .required = true});
    visit.check(is_channel(reach.channel), "channel", "letters, digits and '-'");
}

// ---- what a lease carries

template <class V, Of<SecretValue> S>
void describe(V& visit, S& secret) {
    visit.text("name", secret.name, {.limit = kMaxSecretName, .required = true});
    visit.secret("value", secret.value);
}

template <class V, Of<BlobFolder> S>
void describe(V& visit, S& folder) {
    visit.text("container", folder.container, {.limit = 255});
    visit.text("prefix", folder.prefix, {.limit = kMaxBlobName});
}

template <class V, Of<TaskInput> S>
void describe(V& visit, S& input) {
    visit.text("name", input.name, {.limit = 1024, .required = true});
    visit.text("type", input.type);
    visit.text("mode", input.mode);
    visit.text("literal", input.literal, {.sparse = true});
    visit.optional_object("blobs", input.blobs);
    visit.optional_text("local_path", input.local_path);
    visit.yes_no("fetch", input.fetch, {.sparse = true});
    visit.text("uri", input.uri, {.sparse = true});
}

template <class V, Of<TaskOutput> S>
void describe(V& visit, S& output) {
    visit.text("name", output.name, {.limit = 1024, .required = true});
    visit.text("type", output.type);
    visit.text("mode", output.mode);
    visit.object("target", output.target);
}

template <class V, Of<TaskEnvironment> S>
void describe(V& visit, S& environment) {
    visit.text("name", environment.name);
    visit.text("hash", environment.hash, {.limit = 255});
    visit.choice("kind", environment.kind);
    visit.text("interpreter", environment.interpreter);
    visit.text("python_version", environment.python_version);
    visit.texts("requirements", environment.requirements);
    visit.texts("notices", environment.notices);
    visit.pairs("variables", environment.variables);
    visit.text("image", environment.image, {.limit = 1024, .sparse = true});
}

template <class V, Of<Probe> S>
void describe(V& visit, S& probe) {
    const auto is_pause = [](Span span) { return span >= 50ms && span <= 24h; };
    visit.choice("kind", probe.kind);
    visit.text("path", probe.path, {.limit = kMaxBlobName});
    visit.check(is_probe_path(probe.path), "path", "a path that begins with '/', without spaces");
    visit.span("initial_delay", probe.initial_delay);
    visit.check(probe.initial_delay <= 24h, "initial_delay", "no more than 24 h");
    visit.span("interval", probe.interval);
    visit.check(is_pause(probe.interval), "interval", "from 50 ms to 24 h");
    visit.span("timeout", probe.timeout);
    visit.check(is_pause(probe.timeout), "timeout", "from 50 ms to 24 h");
    visit.number("failures", probe.failures);
    visit.check(probe.failures >= 1, "failures", "a number above 0");
}

template <class V, Of<Restart> S>
void describe(V& visit, S& restart) {
    visit.choice("when", restart.when);
    visit.span("first", restart.first);
    visit.check(restart.first >= 50ms, "first", "no less than 50 ms");
    visit.span("longest", restart.longest);
    visit.check(restart.longest >= restart.first && restart.longest <= 24h, "longest",
                "no less than the first pause, and no more than 24 h");
}

template <class V, Of<ServiceSpec> S>
void describe(V& visit, S& service) {
    visit.number("port", service.port);
    visit.check(service.port >= 0 && service.port <= 65535, "port", "a port, or 0");
    visit.object("probe", service.probe);
    visit.object("restart", service.restart);
    visit.span("unready_limit", service.unready_limit);
}

// What would start nothing, or be out of its own range, is refused here and not met later.
template <class V, Of<TaskSpec> S>
void describe(V& visit, S& task) {
    visit.text("command", task.command);
    visit.optional_object("code", task.code);
    visit.text("code_hash", task.code_hash, {.limit = 255});
    visit.object("environment", task.environment);
    visit.objects("inputs", task.inputs, {.limit = kMaxListed});
    visit.objects("outputs", task.outputs, {.limit = kMaxListed});
    visit.pairs("variables", task.variables);
    visit.object("artifacts", task.artifacts);
    visit.span("timeout", task.timeout);
    visit.number("memory_limit_bytes", task.memory_limit_bytes);
    visit.number("cpu_limit_millicores", task.cpu_limit_millicores);
    visit.secret("run_token", task.run_token);
    visit.text("mlflow_path", task.mlflow_path);
    visit.text("mlflow_experiment_id", task.mlflow_experiment_id);
    visit.pairs("parameters", task.parameters);
    visit.text("distribution", task.distribution, {.limit = 64});
    visit.number("node_count", task.node_count);
    visit.check(task.node_count >= 1, "node_count", "a number above 0");
    visit.number("rank", task.rank);
    visit.check(task.rank >= 0 && task.rank < task.node_count, "rank", "a number below node_count");
    visit.number("processes", task.processes);
    visit.check(task.processes >= 1, "processes", "a number above 0");
    visit.number("worker_count", task.worker_count);
    visit.check(task.worker_count >= 0, "worker_count", "a number that is not negative");
    visit.number("parameter_servers", task.parameter_servers);
    visit.check(task.parameter_servers >= 0, "parameter_servers", "a number that is not negative");
    visit.text("master_address", task.master_address, {.limit = 1024});
    visit.number("master_port", task.master_port);
    visit.check(task.master_port >= 0 && task.master_port <= 65535, "master_port", "a port");
    visit.number("shm_size_bytes", task.shm_size_bytes);
    visit.check(task.shm_size_bytes >= 0, "shm_size_bytes", "a number that is not negative");
    visit.yes_no("prefill_outputs", task.prefill_outputs);
    visit.optional_object("service", task.service);
    visit.texts("secrets", task.secrets, {.sparse = true});
}

}  // namespace turnout::agent_protocol

#include "provider/container/engine.h"

#include <algorithm>

#include "base/text.h"
#include "io/posix/http_client.h"
#include "provider/container/settings.h"
#include "provider/container/wire.h"

namespace turnout {

namespace {

constexpr std::size_t kLongestAnswer = 16 << 20;
constexpr Span kUsualTime = 60s;     // of an answer
constexpr Span kPullSilence = 5min;  // of a pull that says nothing
constexpr Span kBuildSilence = 1h;   // of a step
constexpr std::int64_t kCpuPeriod = 100'000;
constexpr std::size_t kShownOfLog = 3000;

// What a program in a container says, without the engine's frames.
class ExecStream final : public http::Stream {
public:
    explicit ExecStream(std::unique_ptr<http::Stream> inner) : inner_(std::move(inner)) {}
    Task<Result<std::string>> read() override {
        for (;;) {
            if (std::string bytes = frames_.take_output(); !bytes.empty()) co_return bytes;
            TURNOUT_CO_TRY(const std::string bytes, co_await inner_->read());
            if (bytes.empty()) {
                if (!frames_.last_words().empty())
                    co_return fail(
                        Code::Unavailable, "Ended",
                        "the relay in the container ended: " + shown(trim(frames_.last_words())));
                co_return std::string();
            }
            TURNOUT_CO_TRY_VOID(frames_.give(bytes));
        }
    }
    Task<Result<void>> write(std::string bytes) override {
        co_return co_await inner_->write(std::move(bytes));
    }
    void close() override { inner_->close(); }

private:
    std::unique_ptr<http::Stream> inner_;
    ExecFrames frames_;
};

// {"message": "…"}, Podman's {"cause": …, "message": …}, or text.
std::string words_of(const std::string& body) {
    if (const Result<Json> json = parse_json(body))
        if (const std::string message = json->at("message").as_string(); !message.empty())
            return shown(message.substr(0, 1000));
    return shown(trim(std::string_view(body).substr(0, 1000)));
}

Failure refused_by(const std::string& what, int status, const std::string& body) {
    const Code code = status == 404   ? Code::NotFound
                      : status == 409 ? Code::Conflict
                      : status < 500  ? Code::InvalidArgument
                                      : Code::Unavailable;
    return fail(code, "EngineSays",
                what + ": the engine says: " +
                    (body.empty() ? "HTTP " + std::to_string(status) : words_of(body)));
}

// A registry's no is a no; a registry that is away may come back.
bool is_final(std::string_view why) {
    const std::string lower = to_lower(why);
    for (const std::string_view word : {"not found", "manifest unknown", "denied", "unauthorized",
                                        "no basic auth", "invalid reference", "does not exist",
                                        "no matching manifest", "repository name", "no such image"})
        if (lower.find(word) != std::string::npos) return true;
    return false;
}

}  // namespace

Engine::Engine(AsioLoop& loop, std::string socket) : socket_(std::move(socket)) {
    http::ClientOptions options;
    options.unix_socket = socket_;
    options.connect_timeout = 5s;
    options.idle_for = 5s;  // an engine that was started anew has closed them
    client_ = http::make_client(loop, std::move(options));
}

http::ClientRequest Engine::request(std::string method, std::string url) const {
    http::ClientRequest one;
    one.method = std::move(method);
    one.url = std::move(url);
    one.timeout = kUsualTime;
    return one;
}

Task<Result<Engine::Answer>> Engine::ask(http::ClientRequest request) {
    Result<http::ClientResponse> response = co_await client_->send(std::move(request));
    if (!response) {
        Error why = response.error();
        why.code = Code::Unavailable;  // all that is asked for may be asked for again
        why.message = "the engine at " + socket_ + " does not answer: " + why.message;
        co_return Failure(std::move(why));
    }
    Answer answer;
    answer.status = response->status;
    if (response->body) {
        Result<std::string> body = co_await response->body->all(kLongestAnswer);
        if (!body) {
            Error why = body.error();
            why.code = Code::Unavailable;
            co_return Failure(std::move(why));
        }
        answer.body = std::move(*body);
    }
    co_return answer;
}

Task<Result<Json>> Engine::look() {
    TURNOUT_CO_TRY(const Answer version, co_await ask(request("GET", "/version")));
    if (version.status != 200)
        co_return refused_by("asking for its version", version.status, version.body);
    TURNOUT_CO_TRY(const Json about, parse_json(version.body));
    TURNOUT_CO_TRY(const Answer answer, co_await ask(request("GET", "/info")));
    if (answer.status != 200) co_return refused_by("asking what it is", answer.status, answer.body);
    TURNOUT_CO_TRY(const Json info, parse_json(answer.body));
    std::string name = "Docker";
    for (const Json& part : about.at("Components").items())
        if (part.at("Name").as_view().starts_with("Podman")) name = "Podman";
    Json limits = Json::array();
    for (const auto& [member, called] :
         {std::pair{"MemoryLimit", "memory"}, {"CpuCfsQuota", "cpu"}, {"PidsLimit", "pids"}})
        if (info.at(member).as_bool()) limits.push(called);
    co_return Json::object({{"name", name},
                            {"version", about.at("Version").as_string()},
                            {"api", about.at("ApiVersion").as_string()},
                            {"cores", info.at("NCPU").as_int()},
                            {"memoryBytes", info.at("MemTotal").as_int()},
                            {"cgroup", info.at("CgroupVersion").as_string("1") + " (" +
                                           info.at("CgroupDriver").as_string() + ")"},
                            {"machine", info.at("Architecture").as_string()},
                            {"root", info.at("DockerRootDir").as_string()},
                            {"images", info.at("Images").as_int()},
                            {"nvidia", info.at("Runtimes").has("nvidia")},
                            {"limits", std::move(limits)}});
}

Task<Result<Json>> Engine::image(std::string name) {
    const std::string url = "/images/" + percent_encode(name, "/:") + "/json";
    TURNOUT_CO_TRY(const Answer answer, co_await ask(request("GET", url)));
    if (answer.status != 200)
        co_return refused_by("image '" + name + "'", answer.status, answer.body);
    co_return parse_json(answer.body);
}

Task<Result<void>> Engine::pull(std::string name, std::function<void(std::string)> says) {
    const auto [repository, tag] = split_image(name);
    http::ClientRequest wanted =
        request("POST", "/images/create?fromImage=" + percent_encode(repository) +
                            (tag.empty() ? "" : "&tag=" + percent_encode(tag)));
    wanted.timeout = kPullSilence;
    const std::string what = "image '" + name + "' cannot be pulled";
    Result<http::ClientResponse> response = co_await client_->send(std::move(wanted));
    if (!response)
        co_return fail(Code::Unavailable, "EngineSays", what + ": " + response.error().message);
    std::function<bool(std::string)> hears = [says = std::move(says)](std::string words) {
        if (says) says(std::move(words));
        return true;
    };
    const Went went = co_await follow(std::move(*response), std::move(hears));
    if (went.why.empty()) co_return Result<void>();
    co_return fail(is_final(went.why) ? Code::InvalidArgument : Code::Unavailable, "EngineSays",
                   what + ": the engine says: " + shown(went.why.substr(0, 1000)));
}

Task<Engine::Went> Engine::follow(http::ClientResponse response,
                                  std::function<bool(std::string)> says) {
    Went went;
    if (response.status != 200) {
        Result<std::string> body = co_await response.body->all(kLongestAnswer);
        went.why = words_of(body.value_or(""));
        if (went.why.empty()) went.why = "HTTP " + std::to_string(response.status);
        co_return went;
    }
    EngineProgress progress;
    for (;;) {
        Result<std::string> piece = co_await response.body->read();
        if (!piece) {
            went.why = piece.error().message;
            went.broken = true;
            break;
        }
        if (piece->empty()) {
            went.why = progress.failed().value_or("");
            break;
        }
        if (const Result<void> read = progress.give(*piece); !read) {
            went.why = read.error().message;
            break;
        }
        if (!says(progress.words())) {
            went.why = "nobody waits for it";
            went.ended = true;
            break;
        }
    }
    went.log = progress.log();
    co_return went;
}

Task<Result<void>> Engine::remove_image(std::string name) {
    TURNOUT_CO_TRY(const Answer answer,
                   co_await ask(request("DELETE", "/images/" + percent_encode(name, "/:"))));
    if (answer.status != 200 && answer.status != 404)
        co_return refused_by("image '" + name + "' cannot be removed", answer.status, answer.body);
    co_return Result<void>();
}

Task<Result<void>> Engine::build(Build what, std::function<bool(std::string)> says) {
    Json arguments = Json::object();
    for (const auto& [name, value] : what.arguments) arguments.set(name, value);
    std::string url = "/build?rm=1&forcerm=1&t=" + percent_encode(what.tag) +
                      "&dockerfile=" + percent_encode(what.dockerfile) +
                      "&labels=" + percent_encode(what.labels.dump()) +
                      "&buildargs=" + percent_encode(arguments.dump());
    if (what.pull) url += "&pull=1";
    if (!what.network.empty()) url += "&networkmode=" + percent_encode(what.network);
    if (what.memory > 0) {
        const std::string memory = std::to_string(what.memory);
        url += "&memory=" + memory + "&memswap=" + memory;
    }
    if (what.cores > 0)
        url += "&cpuperiod=" + std::to_string(kCpuPeriod) +
               "&cpuquota=" + std::to_string(what.cores * kCpuPeriod);
    http::ClientRequest wanted = request("POST", std::move(url));
    wanted.headers.set("Content-Type", "application/x-tar");
    wanted.stream = std::move(what.context);
    wanted.timeout = kBuildSilence;
    Result<http::ClientResponse> response = co_await client_->send(std::move(wanted));
    if (!response) co_return fail(Code::Unavailable, "EngineSays", response.error().message);
    const Went went = co_await follow(std::move(*response), std::move(says));
    if (went.why.empty()) co_return Result<void>();
    if (went.ended) co_return fail(Code::Canceled, "Canceled", went.why);
    std::string words = "the engine says: " + shown(went.why.substr(0, 1000));
    std::string_view end = trim(went.log);
    if (end.size() > kShownOfLog) {
        end.remove_prefix(end.size() - kShownOfLog);
        end.remove_prefix(std::min(end.size(), end.find('\n') + 1));
    }
    if (!end.empty()) words += "\nThe end of its log:\n" + plain_log(end);
    co_return fail(
        went.broken || is_passing_failure(went.why) ? Code::Unavailable : Code::InvalidArgument,
        "EngineSays", std::move(words));
}

Task<Result<std::vector<Engine::Found>>> Engine::list(std::string label, std::string value) {
    const Json filters = Json::object({{"label", Json::array({label + "=" + value})}});
    TURNOUT_CO_TRY(const Answer answer,
                   co_await ask(request(
                       "GET", "/containers/json?all=1&filters=" + percent_encode(filters.dump()))));
    if (answer.status != 200)
        co_return refused_by("asking for its containers", answer.status, answer.body);
    TURNOUT_CO_TRY(const Json all, parse_json(answer.body));
    std::vector<Found> found;
    for (const Json& one : all.items()) {
        const Json& labels = one.at("Labels");
        found.push_back({one.at("Id").as_string(), labels.at(kNodeLabel).as_string(),
                         labels.at(kImageLabel).as_string(), one.at("State").as_string()});
    }
    co_return found;
}

Task<Result<std::string>> Engine::create(std::string name, Json what) {
    http::ClientRequest wanted = request("POST", "/containers/create?name=" + percent_encode(name));
    wanted.headers.set("Content-Type", "application/json");
    wanted.body = what.dump();
    TURNOUT_CO_TRY(const Answer answer, co_await ask(std::move(wanted)));
    if (answer.status != 201)
        co_return refused_by("a container cannot be made", answer.status, answer.body);
    TURNOUT_CO_TRY(const Json made, parse_json(answer.body));
    co_return made.at("Id").as_string();
}

Task<Result<void>> Engine::put(std::string container, std::string archive) {
    http::ClientRequest wanted =
        request("PUT", "/containers/" + percent_encode(container) + "/archive?path=%2F");
    wanted.headers.set("Content-Type", "application/x-tar");
    wanted.body = std::move(archive);
    TURNOUT_CO_TRY(const Answer answer, co_await ask(std::move(wanted)));
    if (answer.status != 200)
        co_return refused_by("the agent cannot be put into the container", answer.status,
                             answer.body);
    co_return Result<void>();
}

Task<Result<void>> Engine::start(std::string container) {
    http::ClientRequest wanted =
        request("POST", "/containers/" + percent_encode(container) + "/start");
    TURNOUT_CO_TRY(const Answer answer, co_await ask(std::move(wanted)));
    if (answer.status != 204 && answer.status != 304)
        co_return refused_by("the container cannot be started", answer.status, answer.body);
    co_return Result<void>();
}

Task<Result<void>> Engine::remove(std::string container) {
    http::ClientRequest wanted =
        request("DELETE", "/containers/" + percent_encode(container) + "?force=1&v=1");
    TURNOUT_CO_TRY(const Answer answer, co_await ask(std::move(wanted)));
    if (answer.status != 204 && answer.status != 404)
        co_return refused_by("a container cannot be removed", answer.status, answer.body);
    co_return Result<void>();
}

Task<Result<std::unique_ptr<http::Stream>>> Engine::run(std::string container,
                                                        std::vector<std::string> command,
                                                        std::string user) {
    Json words = Json::array();
    for (std::string& word : command) words.push(std::move(word));
    http::ClientRequest wanted =
        request("POST", "/containers/" + percent_encode(container) + "/exec");
    wanted.headers.set("Content-Type", "application/json");
    wanted.body = Json::object({{"AttachStdin", true},
                                {"AttachStdout", true},
                                {"AttachStderr", true},
                                {"Tty", false},
                                {"User", std::move(user)},
                                {"Cmd", std::move(words)}})
                      .dump();
    TURNOUT_CO_TRY(const Answer made, co_await ask(std::move(wanted)));
    if (made.status != 201)
        co_return refused_by("a program in the container cannot be begun", made.status, made.body);
    TURNOUT_CO_TRY(const Json exec, parse_json(made.body));
    http::ClientRequest begin =
        request("POST", "/exec/" + percent_encode(exec.at("Id").as_string()) + "/start");
    begin.headers.set("Content-Type", "application/json");
    begin.headers.set("Connection", "Upgrade");
    begin.headers.set("Upgrade", "tcp");
    begin.body = R"({"Detach":false,"Tty":false})";
    Result<http::ClientResponse> response = co_await client_->send(std::move(begin));
    if (!response) co_return fail(Code::Unavailable, "EngineSays", response.error().message);
    if (response->status != 101 || !response->stream) {
        Result<std::string> body = std::string();
        if (response->body && response->status >= 400)
            body = co_await response->body->all(kLongestAnswer);
        co_return refused_by("a program in the container cannot be begun", response->status,
                             body.value_or(""));
    }
    co_return std::unique_ptr<http::Stream>(
        std::make_unique<ExecStream>(std::move(response->stream)));
}

}  // namespace turnout

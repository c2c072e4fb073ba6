#include "provider/kubernetes/cluster.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "io/posix/http_client.h"
#include "io/posix/programs.h"
#include "io/tls/tls_client.h"
#include "provider/kubernetes/websocket.h"

namespace turnout {

namespace {

constexpr std::size_t kLongestAnswer = 64 << 20;
constexpr std::size_t kLongestFile = 4 << 20;
constexpr Span kUsualTime = 30s;
constexpr Span kProgramTime = 60s;  // of the kubeconfig's own program
constexpr Span kReadAgain = 60s;    // files that others change
constexpr Span kIdle = 20s;         // an API server that was started anew has closed them
constexpr std::size_t kLongestFrame = 32 << 10;
constexpr Span kPing = 15s, kSilent = 50s;
constexpr int kMostPages = 1000;

std::array<unsigned char, 4> fresh_mask() {
    PosixRandom random;
    const std::string bytes = random.bytes(4);
    std::array<unsigned char, 4> mask{};
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<unsigned char>(bytes[i]);
    return mask;
}

// What a program in a pod says and is told, over a WebSocket.
class PodStream final : public http::Stream {
public:
    PodStream(AsioLoop& loop, std::unique_ptr<http::Stream> inner)
        : shared_(std::make_shared<Shared>(loop, std::move(inner))) {
        shared_->heard = shared_->clock.since_boot();
        Shared::keep_alive(shared_);
    }
    ~PodStream() override { close(); }
    PodStream(const PodStream&) = delete;
    PodStream& operator=(const PodStream&) = delete;

    Task<Result<std::string>> read() override {
        const std::shared_ptr<Shared> s = shared_;
        for (;;) {
            if (std::string bytes = s->channels.take_output(); !bytes.empty()) co_return bytes;
            if (const auto& over = s->channels.ended()) {
                if (!*over) co_return std::string();
                std::string words = **over;
                if (const std::string_view last = trim(s->channels.last_words()); !last.empty())
                    words += ", it said " + shown(last);
                co_return fail(Code::Unavailable, "Ended",
                               "the program in the pod ended: " + words);
            }
            TURNOUT_CO_TRY(const std::optional<WebSocketMessage> message, s->reader.next());
            if (!message) {
                TURNOUT_CO_TRY(const std::string bytes, co_await s->inner->read());
                if (bytes.empty())
                    co_return fail(Code::Unavailable, "ConnectionLost",
                                   "the API server closed the connection to the pod");
                s->heard = s->clock.since_boot();
                s->reader.give(bytes);
                continue;
            }
            if (message->opcode == Opcode::Close)
                co_return fail(Code::Unavailable, "ConnectionLost",
                               "the API server closed the connection to the pod");
            if (message->opcode == Opcode::Ping) {
                TURNOUT_CO_TRY_VOID(co_await Shared::send(s, Opcode::Pong, message->payload));
            } else if (message->opcode != Opcode::Pong) {
                TURNOUT_CO_TRY_VOID(s->channels.give(message->payload));
            }
        }
    }
    Task<Result<void>> write(std::string bytes) override {
        const std::shared_ptr<Shared> s = shared_;
        for (std::size_t at = 0; at < bytes.size(); at += kLongestFrame) {
            std::string piece(1, kExecInput);
            piece += std::string_view(bytes).substr(at, kLongestFrame);
            TURNOUT_CO_TRY_VOID(co_await Shared::send(s, Opcode::Binary, std::move(piece)));
        }
        co_return Result<void>();
    }
    void close() override {
        shared_->closed = true;
        shared_->inner->close();
    }

private:
    struct Shared {
        Shared(AsioLoop& a_loop, std::unique_ptr<http::Stream> a_stream)
            : loop(a_loop), inner(std::move(a_stream)) {}
        AsioLoop& loop;
        PosixClock clock;
        std::unique_ptr<http::Stream> inner;
        WebSocketReader reader;
        ExecChannels channels;
        Span heard{};
        bool closed = false, sending = false;
        std::vector<std::function<void()>> waiting;

        // Frames of the program's input, pings and pongs, one after the other.
        static Task<Result<void>> send(std::shared_ptr<Shared> s, Opcode opcode,
                                       std::string payload) {
            while (s->sending) {
                Later<bool> turn;
                s->waiting.push_back([settle = turn.settle()] { settle(true); });
                (void)co_await turn;
            }
            if (s->closed)
                co_return fail(Code::Canceled, "Canceled", "the connection to the pod was closed");
            s->sending = true;
            Result<void> sent =
                co_await s->inner->write(websocket_frame(opcode, payload, fresh_mask()));
            s->sending = false;
            // Where nothing is carried any more, this does not come to an end.
            if (sent && opcode == Opcode::Binary) s->heard = s->clock.since_boot();
            for (const auto& go_on : std::exchange(s->waiting, {})) s->loop.post(go_on);
            co_return sent;
        }
        // A connection that leads nowhere is seen to.
        static void keep_alive(const std::shared_ptr<Shared>& s) {
            s->loop.after(kPing, [weak = std::weak_ptr<Shared>(s)] {
                const std::shared_ptr<Shared> one = weak.lock();
                if (!one || one->closed) return;
                if (one->clock.since_boot() - one->heard > kSilent) {
                    one->closed = true;
                    return one->inner->close();
                }
                start(send(one, Opcode::Ping, ""), [](const Result<void>&) {});
                keep_alive(one);
            });
        }
    };
    std::shared_ptr<Shared> shared_;  // shared with its coroutines
};

std::string query_of(const std::vector<std::string>& command) {
    std::string query = "?container=node&stdin=true&stdout=true&stderr=true";
    for (const std::string& word : command) query += "&command=" + percent_encode(word);
    return query;
}

Result<std::string> file_or(std::string text, const std::string& path) {
    if (!text.empty() || path.empty()) return text;
    return read_file(path, kLongestFile);
}

// What the kubeconfig's files say; blocks.
Result<KubeAccess> load(const KubeCluster::Place& place) {
    Result<std::string> text = read_file(place.kubeconfig, kLongestFile);
    if (!text) {
        Error why = text.error();
        why.code = Code::FailedPrecondition;
        return Failure(std::move(why));
    }
    KubeAccess access = TURNOUT_TRY(read_kubeconfig(*text, place.kubeconfig, place.context));
    access.authorities = TURNOUT_TRY(file_or(access.authorities, access.authorities_file));
    access.certificate = TURNOUT_TRY(file_or(access.certificate, access.certificate_file));
    access.key = Secret(TURNOUT_TRY(file_or(access.key.reveal(), access.key_file)));
    access.token =
        Secret(std::string(trim(TURNOUT_TRY(file_or(access.token.reveal(), access.token_file)))));
    if (!std::ranges::all_of(access.token.reveal(),
                             [](unsigned char c) { return c > ' ' && c < 0x7f; }))
        return invalid(place.kubeconfig + ": the token is none", "token");
    return access;
}

}  // namespace

KubeCluster::KubeCluster(AsioLoop& loop, Place place, std::vector<std::string> environment)
    : loop_(loop), place_(std::move(place)), environment_(std::move(environment)) {}

std::string KubeCluster::name_space() const {
    if (!place_.name_space.empty()) return place_.name_space;
    return session_ && !session_->name_space.empty() ? session_->name_space : "default";
}

std::string KubeCluster::words() const {
    return "kubernetes " + place_.kubeconfig +
           (place_.context.empty() ? "" : ", context " + place_.context) + ", namespace " +
           name_space();
}

// ---- who we are there ----

Task<Result<SaidCredentials>> KubeCluster::ask_program(std::shared_ptr<KubeCluster> self,
                                                       KubeAccess::Program program,
                                                       std::string folder) {
    SpawnRequest request;
    request.directory = std::move(folder);
    std::string path;
    for (const std::string& one : self->environment_) {
        if (one.starts_with("PATH=")) path = one.substr(5);
        // Whose credentials it has is in files beneath HOME mostly; our own keys are not for it.
        for (const char* const name : {"PATH=", "HOME=", "USER=", "LOGNAME=", "SSL_CERT_FILE=",
                                       "HTTPS_PROXY=", "https_proxy=", "NO_PROXY=", "no_proxy="})
            if (one.starts_with(name)) request.environment.push_back(one);
    }
    for (const auto& [name, value] : program.variables)
        request.environment.push_back(name + "=" + value);
    const Json about = Json::object({{"apiVersion", program.version},
                                     {"kind", "ExecCredential"},
                                     {"spec", Json::object({{"interactive", false}})}});
    request.environment.push_back("KUBERNETES_EXEC_INFO=" + about.dump());
    request.program = program.command;
    if (program.command.find('/') == std::string::npos) {
        request.program.clear();
        for (const std::string& place : split(path, ':'))
            if (place.starts_with('/') &&
                ::access((place + "/" + program.command).c_str(), X_OK) == 0) {
                request.program = place + "/" + program.command;
                break;
            }
    }
    const std::string what =
        "the program " + shown(program.command) + " of " + self->place_.kubeconfig;
    if (request.program.empty())
        co_return fail(Code::FailedPrecondition, "NoProgram", what + " is not in PATH");
    request.arguments = std::move(program.arguments);
    request.arguments.insert(request.arguments.begin(), program.command);
    const Result<ProgramRan> ran =
        co_await run_program(self->loop_, std::move(request), "", kProgramTime);
    if (!ran)
        co_return fail(Code::FailedPrecondition, "NoCredentials",
                       what + ": " + ran.error().message);
    if (ran->code != 0)
        co_return fail(
            Code::FailedPrecondition, "NoCredentials",
            what + " ended with " + std::to_string(ran->code) + ": " + plain_words(ran->err));
    co_return parse_credentials(ran->out);
}

Task<Result<KubeCluster::SessionPtr>> KubeCluster::open(std::shared_ptr<KubeCluster> self) {
    std::function<Result<KubeAccess>()> read = [place = self->place_] { return load(place); };
    TURNOUT_CO_TRY(KubeAccess access, co_await apart(self->loop_, std::move(read)));
    if (access.program) {
        const std::string folder =
            self->place_.kubeconfig.substr(0, self->place_.kubeconfig.rfind('/') + 1);
        TURNOUT_CO_TRY(SaidCredentials said, co_await ask_program(self, *access.program, folder));
        if (!said.token.empty()) access.token = said.token;
        if (!said.certificate.empty()) {
            access.certificate = said.certificate;
            access.key = said.key;
        }
    }
    http::TlsClient who;
    who.authorities = access.authorities;
    who.certificate = access.certificate;
    who.key = access.key;
    who.server_name = access.server_name;
    Result<std::shared_ptr<http::TlsConnector>> tls = http::make_tls_connector(who);
    if (!tls) {
        Error why = tls.error();
        why.message = self->place_.kubeconfig + ": " + why.message;
        co_return Failure(std::move(why));
    }
    http::ClientOptions options;
    options.tls = std::move(*tls);
    options.connect_timeout = 5s;
    options.idle_for = kIdle;
    auto made = std::make_shared<Session>();
    made->client = http::make_client(self->loop_, std::move(options));
    made->server = access.server;
    made->name_space =
        self->place_.name_space.empty() ? access.name_space : self->place_.name_space;
    if (made->name_space.empty()) made->name_space = "default";
    made->token = access.token;
    made->since = self->clock_.since_boot();
    made->changes = !access.token_file.empty() || !access.certificate_file.empty();
    if (!fits_as_object_name(made->name_space))
        co_return invalid(self->place_.kubeconfig + ": the context's namespace is none",
                          "namespace");
    co_return SessionPtr(std::move(made));
}

Task<Result<KubeCluster::SessionPtr>> KubeCluster::session(std::shared_ptr<KubeCluster> self,
                                                           bool afresh) {
    if (self->session_ && !afresh &&
        (!self->session_->changes ||
         self->clock_.since_boot() - self->session_->since < kReadAgain))
        co_return self->session_;
    if (self->opening_) {
        Later<bool> turn;
        self->waiting_.push_back([settle = turn.settle()] { settle(true); });
        (void)co_await turn;
        co_return self->opened_;
    }
    self->opening_ = true;
    Result<SessionPtr> opened = co_await open(self);
    self->opening_ = false;
    self->opened_ = opened;
    if (opened) self->session_ = *opened;
    for (const auto& go_on : std::exchange(self->waiting_, {})) self->loop_.post(go_on);
    co_return opened;
}

Task<Result<KubeCluster::Answer>> KubeCluster::ask(std::shared_ptr<KubeCluster> self,
                                                   std::string doing, std::string method,
                                                   std::string path, std::string body,
                                                   bool upgrade) {
    const auto is_old = [&self](const Session& session) {
        return self->clock_.since_boot() - session.since > kReadAgain;
    };
    for (int i = 0;; ++i) {
        TURNOUT_CO_TRY(const SessionPtr with, co_await session(self, i > 0));
        http::ClientRequest request;
        request.method = method;
        std::string below = path;
        replace_all(below, "{ns}", with->name_space);
        request.url = with->server + below;
        request.timeout = kUsualTime;
        request.headers.set("Accept", "application/json");
        request.headers.set("User-Agent", "turnout");
        if (!with->token.empty())
            request.headers.set("Authorization", "Bearer " + with->token.reveal());
        if (!body.empty()) request.headers.set("Content-Type", "application/json");
        request.body = body;
        if (upgrade) {
            PosixRandom random;
            request.headers.set("Connection", "Upgrade");
            request.headers.set("Upgrade", "websocket");
            request.headers.set("Sec-WebSocket-Version", "13");
            request.headers.set("Sec-WebSocket-Key", to_base64(random.bytes(16)));
            request.headers.set("Sec-WebSocket-Protocol", std::string(kExecProtocols));
        }
        const std::shared_ptr<http::Client> client = with->client;
        Result<http::ClientResponse> response = co_await client->send(std::move(request));
        if (!response && i == 0 && is_old(*with) && response.error().code != Code::Ambiguous)
            continue;  // its address, or whom it trusts, may have changed in the file
        if (!response) {
            const bool perhaps = response.error().code == Code::Ambiguous;
            co_return fail(perhaps ? Code::Ambiguous : Code::Unavailable, "KubernetesAway",
                           doing + ": the API server at " + with->server +
                               " does not answer: " + response.error().message);
        }
        Answer answer;
        answer.status = response->status;
        if (response->status == 101) {
            answer.stream = std::move(response->stream);
            co_return answer;
        }
        if (response->body) {
            Result<std::string> all = co_await response->body->all(kLongestAnswer);
            if (!all)
                co_return fail(Code::Unavailable, "KubernetesAway",
                               doing + ": " + all.error().message);
            answer.body = std::move(*all);
        }
        // Tokens are renewed in the file: what was read before may be over.
        if (i == 0 && (answer.status == 401 || (answer.status == 403 && is_old(*with)))) continue;
        if (answer.status >= 300)
            co_return Failure(refused_by_api(doing, answer.status, answer.body));
        co_return answer;
    }
}

// ---- what is asked for ----

Task<Result<Json>> KubeCluster::version() {
    TURNOUT_CO_TRY(const Answer answer, co_await ask(shared_from_this(), "asking for its version",
                                                     "GET", "/version", ""));
    co_return parse_json(answer.body);
}

Task<Result<std::vector<PodSeen>>> KubeCluster::pods(std::string instance) {
    const std::shared_ptr<KubeCluster> self = shared_from_this();
    std::vector<PodSeen> all;
    std::string more;
    for (int i = 0; i < kMostPages; ++i) {
        std::string path = "/api/v1/namespaces/{ns}/pods?limit=500&labelSelector=" +
                           percent_encode(pods_of(instance));
        if (!more.empty()) path += "&continue=" + percent_encode(more);
        TURNOUT_CO_TRY(const Answer answer,
                       co_await ask(self, "asking for its pods", "GET", std::move(path), ""));
        TURNOUT_CO_TRY(PodPage page, parse_pods(answer.body, instance));
        for (PodSeen& one : page.pods) all.push_back(std::move(one));
        more = page.more;
        if (more.empty()) co_return all;
    }
    co_return fail(Code::Unavailable, "NotUnderstood", "the API server's list of pods has no end");
}

Task<Result<void>> KubeCluster::create(Json pod) {
    TURNOUT_CO_TRY_VOID(co_await ask(shared_from_this(), "a pod cannot be made", "POST",
                                     "/api/v1/namespaces/{ns}/pods", pod.dump()));
    co_return Result<void>();
}

Task<Result<void>> KubeCluster::remove(std::string pod) {
    const Result<Answer> done =
        co_await ask(shared_from_this(), "pod " + pod + " cannot be deleted", "DELETE",
                     "/api/v1/namespaces/{ns}/pods/" + percent_encode(pod), "");
    if (!done && done.error().code != Code::NotFound) co_return Failure(done.error());
    co_return Result<void>();
}

Task<std::string> KubeCluster::news_of(std::string pod) {
    const Result<Answer> answer =
        co_await ask(shared_from_this(), "asking for events", "GET",
                     "/api/v1/namespaces/{ns}/events?limit=50&fieldSelector=" +
                         percent_encode("involvedObject.kind=Pod,involvedObject.name=" + pod),
                     "");
    std::string words;
    if (answer) words = parse_events(answer->body);
    co_return words;
}

Task<Result<bool>> KubeCluster::may(std::string verb, std::string resource, bool everywhere) {
    const std::shared_ptr<KubeCluster> self = shared_from_this();
    TURNOUT_CO_TRY(const SessionPtr with, co_await session(self, false));
    Json what = Json::object({{"verb", std::move(verb)}, {"group", ""}});
    const std::size_t slash = resource.find('/');
    what.set("resource", resource.substr(0, slash));
    if (slash != std::string::npos) what.set("subresource", resource.substr(slash + 1));
    if (!everywhere) what.set("namespace", with->name_space);
    const Json question =
        Json::object({{"apiVersion", "authorization.k8s.io/v1"},
                      {"kind", "SelfSubjectAccessReview"},
                      {"spec", Json::object({{"resourceAttributes", std::move(what)}})}});
    TURNOUT_CO_TRY(
        const Answer answer,
        co_await ask(self, "asking for our rights", "POST",
                     "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", question.dump()));
    TURNOUT_CO_TRY(const Json said, parse_json(answer.body));
    co_return said.at("status").at("allowed").as_bool();
}

Task<Result<std::vector<Json>>> KubeCluster::machines(std::string gpu_resource) {
    TURNOUT_CO_TRY(const Answer answer,
                   co_await ask(shared_from_this(), "asking for the cluster's machines", "GET",
                                "/api/v1/nodes?limit=500", ""));
    TURNOUT_CO_TRY(const Json all, parse_json(answer.body));
    std::vector<Json> machines;
    for (const Json& one : all.at("items").items()) {
        const Json& can = one.at("status").at("allocatable");
        bool ready = false;
        for (const Json& condition : one.at("status").at("conditions").items())
            if (condition.at("type").as_view() == "Ready")
                ready = condition.at("status").as_view() == "True";
        const auto number = [&](std::string_view name) {
            return parse_quantity(can.at(name).as_string()).value_or(0) / 1000;
        };
        machines.push_back(
            Json::object({{"name", one.at("metadata").at("name").as_string()},
                          {"ready", ready && !one.at("spec").at("unschedulable").as_bool()},
                          {"cores", number("cpu")},
                          {"memoryBytes", number("memory")},
                          {"gpus", number(gpu_resource)}}));
    }
    co_return machines;
}

// ---- programs in a pod ----

Task<Result<std::unique_ptr<http::Stream>>> KubeCluster::begin(std::string pod,
                                                               std::vector<std::string> command) {
    const std::shared_ptr<KubeCluster> self = shared_from_this();
    TURNOUT_CO_TRY(Answer answer,
                   co_await ask(self, "a program in pod " + pod + " cannot be begun", "GET",
                                "/api/v1/namespaces/{ns}/pods/" + percent_encode(pod) + "/exec" +
                                    query_of(command),
                                "", true));
    if (!answer.stream)
        co_return fail(Code::Unavailable, "NotUnderstood",
                       "the API server does not upgrade to a WebSocket (HTTP " +
                           std::to_string(answer.status) + "): is a proxy before it?");
    co_return std::unique_ptr<http::Stream>(
        std::make_unique<PodStream>(self->loop_, std::move(answer.stream)));
}

Task<Result<std::string>> KubeCluster::run(std::string pod, std::vector<std::string> command,
                                           std::string input, Span timeout) {
    const std::shared_ptr<KubeCluster> self = shared_from_this();
    TURNOUT_CO_TRY(std::unique_ptr<http::Stream> begun, co_await begin(pod, std::move(command)));
    const std::shared_ptr<http::Stream> stream = std::move(begun);
    const Loop::TimerId timer = self->loop_.after(timeout, [stream] { stream->close(); });
    // It may end before it has read all: then it says why.
    const Result<void> written = co_await stream->write(std::move(input));
    std::string said;
    Result<std::string> piece = std::string();
    do {
        piece = co_await stream->read();
        if (piece) said += *piece;
    } while (piece && !piece->empty() && said.size() < kLongestAnswer);
    self->loop_.cancel(timer);
    stream->close();
    if (piece) co_return said;
    Error why = piece.error();
    if (why.code == Code::Canceled) {
        why.code = Code::Unavailable;
        why.message = "a program in pod " + pod + " does not end";
    }
    if (why.reason == "Ended") why.code = Code::FailedPrecondition;
    co_return Failure(std::move(why));
}

}  // namespace turnout

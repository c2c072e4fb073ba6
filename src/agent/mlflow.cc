#include "agent/mlflow.h"

#include <charconv>
#include <cmath>

#include "agent/files.h"
#include "base/text.h"

namespace turnout::agent {
namespace {

constexpr std::size_t kMaxAppend = 4 << 20;
constexpr std::size_t kMaxPending =
    64 << 20;  // beyond it appends are passed on, which waits for the server
constexpr std::size_t kMaxParams =
    10'000;  // beyond it params are passed on: what they were is kept
constexpr std::size_t kJournalLimit = 4 << 20;  // from here on it is begun anew when all is shipped
constexpr Span kReadPatience = 20s;  // a read waits so long for earlier appends to arrive
constexpr std::string_view kApi = "/api/2.0/mlflow/";
constexpr std::string_view kTokens = "/msi/token";
constexpr std::string_view kAppends[] = {"runs/log-batch", "runs/log-metric", "runs/log-parameter",
                                         "runs/set-tag"};

http::Response error_response(int status, std::string_view code, std::string message) {
    http::Response response;
    response.status = status;
    response.headers.set("Content-Type", "application/json");
    response.body = Json::object({{"error_code", code}, {"message", std::move(message)}}).dump();
    return response;
}

http::Response away_response() {
    auto response = error_response(
        503, "TEMPORARILY_UNAVAILABLE",
        "the Turnout server is away; metrics, params and tags of this run are kept by the "
        "node meanwhile, but this request needs the server: try again");
    response.headers.set("Retry-After", "1");
    return response;
}

bool good_key(const Json& item) {
    std::string_view key = item.at("key").as_view();
    if (key.empty() || key.size() > 250 || key.front() == '/' || key.back() == '/' ||
        key.find("//") != std::string_view::npos || key == "." || key == ".." ||
        key.starts_with("./") || key.starts_with("../") ||
        key.find("/../") != std::string_view::npos || key.find("/./") != std::string_view::npos)
        return false;
    for (char c : key)
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            std::string_view("_-. /:").find(c) == std::string_view::npos)
            return false;
    return true;
}

bool good_metric(const Json& item) {
    const Json& value = item.at("value");
    bool number = value.is_number() || value.as_view() == "NaN" || value.as_view() == "Infinity" ||
                  value.as_view() == "-Infinity";
    const Json& step = item.at("step");
    return good_key(item) && number && item.at("timestamp").is_int() &&
           (step.is_null() || step.is_int());
}
bool good_param(const Json& item) {
    return good_key(item) && item.at("value").is_string() &&
           item.at("value").as_view().size() <= 6000;
}
bool good_tag(const Json& item) {
    // Tags named mlflow.* may mean something to the server.
    return good_key(item) && item.at("value").is_string() &&
           item.at("value").as_view().size() <= 5000 &&
           !item.at("key").as_view().starts_with("mlflow.");
}

bool all_good(const Json& list, std::size_t limit, bool (*good)(const Json&)) {
    if (list.is_null()) return true;
    if (!list.is_array() || list.items().size() > limit) return false;
    for (const Json& item : list.items())
        if (!good(item)) return false;
    return true;
}

bool of_run(const Json& body, std::string_view run_id) {
    std::string_view id = body.at("run_id").as_view(), old = body.at("run_uuid").as_view();
    return (id.empty() ? old : id) == run_id && (old.empty() || old == run_id);
}

class BorrowedBody final : public http::BodyReader {  // the handler outlives the request it makes
public:
    explicit BorrowedBody(http::BodyReader& body) : body_(body) {}
    Task<Result<std::string>> read() override { return body_.read(); }

private:
    http::BodyReader& body_;
};

// What the server said, as the answer to the node's own client.
http::Response returned(http::ClientResponse answer, std::string_view method) {
    http::Response response;
    response.status = answer.status;
    for (const auto& [name, value] : answer.headers.all()) {
        bool hop = false;
        for (const char* own :
             {"connection", "content-length", "transfer-encoding", "keep-alive", "date"})
            hop = hop || equal_ignoring_case(name, own);
        if (!hop) response.headers.add(name, value);
    }
    std::string_view length = answer.headers.get("Content-Length");
    std::uint64_t size = 0;
    if (!length.empty() &&
        std::from_chars(length.data(), length.data() + length.size(), size).ec == std::errc())
        response.length = size;
    if (method != "HEAD" && answer.body && answer.status != 204 && answer.status != 304)
        response.stream = std::move(answer.body);
    if (response.stream == nullptr && method != "HEAD") response.length.reset();
    return response;
}

}  // namespace

bool can_accept(std::string_view path, const Json& body, std::string_view run_id) {
    if (!body.is_object() || !of_run(body, run_id)) return false;
    if (path == "runs/log-metric") return good_metric(body);
    if (path == "runs/log-parameter") return good_param(body);
    if (path == "runs/set-tag") return good_tag(body);
    if (path != "runs/log-batch") return false;
    const Json &metrics = body.at("metrics"), &params = body.at("params"), &tags = body.at("tags");
    return all_good(metrics, 1000, good_metric) && all_good(params, 100, good_param) &&
           all_good(tags, 100, good_tag) &&
           metrics.items().size() + params.items().size() + tags.items().size() <= 1000;
}

struct MlflowGate::Run {
    struct Append {
        std::uint64_t number = 0;
        std::string path, body;
        std::string line() const { return std::to_string(number) + " " + path + " " + body; }
    };
    AttemptId id;
    int rank = 0;  // of this node in the attempt
    Secret token;
    std::string prefix;  // "/" + mlflow_path
    std::string folder;
    bool closed = false;
    std::optional<Journal> journal;
    std::uint64_t next = 1;      // number of the next append
    std::uint64_t shipped = 0;   // all up to this are at the server
    std::deque<Append> pending;  // durable, not shipped
    std::size_t pending_bytes = 0;
    std::deque<std::pair<Append, std::optional<Later<bool>::Settle>>> arriving;  // not durable yet
    bool storing = false, shipping = false;
    bool page_told = false;
    std::vector<std::pair<std::uint64_t, Later<bool>::Settle>>
        waiting;                                // until that number is shipped
    std::map<std::string, std::string> params;  // accepted here: a change is the server's to refuse

    void wake(bool value) {
        auto ready = std::exchange(waiting, {});
        for (auto& [number, settle] : ready) {
            if (!value || number <= shipped || number >= next)  // or it never was
                settle(value);
            else
                waiting.emplace_back(number, settle);
        }
    }
};

MlflowGate::MlflowGate(Server& server, std::function<void(const AttemptId&, std::string)> complain)
    : server_(server), complain_(std::move(complain)) {}
MlflowGate::~MlflowGate() = default;

void MlflowGate::open(const AttemptId& id, const TaskSpec& task, std::string folder) {
    if (runs_.contains(id) || task.run_token.empty()) return;
    auto run = std::make_shared<Run>();
    run->id = id;
    run->rank = task.rank;
    run->token = task.run_token;
    run->folder = std::move(folder);
    run->prefix = task.mlflow_path;
    while (run->prefix.starts_with('/')) run->prefix.erase(0, 1);
    while (run->prefix.ends_with('/')) run->prefix.pop_back();
    run->prefix = "/" + run->prefix;
    runs_[id] = run;
    if (!exists(run->folder + "/metrics.journal")) return;
    std::vector<std::string> lines;
    auto journal = Journal::open(run->folder + "/metrics.journal", lines);
    if (!journal) return complain_(id, "turnout: " + journal.error().message);
    run->journal = std::move(*journal);
    if (auto text = read_file(run->folder + "/metrics.shipped", 64))
        std::from_chars(text->data(), text->data() + text->size(), run->shipped);
    for (const auto& line : lines) {
        // "number path body"
        Run::Append append;
        auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), append.number);
        std::size_t path = static_cast<std::size_t>(end - line.data()) + 1,
                    text = line.find(' ', path);
        if (error != std::errc() || text == std::string::npos) continue;
        append.path = line.substr(path, text - path);
        append.body = line.substr(text + 1);
        run->next = std::max(run->next, append.number + 1);
        if (append.number <= run->shipped) continue;
        run->pending_bytes += append.body.size();
        run->pending.push_back(std::move(append));
    }
    run->next = std::max(run->next, run->shipped + 1);
    if (run->pending.empty()) run->shipped = run->next - 1;
    if (!run->pending.empty()) start(ship(run), [] {});
}

void MlflowGate::close(const AttemptId& id) {
    auto found = runs_.find(id);
    if (found == runs_.end()) return;
    auto run = found->second;
    runs_.erase(found);
    run->closed = true;
    run->wake(false);
}

Task<bool> MlflowGate::drained(AttemptId id) {
    auto found = runs_.find(id);
    if (found == runs_.end()) co_return true;
    auto run = found->second;
    while (!run->closed && run->shipped + 1 < run->next) {
        Later<bool> later;
        run->waiting.emplace_back(run->next - 1, later.settle());
        if (!co_await later) co_return false;
    }
    co_return !run->closed;
}

std::shared_ptr<MlflowGate::Run> MlflowGate::find(std::string_view authorization) const {
    constexpr std::string_view kBearer = "Bearer ";
    if (authorization.size() <= kBearer.size() ||
        !equal_ignoring_case(authorization.substr(0, kBearer.size()), kBearer))
        return nullptr;
    std::shared_ptr<Run> match;
    for (const auto& [id, run] : runs_)
        if (run->token.matches(authorization.substr(kBearer.size()))) match = run;
    return match;
}

// The token endpoint of Azure's managed identities: the run's token in a header, or, where a client
// sends none, in the path.
Task<http::Response> MlflowGate::give_token(const http::Request& request) {
    std::string token(request.headers.get("x-identity-header"));
    if (token.empty()) token = request.headers.get("secret");
    if (token.empty() && request.path.size() > kTokens.size())
        token = request.path.substr(kTokens.size() + 1);
    auto run = find("Bearer " + token);
    if (!run) {
        http::Response refusal;
        refusal.status = 401;
        refusal.headers.set("Content-Type", "application/json");
        refusal.body =
            Json::object({{"error", Json::object({{"code", "InvalidIdentityHeader"},
                                                  {"message",
                                                   "this endpoint takes the identity of a run on "
                                                   "this node (IDENTITY_HEADER)"}})}})
                .dump();
        co_return refusal;
    }
    http::ClientRequest onward;
    onward.method = "GET";
    onward.url = std::string(kTokens) + (request.query.empty() ? "" : "?" + request.query);
    onward.headers.set("X-IDENTITY-HEADER", run->token.reveal());
    auto answer = co_await server_.send(std::move(onward), run->token);
    if (!answer) co_return away_response();
    co_return returned(std::move(*answer), request.method);
}

Task<http::Response> MlflowGate::handle(const http::Request& request, http::BodyReader& body) {
    if (request.path == kTokens || request.path.starts_with(std::string(kTokens) + "/"))
        co_return co_await give_token(request);
    auto run = find(request.headers.get("Authorization"));
    if (!run)
        co_return error_response(
            401, "UNAUTHENTICATED",
            "this listener takes the token of a run on this node (MLFLOW_TRACKING_TOKEN)");
    if (request.path != run->prefix && !request.path.starts_with(run->prefix + "/"))
        co_return error_response(404, "ENDPOINT_NOT_FOUND",
                                 "this listener serves " + run->prefix + " only");
    std::string_view path = request.path;
    path.remove_prefix(run->prefix.size());
    bool append = false;
    if (request.method == "POST" && path.starts_with(kApi)) {
        path.remove_prefix(kApi.size());
        for (std::string_view known : kAppends) append = append || path == known;
    }
    std::optional<std::string> unread;
    if (!append) co_return co_await pass_on(run, request, std::move(unread), body);
    std::string name(path);
    auto text = co_await body.all(kMaxAppend);
    if (!text) co_return error_response(413, "INVALID_PARAMETER_VALUE", text.error().message);
    auto json = parse_json(*text);
    std::optional<std::string> whole = std::move(*text);
    if (!json || run->closed || !can_accept(name, *json, run->id.job) ||
        run->pending_bytes > kMaxPending)
        co_return co_await pass_on(run, request, std::move(whole), body);
    // One line of the journal each: written anew, it has no line breaks.
    std::string line = json->dump();
    // A param that changes its value is refused by the server, which knows all of them.
    std::map<std::string, std::string> params;
    if (name == "runs/log-parameter")
        params[json->at("key").as_string()] = json->at("value").as_string();
    for (const Json& item : json->at("params").items())
        params[item.at("key").as_string()] = item.at("value").as_string();
    for (const auto& [key, value] : params)
        if (auto known = run->params.find(key);
            known != run->params.end() && known->second != value)
            co_return co_await pass_on(run, request, std::move(whole), body);
    if (!params.empty() && run->params.size() > kMaxParams)
        co_return co_await pass_on(run, request, std::move(whole), body);
    run->params.insert(params.begin(), params.end());
    co_return co_await accept(run, std::move(name), std::move(*json), std::move(line));
}

Task<http::Response> MlflowGate::accept(std::shared_ptr<Run> run, std::string path, Json,
                                        std::string text) {
    if (!run->journal) {
        std::vector<std::string> lines;
        auto journal = Journal::open(run->folder + "/metrics.journal", lines);
        if (!journal) co_return error_response(500, "INTERNAL_ERROR", journal.error().message);
        run->journal = std::move(*journal);
    }
    Later<bool> durable;
    run->arriving.emplace_back(Run::Append{run->next++, std::move(path), std::move(text)},
                               durable.settle());
    if (!std::exchange(run->storing, true))
        start(store(run, server_), [this, run] {
            if (!run->shipping && !run->pending.empty() && !run->closed) start(ship(run), [] {});
        });
    if (!co_await durable)
        co_return error_response(500, "INTERNAL_ERROR",
                                 "the node could not write this down (disk full?)");
    http::Response response;
    response.headers.set("Content-Type", "application/json");
    response.body = "{}";
    co_return response;
}

// Writes what arrived, one sync for all of it, and answers.
Task<void> MlflowGate::store(std::shared_ptr<Run> run, Server& server) {
    while (!run->arriving.empty()) {
        auto group = std::exchange(run->arriving, {});
        // Shared with the pool's thread.
        auto fine = std::make_shared<bool>(true);
        std::size_t written = 0;
        for (const auto& [append, settle] : group) {
            if (!run->journal->append(append.line())) break;
            ++written;
        }
        // What could not be written down never was, and its number is given to the next one: by
        // these numbers the server knows what it has.
        if (written < group.size()) {
            run->next = group[written].first.number;
            run->wake(true);
        }
        std::function<void()> sync = [run, fine] { *fine = run->journal->sync().has_value(); };
        if (written > 0) co_await apart(server.loop(), std::move(sync));
        for (std::size_t i = 0; i < written; ++i) {
            // Its number is in the journal, whatever the sync said: it is shipped like the others.
            run->pending_bytes += group[i].first.body.size();
            run->pending.push_back(std::move(group[i].first));
        }
        for (std::size_t i = 0; i < group.size(); ++i) (*group[i].second)(i < written && *fine);
    }
    run->storing = false;
}

Task<void> MlflowGate::ship(std::shared_ptr<Run> run) {
    if (std::exchange(run->shipping, true)) co_return;
    Backoff backoff(server_.loop(), 50ms, 5s);
    while (!run->pending.empty() && !run->closed) {
        const auto& append = run->pending.front();
        http::ClientRequest request;
        request.method = "POST";
        request.url = run->prefix + std::string(kApi) + append.path;
        request.headers.set("Content-Type", "application/json");
        std::string sequence =
            std::to_string(run->id.attempt) + ":" + std::to_string(append.number);
        if (run->rank != 0) sequence += ":" + std::to_string(run->rank);
        request.headers.set("x-turnout-sequence", sequence);
        request.body = append.body;
        auto response = co_await server_.send(std::move(request), run->token);
        if (run->closed) break;
        if (!response || response->status >= 500 || response->status == 429 ||
            response->status == 408) {
            co_await backoff.wait();
            continue;
        }
        backoff.reset();
        std::string text;
        if (response->body)
            if (auto all = co_await response->body->all(64 << 10)) text = std::move(*all);
        if (response->status >= 300) {
            auto json = parse_json(text);
            std::string why = json ? json->at("message").as_string() : "";
            complain_(run->id,
                      "turnout: MLflow " + run->pending.front().path +
                          " was refused by the server: " +
                          (why.empty() ? "HTTP status " + std::to_string(response->status) : why));
        }
        run->shipped = run->pending.front().number;
        run->pending_bytes -= run->pending.front().body.size();
        // Days of metrics end here: the last line keeps the number of the next one.
        if (run->pending.size() == 1 && run->arriving.empty() && !run->storing &&
            run->journal->size() > kJournalLimit)
            (void)run->journal->rewrite({run->pending.front().line()});
        run->pending.pop_front();
        // Only saves work after a restart: the server knows the numbers.
        if (run->pending.empty() || run->shipped % 64 == 0)
            (void)write_file(run->folder + "/metrics.shipped", std::to_string(run->shipped));
        run->wake(true);
    }
    run->shipping = false;
}

Task<http::Response> MlflowGate::pass_on(std::shared_ptr<Run> run, const http::Request& request,
                                         std::optional<std::string> body, http::BodyReader& rest) {
    // What was appended before is seen by this request.
    Span waited{};
    while (run->shipped + 1 < run->next && !run->closed) {
        if (waited >= kReadPatience) co_return away_response();
        co_await server_.loop().sleep(5ms);
        waited += 5ms;
    }
    http::ClientRequest onward;
    onward.method = request.method;
    onward.url = request.target;
    for (const auto& [name, value] : request.headers.all()) {
        bool hop = false;
        for (const char* own : {"host", "connection", "content-length", "transfer-encoding",
                                "expect", "authorization", "upgrade", "keep-alive", "te", "trailer",
                                "proxy-connection", "x-turnout-sequence"})
            hop = hop || equal_ignoring_case(name, own);
        if (!hop) onward.headers.add(name, value);
    }
    if (body) {
        onward.body = std::move(*body);
    } else if (request.content_length.value_or(0) > 0 && *request.content_length <= kMaxAppend) {
        auto all = co_await rest.all(kMaxAppend);
        if (!all) co_return error_response(400, "INVALID_PARAMETER_VALUE", all.error().message);
        onward.body = std::move(*all);
    } else if (request.content_length.value_or(0) > 0 || request.headers.has("Transfer-Encoding")) {
        onward.stream = std::make_unique<BorrowedBody>(rest);
        onward.length = request.content_length;
    }
    auto answer = co_await server_.send(std::move(onward), run->token);
    if (!answer) co_return away_response();
    // In place of MLflow's own line, which would name this listener (see start_request).
    if (const std::string page(answer->headers.get("x-turnout-page"));
        !page.empty() && !std::exchange(run->page_told, true))
        complain_(run->id, "turnout: view run " + run->id.job + " at: " + page);
    co_return returned(std::move(*answer), request.method);
}

}  // namespace turnout::agent

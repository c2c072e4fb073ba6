#include "client/api.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "base/text.h"
#include "client/files.h"
#include "io/posix/fd.h"
#include "io/tls/tls_client.h"

namespace turnout::client {

namespace {

constexpr std::string_view kApiVersion = "2024-10-01-preview";
constexpr std::size_t kReplyLimit = 256 << 20;
constexpr std::size_t kInFlight = 16;
constexpr int kTriesForRoom = 6;
constexpr std::int64_t kLongestPause = 10;  // seconds, whatever the server says

Code code_of(int status) {
    switch (status) {
        case 401: return Code::Unauthenticated;
        case 403: return Code::PermissionDenied;
        case 404: return Code::NotFound;
        case 409: return Code::Conflict;
        case 412: return Code::FailedPrecondition;
        case 413:
        case 429:
        case 507: return Code::ResourceExhausted;
        case 502:
        case 503:
        case 504: return Code::Unavailable;
        default: return status >= 500 ? Code::Internal : Code::InvalidArgument;
    }
}

bool is_web_page(std::string_view body) {
    const std::string_view text = trim(body).substr(0, 512);
    std::string begin(text);
    std::transform(begin.begin(), begin.end(), begin.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return begin.starts_with('<') &&
           (begin.find("<html") != std::string::npos ||
            begin.find("<!doctype html") != std::string::npos ||
            begin.find("<head") != std::string::npos || begin.find("<body") != std::string::npos);
}

std::string xml_text(std::string_view escaped);

// What a proxy, or whatever else answers there, says: its title, in one short line without its
// markup.
std::string words_of_page(int status, std::string_view body) {
    std::string title;
    for (const std::string_view tag : {"title", "TITLE", "h1", "H1"}) {
        const std::size_t open = body.find("<" + std::string(tag) + ">");
        const std::size_t close =
            open == std::string_view::npos ? open : body.find('<', open + tag.size() + 2);
        if (close == std::string_view::npos) continue;
        title = trim(xml_text(body.substr(
            open + tag.size() + 2, std::min<std::size_t>(close - open - tag.size() - 2, 80))));
        break;
    }
    for (char& c : title)
        if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    return "a web page came instead of the server's answer, with HTTP status " +
           std::to_string(status) + (title.empty() ? "" : " (\"" + title + "\")") +
           ": something else, such as a proxy, answers there";
}

// ARM's `{"error": {"code", "message"}}`, MLflow's `{"error_code", "message"}`, or the blob
// service's XML, as an error of ours.
Error error_of(int status, std::string_view body) {
    Error error(code_of(status), "HttpError", "");
    if (const Result<Json> json = parse_json(body)) {
        const Json& inner = json->at("error");
        error.reason = inner.at("code").as_string(error.reason);
        error.message = inner.at("message").as_string();
        error.subject = inner.at("target").as_string();
        for (const Json& detail : inner.at("details").items())
            if (!detail.at("message").as_string().empty())
                error.message += "\n" + detail.at("message").as_string();
        if (json->has("error_code")) {
            error.reason = json->at("error_code").as_string(error.reason);
            error.message = json->at("message").as_string();
        }
    } else if (const std::size_t at = body.find("<Message>"); at != std::string_view::npos) {
        error.message = std::string(body.substr(at + 9, body.find('<', at + 9) - at - 9));
    }
    if (is_web_page(body) || is_web_page(error.message)) {
        error.message = words_of_page(status, is_web_page(body) ? body : error.message);
        error.reason = "HttpError";
    }
    if (error.message.empty())
        error.message = "the server answered with HTTP status " + std::to_string(status);
    return error;
}

std::string with_version(std::string path) {
    if (path.find("api-version=") != std::string::npos) return path;
    path += path.find('?') == std::string::npos ? '?' : '&';
    return path + "api-version=" + std::string(kApiVersion);
}

std::string xml_text(std::string_view escaped) {
    static const std::pair<std::string_view, char> entities[] = {{"&amp;", '&'},   {"&lt;", '<'},
                                                                 {"&gt;", '>'},    {"&quot;", '"'},
                                                                 {"&apos;", '\''}, {"&#39;", '\''}};
    std::string out;
    for (std::size_t i = 0; i < escaped.size();) {
        bool found = false;
        if (escaped[i] == '&')
            for (const auto& [entity, c] : entities)
                if (escaped.substr(i, entity.size()) == entity) {
                    out += c;
                    i += entity.size();
                    found = true;
                    break;
                }
        if (!found) out += escaped[i++];
    }
    return out;
}

// The text of the first <tag> of `xml` after `from`; `from` is moved behind it.
std::optional<std::string> next_element(std::string_view xml, std::string_view tag,
                                        std::size_t& from) {
    const std::string open = "<" + std::string(tag) + ">";
    const std::size_t begin = xml.find(open, from);
    if (begin == std::string_view::npos) return std::nullopt;
    const std::size_t end = xml.find("</" + std::string(tag) + ">", begin);
    if (end == std::string_view::npos) return std::nullopt;
    from = end;
    return xml_text(xml.substr(begin + open.size(), end - begin - open.size()));
}

}  // namespace

std::string BlobPlace::at(std::string_view blob) const {
    return url + "/" + percent_encode(blob, "/") + (query.empty() ? "" : "?" + query);
}

Api::Api(Settings settings) : settings_(std::move(settings)) {}

Result<std::unique_ptr<Api>> Api::open(Settings settings) {
    std::unique_ptr<Api> api(new Api(std::move(settings)));
    http::ClientOptions options;
    options.origin = api->settings_.url;
    options.idle_per_origin = kInFlight;
    options.tls = TURNOUT_TRY(http::make_tls_connector(api->settings_.ca_file));
    api->http_ = http::make_client(api->loop_, std::move(options));
    return api;
}

Task<Result<Api::Answer>> Api::ask_patiently(std::string method, std::string url,
                                             http::Headers headers, std::string body) {
    for (int tries = 1;; ++tries) {
        http::ClientRequest request;
        request.method = method;
        request.url = url;
        request.headers = headers;
        request.body = body;
        TURNOUT_CO_TRY(http::ClientResponse response, co_await http_->send(std::move(request)));
        TURNOUT_CO_TRY(std::string bytes, co_await response.body->all(kReplyLimit));
        if (response.status != 503 || tries == kTriesForRoom ||
            bytes.find("TooManyWrites") == std::string::npos)
            co_return Answer{response.status, std::move(response.headers), std::move(bytes)};
        const auto said = parse_whole_number(response.headers.get("Retry-After"));
        co_await loop_.sleep(
            std::chrono::seconds(std::clamp<std::int64_t>(said.value_or(1), 0, kLongestPause)));
    }
}

Task<Result<Reply>> Api::exchange(std::string method, std::string url, std::string body,
                                  bool json) {
    http::Headers headers;
    const bool ours = url.starts_with('/') || url.starts_with(settings_.url + "/");
    headers.set("Accept", "application/json");
    if (ours && !settings_.api_key.empty())
        headers.set("Authorization", "Bearer " + settings_.api_key.reveal());
    if (json) headers.set("Content-Type", "application/json");
    TURNOUT_CO_TRY(Answer answer, co_await ask_patiently(std::move(method), std::move(url),
                                                         std::move(headers), std::move(body)));
    const std::string& bytes = answer.body;
    if (answer.status >= 400) co_return Failure(error_of(answer.status, bytes));
    Reply reply{.status = answer.status, .headers = std::move(answer.headers), .body = {}};
    if (!trim(bytes).empty()) {
        Result<Json> parsed = parse_json(bytes);
        if (!parsed && is_web_page(bytes))
            co_return fail(Code::Unavailable, "HttpError", words_of_page(answer.status, bytes));
        if (!parsed)
            co_return internal("the server's answer is not JSON: " + parsed.error().message);
        reply.body = std::move(*parsed);
    }
    co_return reply;
}

Result<Reply> Api::send(std::string method, std::string path, const Json* body) {
    Result<Reply> reply = loop_.run(exchange(std::move(method), with_version(std::move(path)),
                                             body == nullptr ? "" : body->dump(), body != nullptr));
    if (!reply) explain(reply.error());
    return reply;
}

void Api::explain(Error& error) const {
    if (error.code == Code::Unavailable && error.reason != "HttpError")
        error.message = "the server at " + settings_.url + " does not answer (" + error.message +
                        "): is it running? start it with `turnout up`";
}

Task<Result<void>> Api::ask(
    std::size_t number, Request request,
    const std::function<bool(std::size_t, const Result<Reply>&)>& answered) {
    const bool has_body = !request.body.is_null();
    std::string body = has_body ? request.body.dump() : std::string();
    Result<Reply> reply =
        co_await exchange(std::move(request.method), with_version(std::move(request.path)),
                          std::move(body), has_body);
    if (!reply) explain(reply.error());
    if (!answered(number, reply)) co_return fail(Code::Canceled, "Enough", "no more is wanted");
    co_return {};
}

void Api::send_each(std::size_t count, const std::function<Request(std::size_t)>& make,
                    const std::function<bool(std::size_t, const Result<Reply>&)>& answered) {
    (void)in_parallel(count, [&](std::size_t i) { return ask(i, make(i), answered); });
}

Result<Json> Api::get(std::string path) {
    return TURNOUT_TRY(send("GET", std::move(path))).body;
}
Result<Json> Api::put(std::string path, const Json& body) {
    return TURNOUT_TRY(send("PUT", std::move(path), &body)).body;
}
Result<Json> Api::patch(std::string path, const Json& body) {
    return TURNOUT_TRY(send("PATCH", std::move(path), &body)).body;
}
Result<Json> Api::post(std::string path, const Json& body) {
    return TURNOUT_TRY(send("POST", std::move(path), &body)).body;
}

Result<Json> Api::list(std::string path, std::size_t limit) {
    Json all = Json::array();
    TURNOUT_TRY(each(std::move(path), [&](Json& item) {
        if (all.items().size() < limit) all.push(std::move(item));
        return all.items().size() < limit;
    }));
    return all;
}

Result<void> Api::each(std::string path, const std::function<bool(Json& item)>& item) {
    while (!path.empty()) {
        Json page = TURNOUT_TRY(get(path));
        Json* items = page.is_array()     ? &page
                      : page.has("value") ? &page["value"]
                      : page.has("nodes") ? &page["nodes"]
                                          : nullptr;
        if (items != nullptr && items->is_array())
            for (Json& one : items->items())
                if (!item(one)) return {};
        path = page.at("nextLink").as_string();
        // Other origins never see the key; a page of ours is asked for at our own address.
        if (path.starts_with(settings_.url))
            path = path.substr(settings_.url.size());
        else if (const std::size_t scheme = path.find("://"); scheme != std::string::npos) {
            const std::size_t slash = path.find('/', scheme + 3);
            path = slash == std::string::npos ? "" : path.substr(slash);
        }
    }
    return {};
}

std::string Api::operation_of(const Reply& reply) const {
    std::string url(reply.headers.get("azure-asyncoperation"));
    if (url.empty() && reply.status == 202) url = std::string(reply.headers.get("location"));
    return url.starts_with(settings_.url) ? url.substr(settings_.url.size()) : url;
}

Result<bool> Api::is_over(const Reply& state) {
    const std::string status = state.body.at("status").as_string();
    if (state.body.at("error").is_object() && (status == "Failed" || status == "Canceled"))
        return fail(Code::FailedPrecondition,
                    state.body.at("error").at("code").as_string("OperationFailed"),
                    state.body.at("error").at("message").as_string("the operation failed"));
    if (status == "Failed" || status == "Canceled")
        return fail(Code::FailedPrecondition, "OperationFailed",
                    "the operation ended as " + status);
    return status == "Succeeded" || (status.empty() && state.status != 202);
}

Result<void> Api::finish(const Reply& reply,
                         const std::function<void(const std::string&)>& waiting) {
    const std::string url = operation_of(reply);
    if (url.empty()) return {};
    while (true) {
        const Reply state = TURNOUT_TRY(send("GET", url));
        if (TURNOUT_TRY(is_over(state))) return {};
        if (waiting) waiting(state.body.at("status").as_string());
        loop_.run(loop_.sleep(500ms));
    }
}

Result<std::pair<int, std::string>> Api::ask(std::string url, http::Headers headers,
                                             std::string body, http::Headers* answered) {
    Result<Answer> answer =
        loop_.run(ask_patiently("POST", std::move(url), std::move(headers), std::move(body)));
    if (!answer) {
        explain(answer.error());
        return Failure(answer.error());
    }
    if (answered != nullptr) *answered = std::move(answer->headers);
    return std::pair(answer->status, std::move(answer->body));
}

Result<std::pair<std::string, http::Headers>> Api::fetch(std::string url) {
    http::Headers headers;
    const bool ours = url.starts_with(settings_.url + "/") ||
                      (!settings_.plain_url.empty() && url.starts_with(settings_.plain_url + "/"));
    auto answer = TURNOUT_TRY(loop_.run(blob_call(
        "GET", std::move(url), "", {}, ours ? settings_.api_key.reveal() : "", &headers)));
    return std::pair(std::move(answer.second), std::move(headers));
}

// ---- blobs ----

Task<Result<std::pair<int, std::string>>> Api::blob_call(
    std::string method, std::string url, std::string body,
    std::vector<std::pair<std::string, std::string>> headers, std::string bearer,
    http::Headers* reply_headers) {
    http::Headers all;
    const bool head = method == "HEAD";
    all.set("x-ms-version", "2023-11-03");
    for (auto& [name, value] : headers) all.set(name, std::move(value));
    if (!bearer.empty()) all.set("Authorization", "Bearer " + bearer);
    TURNOUT_CO_TRY(Answer answer, co_await ask_patiently(std::move(method), std::move(url),
                                                         std::move(all), std::move(body)));
    if (reply_headers != nullptr) *reply_headers = std::move(answer.headers);
    if (answer.status >= 400 && !(head && answer.status == 404))
        co_return Failure(error_of(answer.status, answer.body));
    co_return std::pair(answer.status, std::move(answer.body));
}

Task<Result<void>> Api::stream_call(std::string url, std::unique_ptr<http::BodyReader> body,
                                    std::uint64_t length,
                                    std::vector<std::pair<std::string, std::string>> headers,
                                    std::string bearer, http::Headers* reply_headers) {
    http::ClientRequest request;
    request.method = "PUT";
    request.url = std::move(url);
    request.headers.set("x-ms-version", "2023-11-03");
    for (auto& [name, value] : headers) request.headers.set(name, std::move(value));
    if (!bearer.empty()) request.headers.set("Authorization", "Bearer " + bearer);
    request.stream = std::move(body);
    request.length = length;
    request.timeout = 600s;  // what it holds is on the disk before it is answered
    TURNOUT_CO_TRY(http::ClientResponse response, co_await http_->send(std::move(request)));
    TURNOUT_CO_TRY(const std::string bytes, co_await response.body->all(kReplyLimit));
    if (response.status >= 400) co_return Failure(error_of(response.status, bytes));
    *reply_headers = std::move(response.headers);
    co_return {};
}

Result<BlobPlace> Api::datastore(const std::string& name) {
    const std::string path = in_workspace("/datastores/" + percent_encode(name));
    const Json store = TURNOUT_TRY(get(path));
    const Json& properties = store.at("properties");
    const std::string account = properties.at("accountName").as_string();
    BlobPlace place;
    place.url = "https://" + account + ".blob." + properties.at("endpoint").as_string() + "/" +
                properties.at("containerName").as_string();
    if (properties.at("credentials").at("credentialsType").as_view() == "None") {
        if (place.url.starts_with(settings_.url + "/")) place.bearer = settings_.api_key.reveal();
        return place;
    }
    const Json secrets = TURNOUT_TRY(post(
        path + "/listSecrets", Json::object({{"expirableSecret", true}, {"expireAfterHours", 4}})));
    place.query = secrets.at("sasToken").as_string();
    if (place.query.empty())
        return fail(
            Code::FailedPrecondition, "NoSas",
            "datastore '" + name + "' gives no SAS token: data in it cannot be reached from here");
    if (place.query.starts_with('?')) place.query.erase(0, 1);
    return place;
}

Result<std::vector<RemoteFile>> Api::list_blobs(const BlobPlace& place, const std::string& prefix) {
    std::vector<RemoteFile> files;
    std::string marker;
    do {
        std::string url = place.url +
                          "?restype=container&comp=list&prefix=" + percent_encode(prefix) +
                          (marker.empty() ? "" : "&marker=" + percent_encode(marker)) +
                          (place.query.empty() ? "" : "&" + place.query);
        const auto [status, xml] =
            TURNOUT_TRY(loop_.run(blob_call("GET", std::move(url), "", {}, place.bearer, nullptr)));
        for (std::size_t at = xml.find("<Blob>"); at != std::string::npos;
             at = xml.find("<Blob>", at)) {
            std::optional<std::string> name = next_element(xml, "Name", at);
            const std::optional<std::string> size = next_element(xml, "Content-Length", at);
            if (!name || !size) return internal("the server's list of blobs cannot be read");
            RemoteFile file{std::move(*name), 0};
            std::from_chars(size->data(), size->data() + size->size(), file.size);
            files.push_back(std::move(file));
        }
        std::size_t at = 0;
        marker = next_element(xml, "NextMarker", at).value_or("");
    } while (!marker.empty());
    return files;
}

// At most kInFlight at once; the first failure ends it after those under way.
Result<void> Api::in_parallel(std::size_t count,
                              const std::function<Task<Result<void>>(std::size_t)>& make) {
    struct Shared {
        std::size_t next = 0, active = 0;
        std::optional<Error> failure;
    } shared;
    const auto runner =
        [](Shared& state, std::size_t total,
           const std::function<Task<Result<void>>(std::size_t)>& one) -> Task<void> {
        while (state.next < total && !state.failure) {
            Result<void> done = co_await one(state.next++);
            if (!done && !state.failure) state.failure = done.error();
        }
    };
    shared.active = std::min(count, kInFlight);
    for (std::size_t i = shared.active; i > 0; --i)
        start(runner(shared, count, make), [&shared] { --shared.active; });
    loop_.run_until([&shared] { return shared.active == 0; });
    if (shared.failure) return Failure(*shared.failure);
    return {};
}

Task<Result<void>> Api::get_file(BlobPlace place, RemoteFile file, std::string temporary,
                                 std::string path, std::function<void(std::uint64_t)> got) {
    if (Result<void> made = make_folders(folder_of(path)); !made) co_return made;
    http::ClientRequest request;
    request.url = place.at(file.name);
    request.headers.set("x-ms-version", "2023-11-03");
    if (!place.bearer.empty()) request.headers.set("Authorization", "Bearer " + place.bearer);
    TURNOUT_CO_TRY(http::ClientResponse response, co_await http_->send(std::move(request)));
    if (response.status >= 400) {
        TURNOUT_CO_TRY(const std::string bytes, co_await response.body->all(1 << 20));
        co_return Failure(error_of(response.status, bytes));
    }
    const Fd open(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!open)
        co_return fail(Code::FailedPrecondition, "FileError",
                       "cannot create '" + temporary + "': " + std::strerror(errno), path);
    std::uint64_t size = 0;
    while (true) {
        TURNOUT_CO_TRY(const std::string piece, co_await response.body->read());
        if (piece.empty()) break;
        size += piece.size();
        std::size_t done = 0;
        while (done < piece.size()) {
            const ssize_t put = ::write(open.get(), piece.data() + done, piece.size() - done);
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) {
                co_return fail(Code::FailedPrecondition, "FileError",
                               "cannot write '" + temporary + "': " + std::strerror(errno), path);
            }
            done += static_cast<std::size_t>(put);
        }
        if (got) got(piece.size());
    }
    if (size < file.size)
        co_return fail(Code::Unavailable, "Incomplete",
                       "'" + file.name + "' has " + std::to_string(file.size) +
                           " bytes, of which " + std::to_string(size) + " came: download it again",
                       path);
    if (::rename(temporary.c_str(), path.c_str()) != 0)
        co_return fail(Code::FailedPrecondition, "FileError",
                       "cannot create '" + path + "': " + std::strerror(errno), path);
    co_return {};
}

Result<void> Api::download(const BlobPlace& place, const std::vector<RemoteFile>& files,
                           const std::string& prefix, const std::string& folder,
                           const Progress& progress) {
    std::uint64_t total = 0, done = 0;
    std::vector<std::string> paths;  // within the folder
    for (const RemoteFile& file : files) {
        std::string relative =
            file.name.starts_with(prefix) ? file.name.substr(prefix.size()) : file.name;
        while (relative.starts_with('/')) relative.erase(0, 1);
        if (relative.empty()) relative = base_name(file.name);
        // Names come from the server: none leads out of the folder.
        paths.push_back(TURNOUT_TRY(checked_relative_path(relative, "blob name")));
    }
    // Blobs know no folders: one may be called "a" and another "a/b". Such a file cannot be here.
    const std::set<std::string> names(paths.begin(), paths.end());
    std::vector<std::size_t> wanted;
    std::string hidden;
    for (std::size_t i = 0; i < paths.size(); ++i) {
        const auto beneath = names.lower_bound(paths[i] + "/");
        if (beneath != names.end() && beneath->starts_with(paths[i] + "/")) {
            hidden = paths[i];
            continue;
        }
        wanted.push_back(i);
        total += files[i].size;
    }
    const auto got = [&](std::uint64_t more) {
        done += more;
        if (progress) progress(done, total);
    };
    if (progress) progress(0, total);
    if (!wanted.empty()) {
        const Staging staging = TURNOUT_TRY(Staging::make(folder, paths));
        TURNOUT_TRY(in_parallel(wanted.size(), [&](std::size_t i) {
            return get_file(place, files[wanted[i]], staging.file(i),
                            folder + "/" + paths[wanted[i]], got);
        }));
    }
    if (!hidden.empty())
        return fail(Code::FailedPrecondition, "NameTaken",
                    "'" + hidden +
                        "' was not downloaded: there are files beneath that name too, and a folder "
                        "cannot hold both (" +
                        std::to_string(wanted.size()) + " of " + std::to_string(files.size()) +
                        " were)",
                    hidden);
    return {};
}

}  // namespace turnout::client

#include "agent/server.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "agent/files.h"
#include "agent/tar.h"
#include "base/json.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "protocol/blob_listing.h"

namespace turnout::agent {
namespace {

constexpr std::size_t kMaxList = 16 << 20;
constexpr std::size_t kMaxError = 64 << 10;
constexpr std::size_t kPiece = 256 << 10;
constexpr const char* kWriter = "x-ms-meta-turnout_writer";
constexpr int kTriesAgainstOthers = 5;

class FileBody final : public http::BodyReader {
public:
    FileBody(Fd file, std::uint64_t left, std::string path)
        : file_(std::move(file)), left_(left), path_(std::move(path)) {}
    Task<Result<std::string>> read() override {
        std::string piece(static_cast<std::size_t>(std::min<std::uint64_t>(left_, kPiece)), '\0');
        if (piece.empty()) co_return piece;
        ssize_t n;
        do n = ::read(file_.get(), piece.data(), piece.size());
        while (n < 0 && errno == EINTR);
        if (n < 0) co_return failed("reading", path_);
        // It shrank while it was read: not a blob that anybody wrote. The next look will find it
        // again.
        if (n == 0)
            co_return fail(Code::Unavailable, "FileChanged",
                           "'" + path_ + "' changed while it was uploaded", path_);
        piece.resize(static_cast<std::size_t>(n));
        left_ -= static_cast<std::uint64_t>(n);
        co_return piece;
    }

private:
    Fd file_;
    std::uint64_t left_;
    std::string path_;
};

std::string blob_url(const std::string& container, const std::string& name) {
    return "/blob/" + percent_encode(container) + "/" + percent_encode(name, "/");
}

Error error_of(int status, const std::string& body, const std::string& what) {
    std::string message, reason;
    if (auto json = parse_json(body)) {
        const Json& error = json->at("error");
        message = error.at("message").as_string();
        reason = error.at("code").as_string();
    } else if (body.find("<Error>") != std::string::npos) {
        message = protocol::xml_text(body, "Message");
        reason = protocol::xml_text(body, "Code");
    }
    if (status == 507) reason = "DiskFull";
    if (message.empty()) message = "HTTP status " + std::to_string(status);
    Code code = status == 404                                     ? Code::NotFound
                : status == 401                                   ? Code::Unauthenticated
                : status == 403                                   ? Code::PermissionDenied
                : status == 409 || status == 412                  ? Code::Conflict
                : status == 408 || status == 429 || status >= 500 ? Code::Unavailable
                                                                  : Code::InvalidArgument;
    return Error{code, reason, what + ": " + message, "", nullptr};
}

int rank_of(std::string_view writer) {
    return std::atoi(std::string(writer.substr(writer.rfind('/') + 1)).c_str());
}

// Whether what `theirs` wrote stays, although `ours` has a blob of that name too: it is of the same
// attempt, and of a lower rank. What has another writer, or none, is of an earlier attempt or job.
bool goes_before(std::string_view theirs, std::string_view ours) {
    return theirs.substr(0, theirs.rfind('/')) == ours.substr(0, ours.rfind('/')) &&
           rank_of(theirs) < rank_of(ours);
}

// Tasks side by side. Shared by the ends of the tasks and by the one who waits.
struct Join {
    std::size_t count = 0;
    std::function<Task<Result<void>>(std::size_t)> make;
    std::size_t next = 0, running = 0, width = 1;
    bool starting = false;
    std::optional<Error> error;
    std::optional<Later<bool>::Settle> waiter;
};

void start_more(const std::shared_ptr<Join>& join) {
    // Many may end before they ever wait: each leaves the next one to this loop, not to its own
    // end.
    if (std::exchange(join->starting, true)) return;
    while (join->next < join->count && join->running < join->width && !join->error) {
        ++join->running;
        start(join->make(join->next++), [join](Result<void> result) {
            --join->running;
            if (!result && !join->error) join->error = result.error();
            start_more(join);
            if (join->running == 0 && join->waiter && !join->starting) {
                auto settle = *std::exchange(join->waiter, std::nullopt);
                settle(true);
            }
        });
    }
    join->starting = false;
}

}  // namespace

Task<Result<http::ClientResponse>> Server::send(http::ClientRequest request, Secret token) {
    request.headers.set("Authorization", "Bearer " + token.reveal());
    auto response = co_await client_->send(std::move(request));
    if (!response && response.error().code == Code::Ambiguous) {
        Error error = response.error();
        error.code = Code::Unavailable;
        co_return Failure(std::move(error));
    }
    co_return response;
}

Task<Result<http::ClientResponse>> Server::ask(http::ClientRequest request, Secret token) {
    std::string what = request.method + " " + request.url.substr(0, request.url.find('?'));
    TURNOUT_CO_TRY(auto response, co_await send(std::move(request), std::move(token)));
    if (response.status >= 200 && response.status < 300) co_return response;
    std::string body;
    if (response.body) {
        auto read = co_await response.body->all(kMaxError);
        if (read) body = std::move(*read);
    }
    co_return Failure(error_of(response.status, body, what));
}

Task<Result<std::vector<RemoteBlob>>> Server::list(std::string container, std::string prefix,
                                                   Secret token) {
    std::vector<RemoteBlob> blobs;
    std::string marker;
    while (prefix.ends_with('/')) prefix.pop_back();
    do {
        http::ClientRequest request;
        request.url = "/blob/" + percent_encode(container) +
                      "?restype=container&comp=list&prefix=" + percent_encode(prefix);
        if (!marker.empty()) request.url += "&marker=" + percent_encode(marker);
        TURNOUT_CO_TRY(auto response, co_await ask(std::move(request), token));
        TURNOUT_CO_TRY(auto xml, co_await response.body->all(kMaxList));
        auto listing = protocol::parse_blob_listing(xml);
        if (!listing)
            co_return fail(Code::Unavailable, "ListingUnreadable", listing.error().message);
        for (auto& blob : listing->blobs)
            // "data/a" is not beneath "data/ab", though it begins alike.
            if (prefix.empty() || blob.name == prefix || blob.name.starts_with(prefix + "/"))
                blobs.push_back(std::move(blob));
        marker = std::move(listing->next_marker);
    } while (!marker.empty());
    co_return blobs;
}

Task<Result<void>> Server::get_tar(std::string container, std::string prefix, std::string folder,
                                   Secret token) {
    Fd target(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!target) co_return failed("opening", folder);
    http::ClientRequest request;
    request.url =
        "/turnout/blobs/" + percent_encode(container) + "/tar?prefix=" + percent_encode(prefix);
    TURNOUT_CO_TRY(auto response, co_await ask(std::move(request), std::move(token)));
    TarReader tar(target.get());
    for (;;) {
        auto piece = co_await response.body->read();
        if (!piece) {
            Error error = piece.error();
            error.code = Code::Unavailable;  // the rest did not come: try again
            co_return Failure(std::move(error));
        }
        if (piece->empty()) break;
        TURNOUT_CO_TRY_VOID(tar.feed(*piece));
    }
    co_return tar.finish();
}

Task<Result<void>> Server::get_blob(std::string container, std::string name, std::string folder,
                                    std::string relative, Secret token,
                                    std::function<bool(std::size_t)> got) {
    Fd target(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!target) co_return failed("opening", folder);
    http::ClientRequest request;
    request.url = blob_url(container, name);
    TURNOUT_CO_TRY(auto response, co_await ask(std::move(request), std::move(token)));
    TURNOUT_CO_TRY(auto file, create_beneath(target.get(), relative, 0644));
    for (;;) {
        auto piece = co_await response.body->read();
        if (!piece) {
            Error error = piece.error();
            error.code = Code::Unavailable;
            co_return Failure(std::move(error));
        }
        if (piece->empty()) co_return Result<void>();
        TURNOUT_CO_TRY_VOID(write_all(file.get(), *piece, relative));
        if (got && !got(piece->size()))
            co_return fail(Code::Canceled, "Canceled", "no longer wanted");
    }
}

Task<Result<std::vector<Server::Piece>>> Server::pieces_of(std::string container, std::string name,
                                                           Secret token) {
    http::ClientRequest request;
    request.url =
        "/turnout/blobs/" + percent_encode(container) + "/pieces?name=" + percent_encode(name);
    TURNOUT_CO_TRY(auto response, co_await ask(std::move(request), std::move(token)));
    TURNOUT_CO_TRY(const auto text, co_await response.body->all(kMaxList));
    TURNOUT_CO_TRY(const Json answer, parse_json(text));
    std::vector<Piece> pieces;
    for (const Json& item : answer.at("pieces").items()) {
        Piece piece{static_cast<std::uint64_t>(item.at("size").as_int()),
                    item.at("file").as_string(), ""};
        if (piece.file.empty()) piece.bytes = from_base64(item.at("bytes").as_view()).value_or("");
        if (piece.file.empty() && piece.bytes.size() != piece.size)
            co_return internal("the server's pieces of '" + name + "' cannot be read");
        pieces.push_back(std::move(piece));
    }
    co_return pieces;
}

Task<Result<void>> Server::put_blob(std::string container, std::string name, std::string path,
                                    std::string inside, std::uint64_t size, Secret token,
                                    std::string writer) {
    std::vector<std::pair<std::string, std::string>> headers;
    if (!writer.empty()) headers.emplace_back(kWriter, writer);
    if (rank_of(writer) == 0)
        co_return co_await put_once(container, name, path, inside, size, token, headers);
    headers.emplace_back();
    for (int tries = 0; tries < kTriesAgainstOthers; ++tries) {
        http::ClientRequest look;
        look.method = "HEAD";
        look.url = blob_url(container, name);
        auto there = co_await ask(std::move(look), token);
        if (!there && there.error().code != Code::NotFound) co_return Failure(there.error());
        if (there && goes_before(there->headers.get(kWriter), writer)) co_return Result<void>();
        headers.back() = there ? std::pair("If-Match", std::string(there->headers.get("ETag")))
                               : std::pair("If-None-Match", std::string("*"));
        auto put = co_await put_once(container, name, path, inside, size, token, headers);
        if (put || put.error().code != Code::Conflict) co_return put;
    }
    co_return fail(Code::Unavailable, "BlobBusy",
                   "blob '" + name + "' is being written by several nodes at a time", name);
}

Task<Result<void>> Server::put_once(std::string container, std::string name, std::string path,
                                    std::string inside, std::uint64_t size, Secret token,
                                    std::vector<std::pair<std::string, std::string>> headers) {
    TURNOUT_CO_TRY(Fd file, open_listed(path, inside));
    http::ClientRequest request;
    request.method = "PUT";
    request.url = blob_url(container, name);
    request.headers.set("x-ms-blob-type", "BlockBlob");
    for (const auto& [header, value] : headers) request.headers.set(header, value);
    request.headers.set("Content-Type", "application/octet-stream");
    if (size <= kPiece) {
        FileBody body(std::move(file), size, path);
        TURNOUT_CO_TRY(request.body, co_await body.all(kPiece));
    } else {
        request.length = size;
        request.stream = std::make_unique<FileBody>(std::move(file), size, path);
        request.timeout = 600s;
    }
    TURNOUT_CO_TRY(auto response, co_await ask(std::move(request), std::move(token)));
    if (response.body) (void)co_await response.body->all(kMaxError);
    co_return Result<void>();
}

Task<Result<void>> in_parallel(std::size_t count,
                               std::function<Task<Result<void>>(std::size_t)> make,
                               std::size_t width) {
    auto join = std::make_shared<Join>();
    join->count = count;
    join->make = std::move(make);
    join->width = width;
    start_more(join);
    if (join->running > 0) {
        Later<bool> end;
        join->waiter = end.settle();
        co_await end;
    }
    if (join->error) co_return Failure(*join->error);
    co_return Result<void>();
}

Task<void> Backoff::wait() {
    Span pause = next_;
    next_ = std::min(next_ * 2, longest_);
    co_await loop_.sleep(pause);
}

}  // namespace turnout::agent

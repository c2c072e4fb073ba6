// The public API as one command sees it: it asks, and waits for the answer. Everything runs on a
// loop of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "client/settings.h"
#include "client/snapshot.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "io/posix/http_client.h"

namespace turnout::client {

struct Reply {
    int status = 0;
    http::Headers headers;
    Json body;
};

// Told how far a transfer is; both in bytes.
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// A container, or a part of one, that can be read and written: a URL and what to sign with.
struct BlobPlace {
    std::string url;     // "https://host/account/container", no '/' at the end
    std::string query;   // SAS, or ""
    std::string bearer;  // or ""
    std::string at(std::string_view blob) const;  // URL of a blob, query included
};

struct RemoteFile {
    std::string name;  // in the container
    std::uint64_t size = 0;
};

class Api {
public:
    static Result<std::unique_ptr<Api>> open(Settings settings);

    const Settings& settings() const { return settings_; }
    AsioLoop& loop() { return loop_; }
    std::string uuid() { return random_.uuid(); }
    Instant now() const { return clock_.now(); }

    // `path` begins with '/' and may have a query; an api-version is added. ARM's errors become
    // ours.
    Result<Reply> send(std::string method, std::string path, const Json* body = nullptr);
    Result<Json> get(std::string path);
    Result<Json> put(std::string path, const Json& body);
    Result<Json> patch(std::string path, const Json& body);
    Result<Json> post(std::string path, const Json& body = Json::object());
    // All pages of a collection.
    Result<Json> list(std::string path, std::size_t limit = SIZE_MAX);
    // Each item of all pages, until `item` says false.
    Result<void> each(std::string path, const std::function<bool(Json& item)>& item);
    // So many requests, 16 at a time. `answered` is told every answer as it comes, and says whether
    // to go on: what is under way is waited for in any case.
    struct Request {
        std::string method, path;
        Json body;  // null: none
    };
    void send_each(std::size_t count, const std::function<Request(std::size_t)>& make,
                   const std::function<bool(std::size_t, const Result<Reply>&)>& answered);
    // Where to ask how an operation goes that this answer began; "" if it is over.
    std::string operation_of(const Reply& reply) const;
    // Whether it is over, from an answer of there; an error if it failed.
    static Result<bool> is_over(const Reply& state);
    // Waits for a long-running operation to end; `waiting` is told its state now and then.
    Result<void> finish(const Reply& reply,
                        const std::function<void(const std::string&)>& waiting = {});
    // What a URL answers to that text, whatever its status; `headers` are all that goes with it.
    Result<std::pair<int, std::string>> ask(std::string url, http::Headers headers,
                                            std::string body, http::Headers* answered = nullptr);
    // Bytes of any URL (a log's): "" with `more` false at the end. Only our own origins get the
    // key.
    Result<std::pair<std::string, http::Headers>> fetch(std::string url);

    std::string in_workspace(std::string_view rest) const {
        return settings_.workspace_path() + std::string(rest);
    }

    // ---- blobs ----
    Result<BlobPlace> datastore(const std::string& name);
    Result<std::vector<RemoteFile>> list_blobs(const BlobPlace& place, const std::string& prefix);
    Result<void> download(const BlobPlace& place, const std::vector<RemoteFile>& files,
                          const std::string& prefix, const std::string& folder,
                          const Progress& progress);
    // To `{place}/{prefix}{relative}`, 16 at a time. `etags` gets those of what was written, "" of
    // what was not.
    Result<void> upload(const BlobPlace& place, const std::string& prefix,
                        const std::vector<SnapshotFile>& files, const Progress& progress,
                        const bool* stop = nullptr, std::vector<std::string>* etags = nullptr);

    // ---- what has to be uploaded before a resource can be made ----
    // A code asset's ARM id; `uploaded` tells whether anything was sent.
    Result<std::string> upload_code(const std::string& folder, const Progress& progress,
                                    bool& uploaded);
    // A data, model or build context folder or file:
    // "azureml://datastores/workspaceblobstore/paths/…".
    Result<std::string> upload_data(const std::string& path, const Progress& progress,
                                    bool& uploaded);
    // The build context's own form: a URL of the blob service.
    Result<std::string> upload_context(const std::string& path, const Progress& progress,
                                       bool& uploaded);

private:
    explicit Api(Settings settings);
    struct Answer {
        int status = 0;
        http::Headers headers;
        std::string body;
    };
    // Sent again where the server has no room for it just now.
    Task<Result<Answer>> ask_patiently(std::string method, std::string url, http::Headers headers,
                                       std::string body);
    Task<Result<Reply>> exchange(std::string method, std::string url, std::string body, bool json);
    Task<Result<void>> ask(std::size_t number, Request request,
                           const std::function<bool(std::size_t, const Result<Reply>&)>& answered);
    void explain(Error& error) const;  // that the server does not answer, and what to do
    // `sent` hears of each piece, with a minus of what has to go again. Ends when `stop` says so.
    // `etag` gets that of what was written.
    Task<Result<void>> put_file(BlobPlace place, std::string blob, SnapshotFile file,
                                std::function<void(std::int64_t)> sent, const bool* stop,
                                std::string* etag);
    Task<Result<void>> copy_blob(BlobPlace place, std::string from, std::string to);
    // `etag`: only if it is that one.
    Task<Result<void>> remove_blob(BlobPlace place, std::string blob, std::string etag = "");
    Task<Result<void>> stream_call(std::string url, std::unique_ptr<http::BodyReader> body,
                                   std::uint64_t length,
                                   std::vector<std::pair<std::string, std::string>> headers,
                                   std::string bearer, http::Headers* reply_headers);
    Result<bool> is_complete(const std::string& marker, const BlobPlace& place);
    Task<Result<void>> get_file(BlobPlace place, RemoteFile file, std::string temporary,
                                std::string path, std::function<void(std::uint64_t)> got);
    Task<Result<std::pair<int, std::string>>> blob_call(
        std::string method, std::string url, std::string body,
        std::vector<std::pair<std::string, std::string>> headers, std::string bearer,
        http::Headers* reply_headers);
    Result<void> in_parallel(std::size_t count,
                             const std::function<Task<Result<void>>(std::size_t)>& make);
    struct Placed {
        BlobPlace place;
        std::string blob;  // "LocalUpload/{hash}/{name}"
        bool folder = false;
    };
    Result<Placed> place_data(const std::string& path, const Progress& progress, bool& uploaded);

    Settings settings_;
    AsioLoop loop_;
    PosixClock clock_;
    PosixRandom random_;
    std::unique_ptr<http::Client> http_;
};

}  // namespace turnout::client

// The server's HTTP routes that a node uses, as coroutines. One try each: Unavailable means try
// again later, any other error is final.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "io/apart.h"
#include "io/http.h"
#include "io/loop.h"
#include "protocol/blob_listing.h"

namespace turnout::agent {

using RemoteBlob = protocol::ListedBlob;

class Server {
public:
    Server(Loop& loop, std::unique_ptr<http::Client> client)
        : loop_(loop), client_(std::move(client)) {}

    // Any request with that bearer. Not being reachable is Unavailable, whatever the method: what
    // is sent through here may be repeated.
    Task<Result<http::ClientResponse>> send(http::ClientRequest request, Secret token);
    // The response if its status is 2xx; else its error, with the server's words.
    Task<Result<http::ClientResponse>> ask(http::ClientRequest request, Secret token);

    // All blobs beneath the folder (or the one blob of that name), in the server's order.
    Task<Result<std::vector<RemoteBlob>>> list(std::string container, std::string prefix,
                                               Secret token);
    // The tar of a prefix, unpacked into the folder (which exists and is empty).
    Task<Result<void>> get_tar(std::string container, std::string prefix, std::string folder,
                               Secret token);
    // One blob into a new file beneath the folder. `got` hears of each piece, and ends it by false
    // (Canceled).
    Task<Result<void>> get_blob(std::string container, std::string name, std::string folder,
                                std::string relative, Secret token,
                                std::function<bool(std::size_t)> got = nullptr);
    // Where the content of a blob is, if the server is on this machine; NotFound if it is not.
    struct Piece {
        std::uint64_t size = 0;
        std::string file;  // "" = here:
        std::string bytes;
    };
    Task<Result<std::vector<Piece>>> pieces_of(std::string container, std::string name,
                                               Secret token);
    // The first `size` bytes of a file that really lies beneath `inside` as a blob. `writer`, if
    // the attempt has several nodes, is "ATTEMPT/RANK": of those that write one name the lowest
    // rank's stays.
    Task<Result<void>> put_blob(std::string container, std::string name, std::string path,
                                std::string inside, std::uint64_t size, Secret token,
                                std::string writer = "");

    Loop& loop() { return loop_; }

private:
    Task<Result<void>> put_once(std::string container, std::string name, std::string path,
                                std::string inside, std::uint64_t size, Secret token,
                                std::vector<std::pair<std::string, std::string>> headers);

    Loop& loop_;
    std::unique_ptr<http::Client> client_;
};

// Runs the tasks make(0) … make(count - 1) side by side, at most `width` at a time, each made when
// its turn has come; to the end of those begun, and the first error, after which none is begun.
Task<Result<void>> in_parallel(std::size_t count,
                               std::function<Task<Result<void>>(std::size_t)> make,
                               std::size_t width);

// Pauses between tries, growing.
class Backoff {
public:
    Backoff(Loop& loop, Span first, Span longest)
        : loop_(loop), next_(first), first_(first), longest_(longest) {}
    Task<void> wait();
    void reset() { next_ = first_; }

private:
    Loop& loop_;
    Span next_, first_, longest_;
};

}  // namespace turnout::agent

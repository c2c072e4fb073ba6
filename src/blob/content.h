// Content by its hash: small in the store, large in files. Who refers to content says so in
// BlobUse, one row per reference, so that counting never needs a read-modify-write; content without
// references is deleted by collect() after a hold.
//
//   small (<= kSmall)  Table::BlobData[sha256]         written in the batch that refers to it
//   large              {folder}/{ab}/{sha256}          durable before the batch that refers to it
//   BlobUse  "r/{sha256}/{key of the referring row}"   a reference
//            "h/{sha256}" -> "{16 hex micros} {size}"  a reference ended then; its hold began
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "base/time.h"
#include "io/http.h"
#include "io/loop.h"
#include "store/store.h"
#include "store/turns.h"

namespace turnout::blob {

inline constexpr std::size_t kSmall = 64 << 10;
inline constexpr std::size_t kPiece = 256 << 10;  // of file reads and writes
// A disk with less than that, or than a twentieth, is nearly full.
inline constexpr std::uint64_t kLowSpace = std::uint64_t{1} << 30;

struct Part {
    std::string sha256;  // hex
    std::uint64_t size = 0;
    bool small() const { return size <= kSmall; }
    bool operator==(const Part&) const = default;
};

struct Sink;

// While it lives, that content is not collected.
class Pin {
public:
    using Counts = std::map<std::string, int, std::less<>>;
    Pin() = default;
    Pin(std::shared_ptr<Counts> counts, std::string sha256);
    Pin(Pin&& other) noexcept = default;
    Pin& operator=(Pin&& other) noexcept;
    ~Pin() { release(); }

private:
    void release();
    std::shared_ptr<Counts> counts_;  // shared: a pin may outlive the contents it came from
    std::string sha256_;
};

// Content that arrived: what its batch needs. Keep it until that batch is committed.
struct Received {
    Part part;
    std::string bytes;  // if small
    Pin pin;
};

class Contents {
public:
    Contents(Store& store, Loop& loop, std::string folder, std::function<bool()> low = {})
        : store_(store), loop_(loop), folder_(std::move(folder)), low_(std::move(low)) {}

    // Removes what an earlier process left half written.
    Result<void> open();

    // Takes a body in; large content is durable in its file when this is ready. An error of the
    // body leaves nothing behind.
    Task<Result<Received>> receive(http::BodyReader& body);
    // The same of a file on this disk, which is moved. It is gone whatever becomes of it.
    Task<Result<Received>> receive_file(std::string path);
    Received of_bytes(std::string bytes);
    // A pin on content that exists already.
    Received of_part(const Part& part);

    // Adds to `batch` that `referrer` refers to it, and the content itself if it is small and
    // perhaps not there.
    Result<void> refer(Batch& batch, const Received& content, std::string_view referrer);
    // The end of a reference.
    void release(Batch& batch, const Part& part, std::string_view referrer, Instant now);

    // Bytes [offset, offset + length) of the parts put together.
    std::unique_ptr<http::BodyReader> read(std::vector<Part> parts, std::uint64_t offset,
                                           std::uint64_t length);
    // The same at once, on the loop: for what is known to be small.
    Result<std::string> read_now(const std::vector<Part>& parts);
    // What identifies parts put together, from their hashes: nothing is read.
    static std::string identity(const std::vector<Part>& parts);

    // The bytes of a part that is small; the file of one that is not.
    Result<std::string> small_bytes(const Part& part);
    std::string file_of(std::string_view sha256) const;

    struct Collected {
        std::size_t contents = 0;
        std::uint64_t bytes = 0;
    };
    Task<Result<Collected>> collect(Instant now, Span hold);
    // These parts alone, if nothing refers to them any more, and without a hold.
    Task<Result<void>> collect_now(std::vector<Part> parts);
    Result<std::size_t> references(std::string_view sha256, std::size_t limit);
    bool low_on_space() const;

private:
    friend class PartsReader;
    Task<Result<Received>> receive_large(http::BodyReader& body, std::string head);
    Task<Result<Received>> keep(std::shared_ptr<Sink> sink, std::uint64_t size);
    Result<bool> referred(std::string_view sha256);
    Task<Result<std::uint64_t>> collect_one(Record held, Instant before);
    Task<Result<void>> hold_orphans(Instant now);

    Store& store_;
    Loop& loop_;
    const std::string folder_;
    const std::function<bool()> low_;
    std::uint64_t last_temporary_ = 0;
    std::shared_ptr<Pin::Counts> pins_ = std::make_shared<Pin::Counts>();
    // Content being deleted just now, and who waits for the end of that.
    std::map<std::string, std::vector<Later<bool>::Settle>, std::less<>> collecting_;
    Turns sweeps_;
};

}  // namespace turnout::blob

#include "blob/tar.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "blob/content.h"

namespace turnout::blob {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kLargestSize = 077777777777;  // 11 octal digits

void put_text(std::string& header, std::size_t at, std::size_t width, std::string_view text) {
    header.replace(at, std::min(width, text.size()), text.substr(0, width));
}
void put_octal(std::string& header, std::size_t at, std::size_t width, std::uint64_t value) {
    for (std::size_t i = width - 1; i-- > 0; value >>= 3)
        header[at + i] = static_cast<char>('0' + (value & 7));
}

std::string header(std::string_view name, std::string_view prefix, std::uint64_t size,
                   std::int64_t modified, char type) {
    std::string block(kBlock, '\0');
    put_text(block, 0, 100, name);
    put_octal(block, 100, 8, 0755);
    put_octal(block, 108, 8, 0);
    put_octal(block, 116, 8, 0);
    put_octal(block, 124, 12, std::min(size, kLargestSize));
    put_octal(block, 136, 12, static_cast<std::uint64_t>(std::max<std::int64_t>(modified, 0)));
    block.replace(148, 8, 8, ' ');
    block[156] = type;
    put_text(block, 257, 8, std::string_view("ustar\00000", 8));
    put_text(block, 345, 155, prefix);
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put_octal(block, 148, 7, sum);
    block[154] = '\0';
    return block;
}

void pad(std::string& out, std::uint64_t size) {
    out.append(static_cast<std::size_t>((kBlock - size % kBlock) % kBlock), '\0');
}

// "<length> key=value\n", where the length counts itself.
std::string pax_record(std::string_view key, std::string_view value) {
    const std::size_t rest = key.size() + value.size() + 3;
    std::size_t length = rest + 1;
    while (std::to_string(length).size() + rest != length)
        length = std::to_string(length).size() + rest;
    return std::to_string(length) + " " + std::string(key) + "=" + std::string(value) + "\n";
}

void put_entry(std::string& out, std::string name, const BlobInfo& blob) {
    const std::int64_t modified = blob.modified.micros / 1'000'000;
    const bool folder = blob.size == 0 && std::ranges::any_of(blob.metadata, [](const auto& pair) {
                            return pair.first == "hdi_isfolder" && pair.second == "true";
                        });
    if (folder) name += '/';
    std::string_view last = name, first;
    if (name.size() > 100) {  // split at a "/" so that both halves fit
        const std::size_t slash = name.find('/', name.size() - 101);
        if (slash != std::string::npos && slash <= 155 && slash + 1 < name.size()) {
            first = std::string_view(name).substr(0, slash);
            last = std::string_view(name).substr(slash + 1);
        }
    }
    const bool ascii =
        std::ranges::all_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    std::string pax;
    if (last.size() > 100 || !ascii) pax += pax_record("path", name);
    if (blob.size > kLargestSize) pax += pax_record("size", std::to_string(blob.size));
    if (!pax.empty()) {
        out += header("PaxHeader", "", pax.size(), modified, 'x');
        out += pax;
        pad(out, pax.size());
    }
    out += header(last, first, folder ? 0 : blob.size, modified, folder ? '5' : '0');
}

class TarBody final : public http::BodyReader {
public:
    TarBody(Blobs& blobs, std::string container, std::string prefix)
        : blobs_(blobs), container_(std::move(container)), prefix_(std::move(prefix)) {
        while (prefix_.ends_with('/')) prefix_.pop_back();
        if (!prefix_.empty()) prefix_ += '/';
    }

    Task<Result<std::string>> read() override {
        std::string out;
        while (out.size() < kPiece && !ended_) {
            if (current_) {
                auto piece = co_await current_->read();
                if (!piece) co_return Failure(std::move(piece).error());
                out += *piece;
                if (!piece->empty()) continue;
                pad(out, blob_.size);
                current_.reset();
            }
            auto more = next_blob(out);
            if (!more) co_return Failure(std::move(more).error());
        }
        co_return out;
    }

private:
    Result<void> next_blob(std::string& out) {
        if (page_.empty() && !listed_) {
            BlobList list = TURNOUT_TRY(blobs_.list(container_, prefix_, "", marker_, 256));
            marker_ = std::move(list.next_marker);
            listed_ = marker_.empty();
            for (BlobInfo& blob : list.blobs) page_.push_back(std::move(blob));
        }
        if (page_.empty()) {
            if (listed_) {
                out.append(2 * kBlock, '\0');
                ended_ = true;
            }
            return {};
        }
        blob_ = std::move(page_.front());
        page_.pop_front();
        if (blob_.name.size() == prefix_.size()) return {};
        put_entry(out, blob_.name.substr(prefix_.size()), blob_);
        if (blob_.size > 0) current_ = TURNOUT_TRY(blobs_.read(blob_, 0, std::nullopt));
        return {};
    }

    Blobs& blobs_;
    const std::string container_;
    std::string prefix_;
    std::string marker_;
    std::deque<BlobInfo> page_;
    bool listed_ = false, ended_ = false;
    BlobInfo blob_;
    std::unique_ptr<http::BodyReader> current_;
};

}  // namespace

std::unique_ptr<http::BodyReader> tar_of(Blobs& blobs, std::string container, std::string prefix) {
    return std::make_unique<TarBody>(blobs, std::move(container), std::move(prefix));
}

}  // namespace turnout::blob

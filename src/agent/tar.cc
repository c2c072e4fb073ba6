#include "agent/tar.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "agent/files.h"
#include "base/text.h"
#include "io/posix/files.h"

namespace turnout::agent {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kMaxMeta = 1 << 20;

std::string_view text_field(std::string_view block, std::size_t at, std::size_t size) {
    std::string_view field = block.substr(at, size);
    return field.substr(0, field.find('\0'));
}

// Octal, or base 256 with the high bit set.
Result<std::uint64_t> number_field(std::string_view block, std::size_t at, std::size_t size) {
    std::string_view field = block.substr(at, size);
    std::uint64_t value = 0;
    if (static_cast<unsigned char>(field[0]) & 0x80) {
        for (std::size_t i = size - 8; i < size; ++i)
            value = value << 8 | static_cast<unsigned char>(field[i]);
        return value;
    }
    for (char c : field) {
        if (c == ' ' || c == '\0') {
            if (value) break;
            continue;
        }
        if (c < '0' || c > '7' || value >> 60) return invalid("the archive has a broken header");
        value = value * 8 + static_cast<std::uint64_t>(c - '0');
    }
    return value;
}

}  // namespace

Result<void> TarReader::header(std::string_view block) {
    if (std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; })) {
        ended_ = true;
        return {};
    }
    if (ended_) return invalid("the archive goes on after its end");
    std::uint64_t sum = TURNOUT_TRY(number_field(block, 148, 8));
    std::uint64_t real = 8 * ' ';
    for (std::size_t i = 0; i < kBlock; ++i)
        if (i < 148 || i >= 156) real += static_cast<unsigned char>(block[i]);
    if (sum != real) return invalid("the archive has a header with a wrong checksum");
    left_ = TURNOUT_TRY(number_field(block, 124, 12));
    std::uint64_t mode = TURNOUT_TRY(number_field(block, 100, 8));
    char type = block[156];
    std::string name(text_field(block, 0, 100));
    if (block.substr(257, 5) == "ustar" && block[263] == '0')
        if (auto prefix = text_field(block, 345, 155); !prefix.empty())
            name = std::string(prefix) + "/" + name;
    if (type != 'L' && type != 'x' && type != 'g') {
        if (!next_name_.empty()) name = std::exchange(next_name_, {});
        if (std::exchange(has_next_size_, false)) left_ = next_size_;
    }
    if (left_ > (std::uint64_t{1} << 50))
        return invalid("the archive has an entry that is too large", name);
    padding_ = (kBlock - left_ % kBlock) % kBlock;
    switch (type) {
        case '0':
        case '\0': {
            while (name.starts_with("./")) name.erase(0, 2);
            auto file = create_beneath(folder_, name, mode & 0111 ? 0755 : 0644);
            if (!file) return Failure(file.error());
            file_ = std::move(*file);
            in_ = In::File;
            ++files_;
            break;
        }
        case '5':
            while (name.starts_with("./")) name.erase(0, 2);
            while (name.ends_with('/')) name.pop_back();
            if (!name.empty() && name != ".") TURNOUT_TRY(make_folder_beneath(folder_, name));
            in_ = In::Skip;
            break;
        case 'L':
        case 'x':
            if (left_ > kMaxMeta) return invalid("the archive has a name that is too long");
            meta_.clear();
            meta_type_ = type;
            in_ = In::Meta;
            break;
        case 'g': in_ = In::Skip; break;
        case '1':
        case '2':
            return invalid("'" + name + "' is a link; snapshots hold files and folders only", name);
        default: return invalid("'" + name + "' is neither file nor folder", name);
    }
    if (left_ == 0) {
        file_.reset();
        if (in_ == In::Meta) TURNOUT_TRY(meta_done());
        in_ = In::Header;
    }
    return {};
}

Result<void> TarReader::meta_done() {
    if (meta_type_ == 'L') {
        next_name_ = meta_.substr(0, meta_.find('\0'));
        return {};
    }
    // pax: "LENGTH key=value\n" …
    std::string_view rest = meta_;
    while (!rest.empty()) {
        std::size_t length = 0;
        auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
        std::size_t digits = static_cast<std::size_t>(end - rest.data());
        if (error != std::errc() || length < digits + 3 || length > rest.size())
            return invalid("the archive has a broken extended header");
        std::string_view pair = rest.substr(digits + 1, length - digits - 2);
        auto equals = pair.find('=');
        if (equals == std::string_view::npos)
            return invalid("the archive has a broken extended header");
        std::string_view value = pair.substr(equals + 1);
        if (pair.substr(0, equals) == "path") next_name_ = value;
        if (pair.substr(0, equals) == "size") {
            auto [last, bad] =
                std::from_chars(value.data(), value.data() + value.size(), next_size_);
            if (bad != std::errc() || last != value.data() + value.size())
                return invalid("the archive has a broken extended header");
            has_next_size_ = true;
        }
        rest.remove_prefix(length);
    }
    return {};
}

Result<void> TarReader::feed(std::string_view input) {
    while (!input.empty()) {
        if (padding_ > 0 && left_ == 0) {
            std::size_t skip =
                static_cast<std::size_t>(std::min<std::uint64_t>(padding_, input.size()));
            padding_ -= skip;
            input.remove_prefix(skip);
            continue;
        }
        if (in_ == In::Header) {
            std::size_t take = std::min(kBlock - block_.size(), input.size());
            block_ += input.substr(0, take);
            input.remove_prefix(take);
            if (block_.size() == kBlock) TURNOUT_TRY(header(std::exchange(block_, {})));
            continue;
        }
        std::size_t take = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size()));
        std::string_view part = input.substr(0, take);
        if (in_ == In::File) {
            TURNOUT_TRY(write_all(file_.get(), part, "file"));
            bytes_ += take;
        } else if (in_ == In::Meta) {
            meta_ += part;
        }
        left_ -= take;
        input.remove_prefix(take);
        if (left_ == 0) {
            file_.reset();
            if (in_ == In::Meta) TURNOUT_TRY(meta_done());
            in_ = In::Header;
        }
    }
    return {};
}

Result<void> TarReader::finish() const {
    if (in_ != In::Header || !block_.empty() || left_ != 0)
        return fail(Code::Unavailable, "ArchiveCutShort", "the archive ended before its end");
    if (!ended_)
        return fail(Code::Unavailable, "ArchiveCutShort", "the archive ended before its end");
    return {};
}

}  // namespace turnout::agent

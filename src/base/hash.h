// Hashes and message authentication, by OpenSSL. Binary results; see to_hex.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace turnout {

std::string sha256(std::string_view bytes);  // 32 bytes
std::string md5(std::string_view bytes);     // 16 bytes; Content-MD5 of the blob protocol only
std::string hmac_sha256(std::string_view key, std::string_view message);

// SHA-256 of a stream.
class Sha256 {
public:
    Sha256();
    ~Sha256();
    Sha256(Sha256&&) noexcept;
    Sha256& operator=(Sha256&&) noexcept;
    void update(std::string_view bytes);
    std::string finish();  // 32 bytes; once

private:
    struct Context;
    std::unique_ptr<Context> context_;
};

}  // namespace turnout

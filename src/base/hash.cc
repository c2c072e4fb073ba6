#include "base/hash.h"

#include <climits>
#include <utility>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/result.h"

namespace turnout {
namespace {

std::string digest(std::string_view bytes, const EVP_MD* kind) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    TURNOUT_CHECK(EVP_Digest(bytes.data(), bytes.size(), out, &size, kind, nullptr) == 1,
                  "OpenSSL refuses the digest");
    return std::string(reinterpret_cast<const char*>(out), size);
}

}  // namespace

std::string sha256(std::string_view bytes) {
    // Fetched once: EVP_sha256() makes OpenSSL look for it at each use, which takes longer than a line of text.
    static const EVP_MD* const kind = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return digest(bytes, kind ? kind : EVP_sha256());
}

std::string md5(std::string_view bytes) { return digest(bytes, EVP_md5()); }

std::string hmac_sha256(std::string_view key, std::string_view message) {
    TURNOUT_CHECK(key.size() <= INT_MAX, "key too long");
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    // A null key means "the key before" to OpenSSL.
    const char* key_data = key.empty() ? "" : key.data();
    TURNOUT_CHECK(HMAC(EVP_sha256(), key_data, static_cast<int>(key.size()),
                       reinterpret_cast<const unsigned char*>(message.data()), message.size(), out,
                       &size) != nullptr,
                  "OpenSSL refuses HMAC-SHA256");
    return std::string(reinterpret_cast<const char*>(out), size);
}

struct Sha256::Context {
    EVP_MD_CTX* evp = EVP_MD_CTX_new();
    Context() {
        TURNOUT_CHECK(evp != nullptr && EVP_DigestInit_ex(evp, EVP_sha256(), nullptr) == 1,
                      "OpenSSL refuses SHA-256");
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) {
    TURNOUT_CHECK(context_, "update after finish");
    TURNOUT_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1,
                  "OpenSSL refuses to hash");
}

std::string Sha256::finish() {
    TURNOUT_CHECK(context_, "finished twice");
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    TURNOUT_CHECK(EVP_DigestFinal_ex(context_->evp, out, &size) == 1, "OpenSSL refuses to finish");
    context_.reset();
    return std::string(reinterpret_cast<const char*>(out), size);
}

}  // namespace turnout

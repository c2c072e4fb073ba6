#include "base/hash.h"

#include <utility>

#include <openssl/crypto.h>
#include <openssl/evp.h>

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
    // Fetched once: EVP_sha256() makes OpenSSL look for it at each use, which takes longer than a
    // line of text.
    static const EVP_MD* const kind = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return digest(bytes, kind ? kind : EVP_sha256());
}

std::string md5(std::string_view bytes) {
    return digest(bytes, EVP_md5());
}

namespace {

// The key's two blocks, hashed (RFC 2104). OpenSSL's one-shot HMAC looks up its algorithms anew at
// each call, which costs more than the hash of a token; tokens are signed with few keys.
class KeyedHash {
public:
    explicit KeyedHash(std::string_view key) : key_(key) {
        constexpr std::size_t block = 64;
        std::string padded = key.size() > block ? sha256(key) : std::string(key);
        padded.resize(block, '\0');
        inner_ = after(padded, 0x36);
        outer_ = after(padded, 0x5c);
        OPENSSL_cleanse(padded.data(), padded.size());
    }
    KeyedHash(const KeyedHash&) = delete;
    KeyedHash& operator=(const KeyedHash&) = delete;
    ~KeyedHash() {
        EVP_MD_CTX_free(inner_);
        EVP_MD_CTX_free(outer_);
        EVP_MD_CTX_free(work_);
        OPENSSL_cleanse(key_.data(), key_.size());
    }
    bool is_of(std::string_view key) const { return key_ == key; }
    std::string operator()(std::string_view message) {
        return finish(outer_, finish(inner_, message));
    }

private:
    static EVP_MD_CTX* after(std::string_view key, unsigned char pad) {
        std::string block(key);
        for (char& c : block) c = static_cast<char>(static_cast<unsigned char>(c) ^ pad);
        EVP_MD_CTX* context = EVP_MD_CTX_new();
        TURNOUT_CHECK(context && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1 &&
                          EVP_DigestUpdate(context, block.data(), block.size()) == 1,
                      "OpenSSL refuses SHA-256");
        OPENSSL_cleanse(block.data(), block.size());
        return context;
    }
    std::string finish(const EVP_MD_CTX* from, std::string_view message) {
        unsigned char out[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        TURNOUT_CHECK(EVP_MD_CTX_copy_ex(work_, from) == 1 &&
                          EVP_DigestUpdate(work_, message.data(), message.size()) == 1 &&
                          EVP_DigestFinal_ex(work_, out, &size) == 1,
                      "OpenSSL refuses HMAC-SHA256");
        return std::string(reinterpret_cast<const char*>(out), size);
    }

    std::string key_;
    EVP_MD_CTX* inner_ = nullptr;
    EVP_MD_CTX* outer_ = nullptr;
    EVP_MD_CTX* work_ = EVP_MD_CTX_new();
};

}  // namespace

std::string hmac_sha256(std::string_view key, std::string_view message) {
    thread_local std::unique_ptr<KeyedHash> last;
    if (!last || !last->is_of(key)) last = std::make_unique<KeyedHash>(key);
    return (*last)(message);
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

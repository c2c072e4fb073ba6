#include "blob/md5_reader.h"

#include <openssl/evp.h>

#include "base/text.h"

namespace turnout::blob {

struct Md5Reader::Context {
    EVP_MD_CTX* evp = EVP_MD_CTX_new();
    Context() {
        TURNOUT_CHECK(evp != nullptr && EVP_DigestInit_ex(evp, EVP_md5(), nullptr) == 1,
                      "OpenSSL refuses MD5");
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context() { EVP_MD_CTX_free(evp); }
};

Md5Reader::Md5Reader(http::BodyReader& body, std::string expected)
    : body_(body), expected_(std::move(expected)) {
    if (!expected_.empty()) context_ = std::make_unique<Context>();
}
Md5Reader::~Md5Reader() = default;

Task<Result<std::string>> Md5Reader::read() {
    auto piece = co_await body_.read();
    if (!piece || !context_) co_return std::move(piece);
    if (!piece->empty()) {
        EVP_DigestUpdate(context_->evp, piece->data(), piece->size());
        co_return std::move(piece);
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(context_->evp, digest, &size);
    context_.reset();
    const std::string actual =
        to_base64(std::string_view(reinterpret_cast<const char*>(digest), size));
    if (actual != expected_)
        co_return fail(Code::InvalidArgument, "Md5Mismatch",
                       "the body's MD5 is " + actual + ", not the " + expected_ +
                           " that Content-MD5 says; send it again",
                       "Content-MD5");
    co_return std::string();
}

}  // namespace turnout::blob

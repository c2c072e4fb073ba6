// For tests: a private key that signs as a provider would.
#pragma once

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "base/text.h"
#include "io/signature/signature.h"

namespace turnout {

class TestSigner {
public:
    explicit TestSigner(SignatureKind kind, unsigned bits = 2048)
        : kind_(kind),
          key_(kind == SignatureKind::Rs256
                   ? EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<std::size_t>(bits))
                   : EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256")) {
        TURNOUT_CHECK(key_ != nullptr, "no key");
    }
    ~TestSigner() { EVP_PKEY_free(key_); }
    TestSigner(const TestSigner&) = delete;
    TestSigner& operator=(const TestSigner&) = delete;

    std::string number(const char* name, std::size_t size = 0) const {
        BIGNUM* value = nullptr;
        TURNOUT_CHECK(EVP_PKEY_get_bn_param(key_, name, &value) == 1, "no such number");
        std::string bytes(size > 0 ? size : static_cast<std::size_t>(BN_num_bytes(value)), '\0');
        BN_bn2binpad(value, reinterpret_cast<unsigned char*>(bytes.data()),
                     static_cast<int>(bytes.size()));
        BN_free(value);
        return bytes;
    }
    // As it stands in a set of keys.
    Json jwk(std::string_view id) const {
        Json key = Json::object({{"kid", id}, {"use", "sig"}, {"alg", name_of(kind_)}});
        if (kind_ == SignatureKind::Rs256) {
            key.set("kty", "RSA");
            key.set("n", to_base64url(number(OSSL_PKEY_PARAM_RSA_N)));
            key.set("e", to_base64url(number(OSSL_PKEY_PARAM_RSA_E)));
        } else {
            key.set("kty", "EC");
            key.set("crv", "P-256");
            key.set("x", to_base64url(number(OSSL_PKEY_PARAM_EC_PUB_X, 32)));
            key.set("y", to_base64url(number(OSSL_PKEY_PARAM_EC_PUB_Y, 32)));
        }
        return key;
    }
    std::string sign(std::string_view message) const {
        EVP_MD_CTX* const context = EVP_MD_CTX_new();
        const auto* bytes = reinterpret_cast<const unsigned char*>(message.data());
        std::size_t size = 0;
        TURNOUT_CHECK(EVP_DigestSignInit(context, nullptr, EVP_sha256(), nullptr, key_) == 1 &&
                          EVP_DigestSign(context, nullptr, &size, bytes, message.size()) == 1,
                      "cannot sign");
        std::string signature(size, '\0');
        TURNOUT_CHECK(EVP_DigestSign(context, reinterpret_cast<unsigned char*>(signature.data()),
                                     &size, bytes, message.size()) == 1,
                      "cannot sign");
        EVP_MD_CTX_free(context);
        signature.resize(size);
        if (kind_ == SignatureKind::Rs256) return signature;
        const auto* der = reinterpret_cast<const unsigned char*>(signature.data());
        ECDSA_SIG* const pair = d2i_ECDSA_SIG(nullptr, &der, static_cast<long>(size));
        std::string raw(64, '\0');
        auto* out = reinterpret_cast<unsigned char*>(raw.data());
        BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, 32);
        BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + 32, 32);
        ECDSA_SIG_free(pair);
        return raw;
    }
    // A token of these claims; `header` in place of the usual one.
    std::string token(std::string_view key_id, const Json& claims, Json header = {}) const {
        if (header.is_null())
            header = Json::object({{"alg", name_of(kind_)}, {"typ", "JWT"}, {"kid", key_id}});
        const std::string part = to_base64url(header.dump()) + "." + to_base64url(claims.dump());
        return part + "." + to_base64url(sign(part));
    }

private:
    SignatureKind kind_;
    EVP_PKEY* key_;
};

}  // namespace turnout

#include "io/signature/signature.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <utility>

namespace turnout {
namespace {

constexpr std::size_t kCoordinate = 32;  // bytes of a number of P-256
constexpr int kLeastBits = 2048, kMostBits = 4096;
constexpr std::size_t kLongestExponent = 8;

template <class T, void (*Free)(T*)>
struct Freed {
    void operator()(T* it) const { Free(it); }
};
template <class T, void (*Free)(T*)>
using Owned = std::unique_ptr<T, Freed<T, Free>>;

using Number = Owned<BIGNUM, BN_free>;
using Build = Owned<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>;
using Parameters = Owned<OSSL_PARAM, OSSL_PARAM_free>;
using KeyContext = Owned<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using DigestContext = Owned<EVP_MD_CTX, EVP_MD_CTX_free>;
using EcSignature = Owned<ECDSA_SIG, ECDSA_SIG_free>;
using AnyKey = Owned<EVP_PKEY, EVP_PKEY_free>;

const unsigned char* octets(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

Number number_of(std::string_view bytes) {
    return Number(BN_bin2bn(octets(bytes), static_cast<int>(bytes.size()), nullptr));
}

AnyKey key_from(const char* type, OSSL_PARAM_BLD* build) {
    const Parameters parameters(OSSL_PARAM_BLD_to_param(build));
    const KeyContext making(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
    EVP_PKEY* key = nullptr;
    if (!parameters || !making || EVP_PKEY_fromdata_init(making.get()) != 1 ||
        EVP_PKEY_fromdata(making.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1)
        return nullptr;
    AnyKey made(key);
    const KeyContext checking(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
    if (!checking || EVP_PKEY_public_check(checking.get()) != 1) return nullptr;
    return made;
}

// As OpenSSL wants it: a sequence of two numbers.
std::string in_der(std::string_view signature) {
    Number r = number_of(signature.substr(0, kCoordinate));
    Number s = number_of(signature.substr(kCoordinate));
    const EcSignature pair(ECDSA_SIG_new());
    if (!r || !s || !pair || ECDSA_SIG_set0(pair.get(), r.get(), s.get()) != 1) return {};
    (void)r.release();  // the pair's now
    (void)s.release();
    unsigned char* bytes = nullptr;
    const int size = i2d_ECDSA_SIG(pair.get(), &bytes);
    if (size <= 0) return {};
    std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    OPENSSL_free(bytes);
    return der;
}

}  // namespace

struct PublicKey::Key {
    AnyKey key;
};

std::string_view name_of(SignatureKind kind) {
    switch (kind) {
        case SignatureKind::Rs256: return "RS256";
        case SignatureKind::Es256: return "ES256";
    }
    return "";
}

Result<PublicKey> PublicKey::rsa(std::string_view modulus, std::string_view exponent) {
    if (modulus.size() > kMostBits / 8 || exponent.empty() || exponent.size() > kLongestExponent)
        return invalid("this is no RSA key of 2,048 to 4,096 bits");
    const Number n = number_of(modulus), e = number_of(exponent);
    const Build build(OSSL_PARAM_BLD_new());
    if (!n || !e || !build || BN_num_bits(n.get()) < kLeastBits ||
        BN_num_bits(n.get()) > kMostBits || BN_is_odd(e.get()) != 1 || BN_is_one(e.get()) == 1 ||
        OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
        OSSL_PARAM_BLD_push_BN(build.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1)
        return invalid("this is no RSA key of 2,048 to 4,096 bits");
    AnyKey key = key_from("RSA", build.get());
    if (!key) return invalid("this is no RSA key");
    return PublicKey(SignatureKind::Rs256, std::make_shared<const Key>(Key{std::move(key)}));
}

Result<PublicKey> PublicKey::p256(std::string_view x, std::string_view y) {
    if (x.size() != kCoordinate || y.size() != kCoordinate)
        return invalid("this is no point of P-256: a coordinate has 32 bytes");
    std::string point(1, '\x04');  // not compressed
    point.append(x).append(y);
    const Build build(OSSL_PARAM_BLD_new());
    if (!build ||
        OSSL_PARAM_BLD_push_utf8_string(build.get(), OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(build.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                         point.size()) != 1)
        return invalid("this is no point of P-256");
    AnyKey key = key_from("EC", build.get());
    if (!key) return invalid("this is no point of P-256");
    return PublicKey(SignatureKind::Es256, std::make_shared<const Key>(Key{std::move(key)}));
}

bool PublicKey::verify(std::string_view message, std::string_view signature) const {
    std::string der;
    if (kind_ == SignatureKind::Es256) {
        if (signature.size() != 2 * kCoordinate) return false;
        der = in_der(signature);
        if (der.empty()) return false;
        signature = der;
    }
    const DigestContext context(EVP_MD_CTX_new());
    EVP_PKEY_CTX* of_key = nullptr;  // the context's own
    if (!context ||
        EVP_DigestVerifyInit(context.get(), &of_key, EVP_sha256(), nullptr, key_->key.get()) != 1)
        return false;
    if (kind_ == SignatureKind::Rs256 &&
        EVP_PKEY_CTX_set_rsa_padding(of_key, RSA_PKCS1_PADDING) != 1)
        return false;
    return EVP_DigestVerify(context.get(), octets(signature), signature.size(), octets(message),
                            message.size()) == 1;
}

}  // namespace turnout

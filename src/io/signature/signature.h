// Signatures that others made with a private key, verified by their public one; by OpenSSL. A key
// is of one algorithm, so what a token says of itself never decides how it is verified.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnout {

enum class SignatureKind {
    Rs256,  // RSASSA-PKCS1-v1_5 with SHA-256
    Es256,  // ECDSA on P-256 with SHA-256; a signature is r and s, 32 bytes each
};
// "RS256": as JWS (RFC 7518) calls it.
std::string_view name_of(SignatureKind kind);

class PublicKey {
public:
    // Whole numbers, the highest byte first. InvalidArgument: it is shorter than 2,048 bits, longer
    // than 4,096, or no key.
    static Result<PublicKey> rsa(std::string_view modulus, std::string_view exponent);
    // A point of the curve, 32 bytes each.
    static Result<PublicKey> p256(std::string_view x, std::string_view y);

    SignatureKind kind() const { return kind_; }
    bool verify(std::string_view message, std::string_view signature) const;

private:
    struct Key;
    PublicKey(SignatureKind kind, std::shared_ptr<const Key> key)
        : kind_(kind), key_(std::move(key)) {}
    SignatureKind kind_;
    std::shared_ptr<const Key> key_;  // shared: keys are copied with the sets they are in
};

}  // namespace turnout

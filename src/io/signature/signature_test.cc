#include "io/signature/signature.h"

#include <gtest/gtest.h>

#include "io/signature/test_signer.h"

namespace turnout {
namespace {

TEST(Signature, OfRsaAndOfTheCurve) {
    const TestSigner rsa(SignatureKind::Rs256), curve(SignatureKind::Es256);
    const auto rsa_key =
        PublicKey::rsa(rsa.number(OSSL_PKEY_PARAM_RSA_N), rsa.number(OSSL_PKEY_PARAM_RSA_E));
    const auto curve_key = PublicKey::p256(curve.number(OSSL_PKEY_PARAM_EC_PUB_X, 32),
                                           curve.number(OSSL_PKEY_PARAM_EC_PUB_Y, 32));
    ASSERT_TRUE(rsa_key && curve_key);
    EXPECT_EQ(name_of(rsa_key->kind()), "RS256");
    EXPECT_EQ(name_of(curve_key->kind()), "ES256");
    const std::string words = "what was said";
    for (const auto& [key, signer, other] :
         {std::tuple(*rsa_key, &rsa, &curve), std::tuple(*curve_key, &curve, &rsa)}) {
        std::string signature = signer->sign(words);
        EXPECT_TRUE(key.verify(words, signature));
        EXPECT_FALSE(key.verify("what was not said", signature));
        EXPECT_FALSE(key.verify(words, other->sign(words)));
        EXPECT_FALSE(key.verify(words, ""));
        EXPECT_FALSE(key.verify(words, signature + '\0'));
        EXPECT_FALSE(key.verify(words, std::string(signature.size(), '\0')));
        signature[5] = static_cast<char>(signature[5] ^ 1);
        EXPECT_FALSE(key.verify(words, signature));
    }
}

// The example of RFC 7515, A.3: another program's key and signature.
TEST(Signature, OfTheStandard) {
    const auto key =
        PublicKey::p256(*from_base64url("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
                        *from_base64url("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"));
    ASSERT_TRUE(key);
    EXPECT_TRUE(key->verify(
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
        "LmNvbS9pc19yb290Ijp0cnVlfQ",
        *from_base64url("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJ"
                        "qPP3-Kg6NU1Q")));
}

TEST(Signature, WhatIsNoKeyIsRefused) {
    const TestSigner small(SignatureKind::Rs256, 1024), curve(SignatureKind::Es256);
    EXPECT_FALSE(
        PublicKey::rsa(small.number(OSSL_PKEY_PARAM_RSA_N), small.number(OSSL_PKEY_PARAM_RSA_E)))
        << "1,024 bits are too few";
    const std::string modulus = TestSigner(SignatureKind::Rs256).number(OSSL_PKEY_PARAM_RSA_N);
    EXPECT_FALSE(PublicKey::rsa(modulus, std::string("\x01", 1))) << "then all fits";
    EXPECT_FALSE(PublicKey::rsa(modulus, std::string("\x04", 1)));
    EXPECT_FALSE(PublicKey::rsa(modulus, ""));
    EXPECT_FALSE(PublicKey::rsa("", "\x03"));
    EXPECT_FALSE(PublicKey::rsa(std::string(513, '\xff'), "\x03"));
    std::string x = curve.number(OSSL_PKEY_PARAM_EC_PUB_X, 32),
                y = curve.number(OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    EXPECT_FALSE(PublicKey::p256(x, y.substr(1)));
    y[31] = static_cast<char>(y[31] ^ 1);
    EXPECT_FALSE(PublicKey::p256(x, y)) << "a point beside the curve";
    EXPECT_FALSE(PublicKey::p256(std::string(32, '\0'), std::string(32, '\0')));
}

}  // namespace
}  // namespace turnout

// What is kept so that only the holder of a key can read it: AES-256-GCM, by OpenSSL. What is
// sealed is bytes of this form, and whatever was changed in it is noticed:
//
//     u8 1   8 bytes: id of the key   12 bytes: nonce   the text, encrypted   16 bytes: tag
//
// `about` says whose it is (a workspace and a name). It is sealed with the text but not kept: what
// is moved to another place does not open there.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "io/loop.h"

namespace turnout {

struct SealingKey {
    std::string id;  // 16 hex digits
    Secret bytes;    // 32
};

inline constexpr std::size_t kMostSealingKeys = 16;  // of one file

// The first one seals, any of them opens.
struct SealingKeys {
    std::vector<SealingKey> keys;
    const SealingKey* find(std::string_view id) const;
};

SealingKey make_sealing_key(Random& random);
// The text of a key file; secret. InvalidArgument: it is no key file.
std::string serialize(const SealingKeys& keys);
Result<SealingKeys> parse_sealing_keys(std::string_view text);

// Nonces are 96 random bits: a key may seal 2^32 texts before two are likely to have the same one
// (NIST SP 800-38D, 8.3).
std::string seal(const SealingKey& key, std::string_view text, std::string_view about,
                 Random& random);

// The id of the key that sealed it, from outside; "" if it has not that form.
std::string sealed_by(std::string_view sealed);
// FailedPrecondition "SealingKeyMissing": it was sealed by a key that is not among these. Internal
// "SealBroken": it was changed, is another one's, or the key is not the one of that id.
Result<Secret> unseal(const SealingKeys& keys, std::string_view sealed, std::string_view about);

}  // namespace turnout

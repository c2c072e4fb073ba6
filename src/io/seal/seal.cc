#include "io/seal/seal.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"

namespace turnout {
namespace {

constexpr char kForm = 1;
constexpr std::size_t kIdBytes = 8, kNonce = 12, kTag = 16, kKey = 32;
constexpr std::size_t kHead = 1 + kIdBytes + kNonce;

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) {
    return reinterpret_cast<unsigned char*>(text.data());
}

// The head is not encrypted: that it was not changed is sealed with the rest.
std::string associated(std::string_view head, std::string_view about) {
    return std::string(head) + std::string(about);
}

Failure broken() {
    return fail(Code::Internal, "SealBroken",
                "what is sealed does not open: it was changed, or belongs somewhere else");
}

}  // namespace

const SealingKey* SealingKeys::find(std::string_view id) const {
    const auto found = std::ranges::find(keys, id, &SealingKey::id);
    return found == keys.end() ? nullptr : &*found;
}

SealingKey make_sealing_key(Random& random) {
    return {to_hex(random.bytes(kIdBytes)), Secret(random.bytes(kKey))};
}

std::string serialize(const SealingKeys& keys) {
    Json list = Json::array();
    for (const SealingKey& key : keys.keys)
        list.push(Json::object({{"id", key.id}, {"key", to_base64(key.bytes.reveal())}}));
    return Json::object({{"keys", std::move(list)}}).dump_pretty() + "\n";
}

Result<SealingKeys> parse_sealing_keys(std::string_view text) {
    const auto wrong = [] { return invalid("this is not a file of sealing keys"); };
    const Result<Json> json = parse_json(text);
    if (!json) return wrong();
    SealingKeys keys;
    for (const Json& item : json->at("keys").items()) {
        const std::string id = item.at("id").as_string();
        auto bytes = from_base64(item.at("key").as_view());
        const bool is_id = id.size() == 2 * kIdBytes && std::ranges::all_of(id, [](char c) {
                               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                           });
        if (!is_id || !bytes || bytes->size() != kKey || keys.find(id) ||
            keys.keys.size() == kMostSealingKeys)
            return wrong();
        keys.keys.push_back({id, Secret(std::move(*bytes))});
    }
    if (keys.keys.empty()) return wrong();
    return keys;
}

std::string seal(const SealingKey& key, std::string_view text, std::string_view about,
                 Random& random) {
    std::string sealed(1, kForm);
    sealed += from_hex(key.id).value();
    sealed += random.bytes(kNonce);
    const std::string with = associated(sealed, about);
    const std::size_t head = sealed.size();
    sealed.resize(head + text.size() + kTag);
    const Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
    int size = 0;
    unsigned char* const at = bytes_of(sealed);
    const bool done =
        cipher && key.bytes.reveal().size() == kKey &&
        EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes_of(key.bytes.reveal()),
                           at + 1 + kIdBytes) == 1 &&
        EVP_EncryptUpdate(cipher.get(), nullptr, &size, bytes_of(std::string_view(with)),
                          static_cast<int>(with.size())) == 1 &&
        EVP_EncryptUpdate(cipher.get(), at + head, &size, bytes_of(text),
                          static_cast<int>(text.size())) == 1 &&
        EVP_EncryptFinal_ex(cipher.get(), at + head + text.size(), &size) == 1 &&
        EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTag, at + head + text.size()) == 1;
    TURNOUT_CHECK(done, "sealing");
    return sealed;
}

std::string sealed_by(std::string_view sealed) {
    if (sealed.size() < kHead + kTag || sealed.front() != kForm) return "";
    return to_hex(sealed.substr(1, kIdBytes));
}

Result<Secret> unseal(const SealingKeys& keys, std::string_view sealed, std::string_view about) {
    const std::string id = sealed_by(sealed);
    if (id.empty()) return broken();
    const SealingKey* key = keys.find(id);
    if (!key)
        return fail(Code::FailedPrecondition, "SealingKeyMissing",
                    "it was sealed by the key " + id + ", which is not there", id);
    const std::string with = associated(sealed.substr(0, kHead), about);
    std::string text(sealed.substr(kHead, sealed.size() - kHead - kTag));
    std::string tag(sealed.substr(sealed.size() - kTag));
    const Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
    int size = 0;
    const bool opened =
        cipher &&
        EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes_of(key->bytes.reveal()),
                           bytes_of(sealed) + 1 + kIdBytes) == 1 &&
        EVP_DecryptUpdate(cipher.get(), nullptr, &size, bytes_of(std::string_view(with)),
                          static_cast<int>(with.size())) == 1 &&
        EVP_DecryptUpdate(cipher.get(), bytes_of(text), &size, bytes_of(sealed) + kHead,
                          static_cast<int>(text.size())) == 1 &&
        EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTag, tag.data()) == 1 &&
        EVP_DecryptFinal_ex(cipher.get(), bytes_of(text) + text.size(), &size) == 1;
    if (!opened) return broken();
    return Secret(std::move(text));
}

}  // namespace turnout

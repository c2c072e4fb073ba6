#include "io/tls/certificates.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>

#include "io/posix/files.h"

namespace turnout::tls {
namespace {

constexpr Span authority_life = std::chrono::hours(24 * 3652);
constexpr Span certificate_life = std::chrono::hours(24 * 397);
constexpr Span renewed_before_end = std::chrono::hours(24 * 30);
constexpr Span skew = std::chrono::hours(1);  // clients' clocks may be behind ours
constexpr const char* system_bundle = "/etc/ssl/certs/ca-certificates.crt";

template <auto release>
struct Free {
    template <class T>
    void operator()(T* pointer) const {
        release(pointer);
    }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Buffer = std::unique_ptr<BIO, Free<BIO_free_all>>;

Failure openssl_failure(const std::string& doing) {
    const char* reason = ERR_reason_error_string(ERR_peek_last_error());
    return fail(Code::Internal, "TlsError", doing + ": " + (reason ? reason : "OpenSSL failed"));
}

std::string text_of(BIO* buffer) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(buffer, &data);
    return std::string(data, static_cast<std::size_t>(std::max(size, 0L)));
}

std::string to_pem(X509* certificate) {
    const Buffer buffer(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(buffer.get(), certificate);
    return text_of(buffer.get());
}

Secret to_pem(EVP_PKEY* key) {
    const Buffer buffer(BIO_new(BIO_s_secmem()));
    PEM_write_bio_PrivateKey(buffer.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
    return Secret(text_of(buffer.get()));
}

Certificate read_certificate(const std::string& pem) {
    const Buffer buffer(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    return Certificate(PEM_read_bio_X509(buffer.get(), nullptr, nullptr, nullptr));
}

Key read_key(const Secret& pem) {
    const std::string& text = pem.reveal();
    const Buffer buffer(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    return Key(PEM_read_bio_PrivateKey(buffer.get(), nullptr, nullptr, nullptr));
}

bool is_ip(const std::string& name) {
    unsigned char address[16];
    return ::inet_pton(AF_INET, name.c_str(), address) == 1 ||
           ::inet_pton(AF_INET6, name.c_str(), address) == 1;
}

// Names go into OpenSSL's comma-separated notation, so only what a name consists of may pass.
bool is_name(const std::string& name) {
    return !name.empty() && name.size() <= 253 &&
           std::all_of(name.begin(), name.end(), [](unsigned char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-' || c == '_' || c == '*';
           });
}

// What cannot be read is not judged.
bool is_valid_at(X509* certificate, Instant now) {
    if (certificate == nullptr) return true;
    time_t today = static_cast<time_t>(now.micros / 1'000'000);
    return X509_cmp_time(X509_get0_notBefore(certificate), &today) <= 0 &&
           X509_cmp_time(X509_get0_notAfter(certificate), &today) > 0;
}

std::vector<std::string> with_own_names(const std::vector<std::string>& names) {
    std::vector<std::string> out = {"localhost", "127.0.0.1", "::1"};
    for (const std::string& name : names)
        if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
    return out;
}

bool add_extension(X509* certificate, X509* issuer, int id, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str());
    if (!extension) return false;
    const bool added = X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

bool set_time(ASN1_TIME* to, Instant at) {
    return ASN1_TIME_set(to, static_cast<time_t>(at.micros / 1'000'000)) != nullptr;
}

// Version 3, a random serial, the life and the subject.
Certificate begin_certificate(EVP_PKEY* key, const std::string& common_name, Instant now,
                              Span life) {
    Certificate out(X509_new());
    unsigned char serial[16];
    if (!out || RAND_bytes(serial, sizeof serial) != 1) return nullptr;
    serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40);  // positive, full length
    BIGNUM* number = BN_bin2bn(serial, sizeof serial, nullptr);
    const bool numbered = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(out.get()));
    BN_free(number);
    X509_NAME* name = X509_get_subject_name(out.get());
    const auto add = [&](const char* field, const std::string& value) {
        return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                          reinterpret_cast<const unsigned char*>(value.data()),
                                          static_cast<int>(value.size()), -1, 0) == 1;
    };
    const bool good = numbered && X509_set_version(out.get(), 2) == 1 && add("O", "Turnout") &&
                      add("CN", common_name) && X509_set_pubkey(out.get(), key) == 1 &&
                      set_time(X509_getm_notBefore(out.get()), now - skew) &&
                      set_time(X509_getm_notAfter(out.get()), now + life);
    return good ? std::move(out) : nullptr;
}

}  // namespace

Result<Credentials> create_authority(const std::string& name, Instant now) {
    ERR_clear_error();
    const Key key(EVP_EC_gen("P-256"));
    if (!key) return openssl_failure("cannot make a key");
    const Certificate out = begin_certificate(key.get(), name.substr(0, 64), now, authority_life);
    const bool good =
        out && X509_set_issuer_name(out.get(), X509_get_subject_name(out.get())) == 1 &&
        add_extension(out.get(), out.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_extension(out.get(), out.get(), NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_extension(out.get(), out.get(), NID_subject_key_identifier, "hash") &&
        X509_sign(out.get(), key.get(), EVP_sha256()) > 0;
    if (!good) return openssl_failure("cannot make the certificate authority");
    return Credentials{to_pem(out.get()), to_pem(key.get())};
}

Result<Credentials> issue_certificate(const Credentials& authority,
                                      const std::vector<std::string>& names, Instant now) {
    ERR_clear_error();
    const Certificate issuer = read_certificate(authority.certificate);
    const Key issuer_key = read_key(authority.key);
    if (!issuer || !issuer_key || X509_check_private_key(issuer.get(), issuer_key.get()) != 1)
        return openssl_failure("cannot read the certificate authority");
    std::string alternatives;
    for (const std::string& name : with_own_names(names)) {
        if (!is_ip(name) && !is_name(name))
            return invalid("'" + name + "' is neither a host name nor an IP address", "names");
        if (!alternatives.empty()) alternatives += ",";
        alternatives += (is_ip(name) ? "IP:" : "DNS:") + name;
    }
    const Key key(EVP_EC_gen("P-256"));
    if (!key) return openssl_failure("cannot make a key");
    const Certificate out = begin_certificate(key.get(), "Turnout server", now, certificate_life);
    const bool good =
        out && X509_set_issuer_name(out.get(), X509_get_subject_name(issuer.get())) == 1 &&
        add_extension(out.get(), issuer.get(), NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(out.get(), issuer.get(), NID_key_usage, "critical,digitalSignature") &&
        add_extension(out.get(), issuer.get(), NID_ext_key_usage, "serverAuth") &&
        add_extension(out.get(), issuer.get(), NID_subject_key_identifier, "hash") &&
        add_extension(out.get(), issuer.get(), NID_authority_key_identifier, "keyid:always") &&
        add_extension(out.get(), issuer.get(), NID_subject_alt_name, alternatives) &&
        X509_sign(out.get(), issuer_key.get(), EVP_sha256()) > 0;
    if (!good) return openssl_failure("cannot make the server's certificate");
    return Credentials{to_pem(out.get()), to_pem(key.get())};
}

bool needs_renewal(const std::string& certificate, const std::string& authority_certificate,
                   const std::vector<std::string>& names, Instant now) {
    ERR_clear_error();
    const Certificate mine = read_certificate(certificate);
    const Certificate issuer = read_certificate(authority_certificate);
    if (!mine || !issuer || X509_verify(mine.get(), X509_get0_pubkey(issuer.get())) != 1)
        return true;
    time_t soon = static_cast<time_t>((now + renewed_before_end).micros / 1'000'000);
    time_t today = static_cast<time_t>(now.micros / 1'000'000);
    if (X509_cmp_time(X509_get0_notAfter(mine.get()), &soon) <= 0) return true;
    if (X509_cmp_time(X509_get0_notBefore(mine.get()), &today) > 0) return true;
    for (const std::string& name : with_own_names(names)) {
        const int there = is_ip(name)
                              ? X509_check_ip_asc(mine.get(), name.c_str(), 0)
                              : X509_check_host(mine.get(), name.data(), name.size(), 0, nullptr);
        if (there != 1) return true;
    }
    return false;
}

std::vector<std::string> names_in(const std::string& pem) {
    ERR_clear_error();
    std::vector<std::string> names;
    const Certificate certificate = read_certificate(pem);
    if (!certificate) return names;
    auto* all = static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr));
    for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
        int type = 0;
        const auto* text = static_cast<const ASN1_STRING*>(
            GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type));
        if (type != GEN_DNS) continue;
        std::string name(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                         static_cast<std::size_t>(ASN1_STRING_length(text)));
        if (is_name(name)) names.push_back(std::move(name));
    }
    GENERAL_NAMES_free(all);
    return names;
}

std::string fingerprint(const std::string& pem) {
    ERR_clear_error();
    const Certificate certificate = read_certificate(pem);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (!certificate || X509_digest(certificate.get(), EVP_sha256(), digest, &size) != 1) return {};
    std::string out;
    for (unsigned int i = 0; i < size; ++i) {
        char text[4];
        std::snprintf(text, sizeof text, "%s%02X", i == 0 ? "" : ":", digest[i]);
        out += text;
    }
    return out;
}

Result<CertificateFiles> ensure_certificates(const std::string& folder,
                                             const std::vector<std::string>& names, Instant now) {
    CertificateFiles files{
        folder + "/ca.pem", folder + "/ca.key", {folder + "/server.pem", folder + "/server.key"}};
    TURNOUT_TRY(make_directories(folder, 0700));
    Credentials authority;
    const Result<std::string> known = read_file(files.authority, 1 << 20);
    files.new_authority = known && !is_valid_at(read_certificate(*known).get(), now);
    if (known && !files.new_authority) {
        // A lost key is not replaced in silence: every client would stop trusting the server.
        authority.certificate = *known;
        authority.key = Secret(TURNOUT_TRY(read_file(files.authority_key, 1 << 20)));
    } else if (files.new_authority || known.error().code == Code::NotFound) {
        authority = TURNOUT_TRY(create_authority("Turnout local authority", now));
        // The key first: the certificate is the sign that both are there.
        TURNOUT_TRY(write_file_atomically(files.authority_key, authority.key.reveal(), 0600));
        TURNOUT_TRY(write_file_atomically(files.authority, authority.certificate, 0600));
    } else {
        return Failure(known.error());
    }
    const Result<std::string> current = read_file(files.server.certificate, 1 << 20);
    const Result<std::string> key = read_file(files.server.key, 1 << 20);
    bool pair = false;
    if (current && key) {
        const Certificate certificate = read_certificate(*current);
        const Key private_key = read_key(Secret(*key));
        pair = certificate && private_key &&
               X509_check_private_key(certificate.get(), private_key.get()) == 1;
    }
    if (!pair || needs_renewal(*current, authority.certificate, names, now)) {
        const Credentials server = TURNOUT_TRY(issue_certificate(authority, names, now));
        TURNOUT_TRY(write_file_atomically(files.server.key, server.key.reveal(), 0600));
        // With the authority behind it, so that `turnout login` can show its fingerprint.
        TURNOUT_TRY(write_file_atomically(files.server.certificate,
                                          server.certificate + authority.certificate, 0600));
    }
    return files;
}

Result<void> write_ca_bundle(const std::string& path, const std::string& authority_certificate) {
    std::string others;
    const char* chosen = std::getenv("SSL_CERT_FILE");
    // A shell that already uses this bundle must not feed it into itself.
    if (chosen && *chosen && path != chosen) {
        Result<std::string> bundle = read_file(chosen, 64 << 20);
        if (bundle) others = std::move(*bundle);
    }
    if (others.empty()) {
        Result<std::string> bundle = read_file(system_bundle, 64 << 20);
        if (bundle) others = std::move(*bundle);
    }
    std::string own = authority_certificate;
    if (!own.ends_with('\n')) own += '\n';
    for (std::size_t at; (at = others.find(own)) != std::string::npos;)
        others.erase(at, own.size());
    return write_file_atomically(path, own + others, 0644);
}

}  // namespace turnout::tls

#include "io/tls/tls_connection.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

namespace turnout::http {
namespace {

constexpr std::size_t record_bytes = 16 << 10;
constexpr unsigned char protocol[] = "\x08http/1.1";

std::string reason_of(unsigned long error) {
    const char* reason = ERR_reason_error_string(error);
    return reason ? reason : "TLS failed";
}

// A BIO on a socket that raises no SIGPIPE. The descriptor is the BIO's data.
int fd_of(BIO* bio) {
    return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
}

bool try_again() {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

int read_socket(BIO* bio, char* to, int size) {
    BIO_clear_retry_flags(bio);
    const ssize_t got = ::recv(fd_of(bio), to, static_cast<std::size_t>(size), MSG_DONTWAIT);
    if (got < 0 && try_again()) BIO_set_retry_read(bio);
    return static_cast<int>(got);
}

int write_socket(BIO* bio, const char* from, int size) {
    BIO_clear_retry_flags(bio);
    const ssize_t put =
        ::send(fd_of(bio), from, static_cast<std::size_t>(size), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && try_again()) BIO_set_retry_write(bio);
    return static_cast<int>(put);
}

long control_socket(BIO*, int command, long, void*) {
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                    unsigned in_size, void*) {
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(&chosen, size, protocol, sizeof protocol - 1, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

int choose_certificate(SSL* ssl, int*, void* named) {
    const char* asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    SSL_CTX* context = static_cast<TlsContext*>(named)->get();
    if (asked && X509_check_host(SSL_CTX_get0_certificate(context), asked, std::strlen(asked), 0,
                                 nullptr) == 1)
        SSL_set_SSL_CTX(ssl, context);
    return SSL_TLSEXT_ERR_OK;
}

bool is_ip(const std::string& host) {
    unsigned char address[16];
    return ::inet_pton(AF_INET, host.c_str(), address) == 1 ||
           ::inet_pton(AF_INET6, host.c_str(), address) == 1;
}

class TlsConnection final : public Connection {
public:
    TlsConnection(AsioLoop& loop, Fd socket_fd, std::shared_ptr<TlsContext> context,
                  const std::string& host)
        : Connection(loop, std::move(socket_fd)),
          context_(std::move(context)),
          ssl_(SSL_new(context_->get())),
          host_(host) {
        TURNOUT_CHECK(ssl_, "TLS needs memory");
        BIO* bio = BIO_new(context_->socket_method());
        BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket())));
        BIO_set_init(bio, 1);
        SSL_set_bio(ssl_, bio, bio);
        if (host.empty()) {
            SSL_set_accept_state(ssl_);
            return;
        }
        SSL_set_connect_state(ssl_);
        SSL_set_alpn_protos(ssl_, protocol, sizeof protocol - 1);
        if (is_ip(host)) {
            X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), host.c_str());
        } else {
            SSL_set_hostflags(ssl_, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
            SSL_set1_host(ssl_, host.c_str());
            SSL_set_tlsext_host_name(ssl_, host.c_str());
        }
    }
    ~TlsConnection() override { SSL_free(ssl_); }

    void finish_writing() override {
        if (ready_ && !broken_) {
            ERR_clear_error();
            SSL_shutdown(ssl_);
        }
        Connection::finish_writing();
    }

    bool readable_now() override {
        if (broken_) return true;
        ERR_clear_error();
        char byte = 0;
        const int got = SSL_peek(ssl_, &byte, 1);
        if (got > 0) return true;
        const int error = SSL_get_error(ssl_, got);
        return error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
    }

protected:
    Attempt try_prepare() override {
        ERR_clear_error();
        const int done = SSL_do_handshake(ssl_);
        if (done == 1) {
            ready_ = true;
            return {};
        }
        return explain(done);
    }

    Attempt try_read(char* to, std::size_t size) override {
        if (broken_) return {Next::Failed, 0, "TLS failed before"};
        std::size_t have = 0;
        while (have < size) {
            ERR_clear_error();
            std::size_t got = 0;
            const int done = SSL_read_ex(ssl_, to + have, size - have, &got);
            if (done != 1) {
                Attempt attempt = explain(done);
                if (have == 0) return attempt;
                // What came is given first; a failure or the end comes again with the next read.
                break;
            }
            have += got;
            // Only while more is surely there: a read in vain costs a system call.
            if (got < record_bytes && !SSL_has_pending(ssl_)) break;
        }
        return {Next::Done, have, {}};
    }

    Attempt try_write(std::string_view first, std::string_view second) override {
        if (broken_) return {Next::Failed, 0, "TLS failed before"};
        const std::string_view piece = first.empty() ? second : first;
        ERR_clear_error();
        std::size_t put = 0;
        const int done = SSL_write_ex(ssl_, piece.data(), piece.size(), &put);
        if (done != 1) return explain(done);
        return {Next::Done, put, {}};
    }

private:
    Attempt explain(int result) {
        const int saved = errno;
        switch (SSL_get_error(ssl_, result)) {
            case SSL_ERROR_WANT_READ: return {Next::Readable, 0, {}};
            case SSL_ERROR_WANT_WRITE: return {Next::Writable, 0, {}};
            case SSL_ERROR_ZERO_RETURN: return {Next::Closed, 0, "the peer closed it"};
            case SSL_ERROR_SYSCALL:
                broken_ = true;
                return {Next::Failed, 0, saved != 0 ? std::strerror(saved) : "the peer closed it"};
            default: break;
        }
        broken_ = true;
        const unsigned long error = ERR_peek_error();
        const int reason = ERR_GET_REASON(error);
        if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            return {Next::Failed, 0, "the peer closed it"};
        if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && !host_.empty())
            return {Next::Failed, 0,
                    "the certificate of '" + host_ + "' is not trusted: " +
                        X509_verify_cert_error_string(SSL_get_verify_result(ssl_))};
        if (reason == SSL_R_HTTP_REQUEST && host_.empty()) {
            constexpr std::string_view answer =
                "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n"
                "Connection: close\r\n\r\nthis port speaks https: use https://...\n";
            (void)!::send(socket(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        return {Next::Failed, 0, reason_of(error)};
    }

    std::shared_ptr<TlsContext> context_;
    SSL* ssl_;
    std::string host_;
    bool ready_ = false;
    bool broken_ = false;  // after a fatal error nothing may be tried again
};

Failure tls_failure(const std::string& doing) {
    const std::string why = reason_of(ERR_peek_last_error());
    return fail(Code::FailedPrecondition, "TlsError", doing + ": " + why);
}

using Certificate = std::unique_ptr<X509, void (*)(X509*)>;

// Those of a PEM text, in order; none if it has something else in it.
std::vector<Certificate> certificates_in(const std::string& pem) {
    std::vector<Certificate> all;
    const std::unique_ptr<BIO, int (*)(BIO*)> text(
        BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
    while (X509* const one = PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr))
        all.emplace_back(one, X509_free);
    const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (all.empty() || !ended) return {};
    ERR_clear_error();
    return all;
}

}  // namespace

TlsContext::TlsContext()
    : method_(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket")) {
    BIO_meth_set_read(method_, read_socket);
    BIO_meth_set_write(method_, write_socket);
    BIO_meth_set_ctrl(method_, control_socket);
}

TlsContext::~TlsContext() {
    SSL_CTX_free(context_);
    BIO_meth_free(method_);
}

Result<std::shared_ptr<TlsContext>> TlsContext::for_server(const std::string& certificate_file,
                                                           const std::string& key_file) {
    std::shared_ptr<TlsContext> out(new TlsContext);  // shared: see the class
    ERR_clear_error();
    out->context_ = SSL_CTX_new(TLS_server_method());
    SSL_CTX* context = out->context_;
    if (!context) return tls_failure("cannot set up TLS");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);  // connections are kept alive instead
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
    if (SSL_CTX_use_certificate_chain_file(context, certificate_file.c_str()) != 1)
        return tls_failure("cannot use the certificate '" + certificate_file + "'");
    if (SSL_CTX_use_PrivateKey_file(context, key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return tls_failure("cannot use the key '" + key_file + "'");
    return out;
}

void TlsContext::show_to_who_asks(std::shared_ptr<TlsContext> named) {
    named_ = std::move(named);
    SSL_CTX_set_tlsext_servername_callback(context_, choose_certificate);
    SSL_CTX_set_tlsext_servername_arg(context_, named_.get());
}

Result<std::shared_ptr<TlsContext>> TlsContext::for_client(const std::string& ca_file) {
    std::shared_ptr<TlsContext> out(new TlsContext);
    ERR_clear_error();
    out->context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX* context = out->context_;
    if (!context) return tls_failure("cannot set up TLS");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    if (ca_file.empty()) {
        if (SSL_CTX_set_default_verify_paths(context) != 1)
            return tls_failure("cannot load the system's certificate authorities");
    } else if (SSL_CTX_load_verify_file(context, ca_file.c_str()) != 1) {
        return tls_failure("cannot load the certificate authorities in '" + ca_file + "'");
    }
    return out;
}

Result<std::shared_ptr<TlsContext>> TlsContext::for_client_of(const std::string& authorities,
                                                              const std::string& certificate,
                                                              const Secret& key) {
    std::shared_ptr<TlsContext> out = TURNOUT_TRY(for_client(""));
    SSL_CTX* const context = out->context_;
    if (!authorities.empty()) {
        // These alone, and not the system's besides.
        X509_STORE* const store = X509_STORE_new();
        TURNOUT_CHECK(store, "TLS needs memory");
        SSL_CTX_set_cert_store(context, store);  // which owns it from now on
        const std::vector<Certificate> all = certificates_in(authorities);
        if (all.empty()) return tls_failure("cannot read the certificate authorities");
        for (const Certificate& one : all) X509_STORE_add_cert(store, one.get());
    }
    if (certificate.empty() && key.empty()) return out;
    const std::vector<Certificate> chain = certificates_in(certificate);
    if (chain.empty() || SSL_CTX_use_certificate(context, chain.front().get()) != 1)
        return tls_failure("cannot use the client's certificate");
    for (std::size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(context, chain[i].get());
    const std::unique_ptr<BIO, int (*)(BIO*)> text(
        BIO_new_mem_buf(key.reveal().data(), static_cast<int>(key.reveal().size())), BIO_free);
    // Nobody is there to type the passphrase of one that has one.
    const auto none = [](char*, int, int, void*) { return 0; };
    const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> read(
        PEM_read_bio_PrivateKey(text.get(), nullptr, none, nullptr), EVP_PKEY_free);
    if (!read || SSL_CTX_use_PrivateKey(context, read.get()) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return tls_failure("cannot use the client's key");
    return out;
}

std::unique_ptr<Connection> make_tls_connection(AsioLoop& loop, Fd socket,
                                                std::shared_ptr<TlsContext> context,
                                                const std::string& host) {
    return std::make_unique<TlsConnection>(loop, std::move(socket), std::move(context), host);
}

}  // namespace turnout::http

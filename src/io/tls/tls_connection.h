// TLS on a connection, by OpenSSL on the non-blocking socket itself. Internal to io/tls.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "base/secret.h"
#include "io/posix/connection.h"

namespace turnout::http {

// What connections share. Lives as long as the last of them.
class TlsContext {
public:
    static Result<std::shared_ptr<TlsContext>> for_server(const std::string& certificate_file,
                                                          const std::string& key_file);
    // `ca_file` empty: the system's authorities ($SSL_CERT_FILE is honoured).
    static Result<std::shared_ptr<TlsContext>> for_client(const std::string& ca_file);
    // By PEM texts; empty: the system's authorities, and no certificate of the client's own.
    static Result<std::shared_ptr<TlsContext>> for_client_of(const std::string& authorities,
                                                             const std::string& certificate,
                                                             const Secret& key);
    // Of a server: who asks for a name of `named`'s certificate gets that one.
    void show_to_who_asks(std::shared_ptr<TlsContext> named);
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

    SSL_CTX* get() const { return context_; }
    BIO_METHOD* socket_method() const { return method_; }

private:
    TlsContext();
    SSL_CTX* context_ = nullptr;
    BIO_METHOD* method_ = nullptr;
    std::shared_ptr<TlsContext> named_;
};

// `host` is empty on the server's side; on the client's it is verified.
std::unique_ptr<Connection> make_tls_connection(AsioLoop& loop, Fd socket,
                                                std::shared_ptr<TlsContext> context,
                                                const std::string& host);

}  // namespace turnout::http

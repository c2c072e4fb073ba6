// TLS for the HTTP client: put it into ClientOptions::tls.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/secret.h"
#include "io/posix/http_client.h"

namespace turnout::http {

// Verifies the peer's chain against the PEM bundle `ca_file` (empty: the system's authorities,
// $SSL_CERT_FILE honoured) and its name or IP address against the certificate's alternative names.
Result<std::shared_ptr<TlsConnector>> make_tls_connector(const std::string& ca_file);

// Whom a client trusts, and who it is, as texts. FailedPrecondition: one of them cannot be used.
struct TlsClient {
    std::string authorities;  // PEM; "": the system's
    std::string certificate;  // PEM, with the chain behind it; "": it shows none
    Secret key;               // PEM, of that certificate
    std::string server_name;  // that the peer has to have; "": the URL's
};
Result<std::shared_ptr<TlsConnector>> make_tls_connector(const TlsClient& client);

}  // namespace turnout::http

// TLS for the HTTP client: put it into ClientOptions::tls.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "io/posix/http_client.h"

namespace turnout::http {

// Verifies the peer's chain against the PEM bundle `ca_file` (empty: the system's authorities,
// $SSL_CERT_FILE honoured) and its name or IP address against the certificate's alternative names.
Result<std::shared_ptr<TlsConnector>> make_tls_connector(const std::string& ca_file);

}  // namespace turnout::http

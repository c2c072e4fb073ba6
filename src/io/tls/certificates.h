// The server's own certificate authority and its certificate, as PEM texts and files.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "io/http.h"

namespace turnout::tls {

struct Credentials {
    std::string certificate;  // PEM
    Secret key;               // PEM, PKCS#8
};

// EC P-256, valid for ten years from (a little before) `now`.
Result<Credentials> create_authority(const std::string& name, Instant now);

// Valid for 397 days, the most that some clients take. Named 127.0.0.1, ::1 and localhost besides
// `names`, which may be host names or IP addresses.
Result<Credentials> issue_certificate(const Credentials& authority,
                                      const std::vector<std::string>& names, Instant now);

// Not signed by the authority, unreadable, without one of the names, or at its end in 30 days.
bool needs_renewal(const std::string& certificate, const std::string& authority_certificate,
                   const std::vector<std::string>& names, Instant now);

struct CertificateFiles {
    std::string authority;       // ca.pem
    std::string authority_key;   // ca.key
    http::TlsFiles server;       // server.pem, server.key
    bool new_authority = false;  // in the place of one that is not valid now: clients must be told
};

// The host names that the first certificate holds, as they stand in it ("*.lab.example" too).
std::vector<std::string> names_in(const std::string& certificate);

// SHA-256 of the first certificate, as people compare it: "AB:CD:…". "" if there is none.
std::string fingerprint(const std::string& certificate);

// What is missing or needs renewal in `folder` is made, the authority too where it is not valid yet
// (a clock was wrong when it was made) or no longer; all files have mode 0600.
Result<CertificateFiles> ensure_certificates(const std::string& folder,
                                             const std::vector<std::string>& names, Instant now);

// The bundle for clients: our authority and the system's ($SSL_CERT_FILE, or else Debian's file;
// neither is needed), so that a program told to use it still reaches the rest of the world. An
// authority is in it once. Mode 0644.
Result<void> write_ca_bundle(const std::string& path, const std::string& authority_certificate);

}  // namespace turnout::tls

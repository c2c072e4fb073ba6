// The certificates that a running server shows: its own is renewed before it ends, and those that
// whoever runs it has given are read again when their files change. Nobody's connection is cut.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "app/instance.h"
#include "base/result.h"
#include "io/http.h"
#include "io/loop.h"
#include "io/tls/tls_server.h"

namespace turnout {

// On the loop; files are looked at apart. All that it is given outlives it, and it the loop's work.
class CertificateWatch {
public:
    // `listen`: as for prepare_certificates. `named`: files that were given, for their names.
    CertificateWatch(Loop& loop, const Clock& clock, const Instance& instance, std::string listen,
                     std::optional<http::TlsFiles> named)
        : loop_(loop),
          clock_(clock),
          instance_(instance),
          listen_(std::move(listen)),
          named_(std::move(named)) {}

    // Reads the files for the first time; errors name the one that cannot be used.
    Result<std::shared_ptr<http::ShownCertificates>> open();
    // From now on, every ten seconds.
    void keep_looking();

private:
    // Of all files, when they were written and how large they are: another text if one has changed.
    std::string stamp() const;
    void look();

    Loop& loop_;
    const Clock& clock_;
    const Instance& instance_;
    const std::string listen_;
    const std::optional<http::TlsFiles> named_;
    std::shared_ptr<http::ShownCertificates> shown_;
    std::string stamp_;  // of what is shown, or could not be
    Span renewed_at_{};  // when the own one was looked at
};

}  // namespace turnout

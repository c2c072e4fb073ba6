#include "app/certificate_watch.h"

#include <sys/stat.h>

#include <cstdio>
#include <utility>

#include "app/credentials.h"
#include "io/apart.h"

namespace turnout {

namespace {

constexpr Span kBetweenLooks = 10s, kBetweenRenewals = 1h;

}  // namespace

std::string CertificateWatch::stamp() const {
    std::string out;
    const auto add = [&](const std::string& file) {
        struct stat at{};
        if (::stat(file.c_str(), &at) == 0)
            out += std::to_string(at.st_ino) + " " + std::to_string(at.st_size) + " " +
                   std::to_string(at.st_mtim.tv_sec) + "." + std::to_string(at.st_mtim.tv_nsec);
        out += "\n";
    };
    add(instance_.certificate());
    add(instance_.certificate_key());
    if (named_) {
        add(named_->certificate);
        add(named_->key);
    }
    return out;
}

Result<std::shared_ptr<http::ShownCertificates>> CertificateWatch::open() {
    stamp_ = stamp();
    renewed_at_ = clock_.since_boot();  // by who prepared them
    shown_ = TURNOUT_TRY(http::ShownCertificates::load(
        {instance_.certificate(), instance_.certificate_key()}, named_));
    return shown_;
}

void CertificateWatch::keep_looking() {
    loop_.after(kBetweenLooks, [this] { look(); });
}

void CertificateWatch::look() {
    const bool renew = clock_.since_boot() - renewed_at_ >= kBetweenRenewals;
    if (renew) renewed_at_ = clock_.since_boot();
    apart(
        loop_,
        [this, renew]() -> Result<std::string> {
            // What cannot be renewed now is tried again an hour later, thirty days before its end.
            if (renew)
                if (const auto made = prepare_certificates(instance_, listen_, clock_); !made)
                    std::fprintf(stderr,
                                 "error: the server's certificate cannot be looked at: %s\n",
                                 made.error().message.c_str());
            return stamp();
        },
        [this](const Result<std::string>& now) {
            if (now && *now != stamp_) {
                stamp_ = *now;
                if (const Result<void> read = shown_->reload(); !read)
                    std::fprintf(stderr,
                                 "error: the certificate is shown as it was before, since what is "
                                 "there now cannot be used: %s\n",
                                 read.error().message.c_str());
                else
                    std::fprintf(stderr, "certificates were read again\n");
            }
            keep_looking();
        });
}

}  // namespace turnout

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "io/posix/files.h"
#include "io/posix/http_client.h"
#include "io/posix/http_server.h"
#include "io/posix/test_until.h"
#include "io/tls/certificates.h"
#include "io/tls/tls_client.h"
#include "io/tls/tls_server.h"

namespace turnout {
namespace {

constexpr Span day = std::chrono::hours(24);

class Repeat final : public http::BodyReader {
public:
    explicit Repeat(std::uint64_t length) : left_(length) {}
    Task<Result<std::string>> read() override {
        const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, 100'000));
        left_ -= size;
        std::string out(size, '\0');
        for (char& c : out) c = static_cast<char>('a' + at_++ % 23);
        co_return out;
    }

private:
    std::uint64_t left_;
    std::uint64_t at_ = 0;
};

Task<void> echo(std::unique_ptr<http::Stream> stream) {
    for (;;) {
        Result<std::string> bytes = co_await stream->read();
        if (!bytes || bytes->empty()) co_return;
        Result<void> written = co_await stream->write("<" + *bytes + ">");
        if (!written) co_return;
    }
}

Task<http::Response> handle(const http::Request& request, http::BodyReader& body) {
    http::Response response;
    response.headers.set("X-Carrier", request.peer.carrier == http::Carrier::Tls ? "tls" : "other");
    if (request.path == "/upload") {
        std::uint64_t count = 0;
        bool exact = true;
        for (;;) {
            Result<std::string> piece = co_await body.read();
            if (!piece) {
                exact = false;
                break;
            }
            if (piece->empty()) break;
            for (std::size_t i = 0; i < piece->size(); i += 1009)
                exact &= (*piece)[i] == static_cast<char>('a' + (count + i) % 23);
            count += piece->size();
        }
        response.body = (exact ? "exact " : "wrong ") + std::to_string(count);
    } else if (request.path == "/download") {
        response.stream = std::make_unique<Repeat>(std::stoull(request.query));
    } else if (request.path == "/upgrade") {
        response.status = 101;
        response.headers.set("Upgrade", "echo");
        response.upgraded = echo;
    } else {
        response.body = "hello over tls";
    }
    co_return response;
}

Task<Result<std::string>> fetch(http::Client& client, http::ClientRequest request) {
    TURNOUT_CO_TRY(auto response, co_await client.send(std::move(request)));
    Result<std::string> all = co_await response.body->all(1 << 20);
    co_return all;
}

http::ClientRequest get(std::string url) {
    http::ClientRequest request;
    request.url = std::move(url);
    return request;
}

// Shows that one certificate.
Result<std::unique_ptr<http::Listener>> listen_with(AsioLoop& loop, std::string address,
                                                    http::TlsFiles files,
                                                    http::Limits limits = {}) {
    return http::listen_tls(loop, std::move(address),
                            TURNOUT_TRY(http::ShownCertificates::load(std::move(files))), handle,
                            limits);
}

class TlsTest : public testing::Test {
protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "io-tls-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        root = name;
    }
    void TearDown() override { EXPECT_TRUE(remove_tree(root)); }

    void serve(const tls::CertificateFiles& with, http::Limits limits = {}) {
        auto made = listen_with(loop, "127.0.0.1:0", with.server, limits);
        ASSERT_TRUE(made) << made.error().message;
        listener = std::move(*made);
        port = listener->address().substr(listener->address().rfind(':') + 1);
    }
    void serve() {
        auto made = tls::ensure_certificates(root, {}, clock.now());
        ASSERT_TRUE(made) << made.error().message;
        files = *made;
        serve(files);
    }
    std::unique_ptr<http::Client> client(const std::string& ca) {
        http::ClientOptions options;
        auto connector = http::make_tls_connector(ca);
        EXPECT_TRUE(connector);
        options.tls = *connector;
        return http::make_client(loop, options);
    }
    // A command while the server serves, for a minute at most; its output.
    std::string run(std::string command) {
        std::string out;
        bool ended = false;
        loop.blocking(
            [&] {
                FILE* pipe = ::popen(("timeout 60 " + command + " 2>&1").c_str(), "r");
                char buffer[4096];
                while (std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe))
                    out.append(buffer, n);
                ::pclose(pipe);
            },
            [&] { ended = true; });
        loop.run_until([&] { return ended; });
        return out;
    }

    std::string root;
    PosixClock clock;
    AsioLoop loop;
    tls::CertificateFiles files;
    std::unique_ptr<http::Listener> listener;
    std::string port;
};

// Signed by the same authority, so that one client can compare both.
class ShownCertificatesTest : public TlsTest {
protected:
    void SetUp() override {
        TlsTest::SetUp();
        ASSERT_FALSE(HasFatalFailure());
        files = *tls::ensure_certificates(root, {}, clock.now());
        named = {root + "/named.pem", root + "/named.key"};
        write_named("lab.example");
        certificates = *http::ShownCertificates::load(files.server, named);
        listener = std::move(*http::listen_tls(loop, "127.0.0.1:0", certificates, handle));
        port = listener->address().substr(listener->address().rfind(':') + 1);
    }
    void write_named(const std::string& name) {
        const tls::Credentials authority{*read_file(files.authority),
                                         Secret(*read_file(files.authority_key))};
        const auto made = tls::issue_certificate(authority, {name, "*.wild.example"}, clock.now());
        ASSERT_TRUE(made);
        ASSERT_TRUE(write_file_atomically(named.certificate, made->certificate, 0600));
        ASSERT_TRUE(write_file_atomically(named.key, made->key.reveal(), 0600));
    }
    // The names in what is shown to who asks for that one ("" asks for none).
    std::vector<std::string> shown(const std::string& asked) {
        return tls::names_in(run("openssl s_client -connect 127.0.0.1:" + port +
                                 (asked.empty() ? " -noservername" : " -servername " + asked) +
                                 " </dev/null | openssl x509"));
    }

    http::TlsFiles named;
    std::shared_ptr<http::ShownCertificates> certificates;
    const std::vector<std::string> own = {"localhost"};
};

TEST_F(ShownCertificatesTest, WhoAsksForANameGetsTheCertificateThatHoldsIt) {
    const std::vector<std::string> given = {"localhost", "lab.example", "*.wild.example"};
    EXPECT_EQ(shown("lab.example"), given);
    EXPECT_EQ(shown("a.wild.example"), given);
    EXPECT_EQ(shown("other.example"), own);
    EXPECT_EQ(shown(""), own);
}

TEST_F(ShownCertificatesTest, AreReplacedWithoutARestartAndKeptWhereTheNewOnesAreOfNoUse) {
    auto before = client(files.authority);
    const auto said = [&] {
        return loop.run(fetch(*before, get("https://127.0.0.1:" + port + "/")));
    };
    ASSERT_TRUE(said());
    write_named("new.example");
    EXPECT_EQ(shown("new.example"), own);
    ASSERT_TRUE(certificates->reload());
    EXPECT_EQ(shown("new.example").size(), 3u);
    EXPECT_EQ(shown("lab.example"), own);
    EXPECT_TRUE(said());  // on the connection that there was

    ASSERT_TRUE(write_file_atomically(named.key, *read_file(files.server.key), 0600));
    const auto refused = certificates->reload();
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find(named.key), std::string::npos);
    EXPECT_EQ(shown("new.example").size(), 3u);
}

TEST_F(TlsTest, AnswersByEveryOwnName) {
    serve();
    const auto mine = client(files.authority);
    for (const std::string host : {"127.0.0.1", "localhost"})
        for (int i = 0; i < 3; ++i) {
            const auto answer = loop.run(fetch(*mine, get("https://" + host + ":" + port + "/x")));
            ASSERT_TRUE(answer) << answer.error().message;
            EXPECT_EQ(*answer, "hello over tls");
        }
    EXPECT_EQ(listener->connections(), 2u) << "kept alive, one per origin";
}

TEST_F(TlsTest, RefusesTheUntrusted) {
    serve();
    const auto other = tls::create_authority("another", clock.now());
    ASSERT_TRUE(other);
    ASSERT_TRUE(write_file_atomically(root + "/other.pem", other->certificate));
    const auto stranger = client(root + "/other.pem");
    const auto refused = loop.run(fetch(*stranger, get("https://127.0.0.1:" + port + "/")));
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("not trusted"), std::string::npos)
        << refused.error().message;
    // The right authority, but neither the name nor the address is in the certificate.
    auto wrong = tls::issue_certificate(
        {*read_file(files.authority), Secret(*read_file(files.authority_key))},
        {"elsewhere.example"}, clock.now());
    ASSERT_TRUE(wrong);
    EXPECT_FALSE(
        tls::needs_renewal(wrong->certificate, *read_file(files.authority), {}, clock.now()));
    auto six = listen_with(loop, "127.0.0.2:0", files.server);
    ASSERT_TRUE(six) << six.error().message;
    const auto mine = client(files.authority);
    const auto named = loop.run(fetch(*mine, get("https://" + (*six)->address() + "/")));
    ASSERT_FALSE(named);
    EXPECT_NE(named.error().message.find("not trusted"), std::string::npos)
        << named.error().message;
    EXPECT_FALSE(http::make_tls_connector(root + "/missing.pem"));
    EXPECT_FALSE(listen_with(loop, "127.0.0.1:0", {files.authority, files.server.key}));
}

TEST_F(TlsTest, StreamsBothWays) {
    serve();
    const auto mine = client(files.authority);
    const std::string origin = "https://127.0.0.1:" + port;
    for (const bool chunked : {false, true}) {
        http::ClientRequest up = get(origin + "/upload");
        up.method = "PUT";
        up.stream = std::make_unique<Repeat>(100'000'000);
        if (!chunked) up.length = 100'000'000;
        const auto answer = loop.run(fetch(*mine, std::move(up)));
        ASSERT_TRUE(answer) << answer.error().message;
        EXPECT_EQ(*answer, "exact 100000000");
    }
    auto response = loop.run(mine->send(get(origin + "/download?100000000")));
    ASSERT_TRUE(response);
    std::uint64_t got = 0;
    for (;;) {
        auto piece = loop.run(response->body->read());
        ASSERT_TRUE(piece) << piece.error().message;
        if (piece->empty()) break;
        for (std::size_t i = 0; i < piece->size(); i += 997)
            ASSERT_EQ((*piece)[i], static_cast<char>('a' + (got + i) % 23));
        got += piece->size();
    }
    EXPECT_EQ(got, 100'000'000u);
    EXPECT_EQ(listener->connections(), 1u);
}

TEST_F(TlsTest, Upgrades) {
    serve();
    const auto mine = client(files.authority);
    http::ClientRequest request = get("https://127.0.0.1:" + port + "/upgrade");
    request.headers.set("Connection", "Upgrade");
    request.headers.set("Upgrade", "echo");
    auto response = loop.run(mine->send(std::move(request)));
    ASSERT_TRUE(response);
    ASSERT_TRUE(response->stream);
    // Reading while much is written, so that both directions wait at once.
    std::string back;
    bool ended = false;
    struct Reading {
        static Task<void> all(http::Stream& stream, std::string& into, std::size_t payload) {
            std::size_t have = 0;
            while (have < payload) {
                Result<std::string> bytes = co_await stream.read();
                if (!bytes || bytes->empty()) co_return;
                for (const char c : *bytes) have += c == 'x';
                into += *bytes;
            }
        }
    };
    start(Reading::all(*response->stream, back, 5'000'000), [&ended] { ended = true; });
    ASSERT_TRUE(loop.run(response->stream->write(std::string(5'000'000, 'x'))));
    ASSERT_TRUE(run_until_told(loop, [&] { return ended; }));
    EXPECT_EQ(std::count(back.begin(), back.end(), 'x'), 5'000'000);
    response->stream.reset();
    ASSERT_TRUE(run_until_told(loop, [&] { return listener->connections() == 0; }));
}

TEST_F(TlsTest, OddPeers) {
    serve();
    // Plain HTTP to the TLS port is told so.
    const auto plain = http::make_client(loop, {});
    const auto told = loop.run(fetch(*plain, get("http://127.0.0.1:" + port + "/")));
    ASSERT_TRUE(told) << told.error().message;
    EXPECT_NE(told->find("https"), std::string::npos);
    // One that says nothing and one that goes in the middle of the handshake.
    http::Limits limits;
    limits.header_timeout = 50ms;
    serve(files, limits);
    EXPECT_EQ(run("bash -c 'exec 3<>/dev/tcp/127.0.0.1/" + port + "; cat <&3'"), "");
    run("bash -c 'exec 3<>/dev/tcp/127.0.0.1/" + port + "; printf \"\\x16\\x03\\x01\" >&3'");
    ASSERT_TRUE(run_until_told(loop, [&] { return listener->connections() == 0; }));
}

TEST_F(TlsTest, CurlAndPythonAcceptTheCertificate) {
    serve();
    ASSERT_TRUE(tls::write_ca_bundle(root + "/bundle.pem", *read_file(files.authority)));
    for (const std::string& ca : {files.authority, root + "/bundle.pem"})
        for (const std::string host : {"127.0.0.1", "localhost"})
            EXPECT_EQ(run("curl -sS --cacert " + ca + " https://" + host + ":" + port + "/"),
                      "hello over tls");
    const std::string refused = run("curl -sS https://127.0.0.1:" + port + "/");
    EXPECT_NE(refused.find("certificate"), std::string::npos) << refused;
    const std::string strict =
        "python3 -c 'import ssl, urllib.request as u; c = ssl.create_default_context(cafile=\"" +
        files.authority +
        "\"); c.verify_flags |= ssl.VERIFY_X509_STRICT; "
        "print(u.urlopen(\"https://127.0.0.1:" +
        port + "/\", context=c).read().decode(), end=\"\")'";
    EXPECT_EQ(run(strict), "hello over tls");
}

TEST_F(TlsTest, CertificatesAreKeptAndRenewed) {
    const Instant now = clock.now();
    const auto first = tls::ensure_certificates(root + "/tls", {}, now);
    ASSERT_TRUE(first);
    for (const std::string& path :
         {first->authority, first->authority_key, first->server.certificate, first->server.key}) {
        struct stat info{};
        ASSERT_EQ(::stat(path.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 07777, 0600u) << path;
    }
    const std::string authority = *read_file(first->authority);
    const std::string server = *read_file(first->server.certificate);
    ASSERT_TRUE(tls::ensure_certificates(root + "/tls", {}, now + 300 * day));
    EXPECT_EQ(*read_file(first->server.certificate), server) << "kept while it is good";
    ASSERT_TRUE(tls::ensure_certificates(root + "/tls", {"gpu.example", "10.0.0.7"}, now));
    const std::string named = *read_file(first->server.certificate);
    EXPECT_NE(named, server) << "another name";
    EXPECT_FALSE(tls::needs_renewal(named, authority, {"gpu.example", "10.0.0.7"}, now));
    EXPECT_TRUE(tls::needs_renewal(named, authority, {"cpu.example"}, now));
    EXPECT_TRUE(tls::needs_renewal(named, authority, {"10.0.0.8"}, now));
    EXPECT_FALSE(tls::needs_renewal(named, authority, {}, now + 366 * day));
    EXPECT_TRUE(tls::needs_renewal(named, authority, {}, now + 368 * day));
    EXPECT_TRUE(tls::needs_renewal("nonsense", authority, {}, now));
    EXPECT_TRUE(tls::needs_renewal(named, tls::create_authority("x", now)->certificate, {}, now));
    ASSERT_TRUE(tls::ensure_certificates(root + "/tls", {}, now + 380 * day));
    EXPECT_NE(*read_file(first->server.certificate), named) << "renewed before its end";
    EXPECT_EQ(*read_file(first->authority), authority);
    // A key that does not belong to the certificate is noticed.
    ASSERT_TRUE(write_file_atomically(first->server.key, "broken", 0600));
    ASSERT_TRUE(tls::ensure_certificates(root + "/tls", {}, now));
    EXPECT_NE(*read_file(first->server.key), "broken");
    // Without the authority's key nothing is replaced in silence.
    ASSERT_EQ(::unlink(first->authority_key.c_str()), 0);
    EXPECT_FALSE(tls::ensure_certificates(root + "/tls", {}, now));
    EXPECT_FALSE(tls::issue_certificate(*tls::create_authority("x", now), {"a,DNS:evil"}, now));
}

TEST_F(TlsTest, AnAuthorityOfAWrongClockIsMadeAnew) {
    const Instant now = clock.now();
    for (const Span wrong : {3000 * day, -4000 * day}) {
        const std::string folder = root + "/clock" + std::to_string(wrong.count());
        const auto made = tls::ensure_certificates(folder, {}, now + wrong);
        ASSERT_TRUE(made);
        const std::string authority = *read_file(made->authority);
        const auto again = tls::ensure_certificates(folder, {}, now);
        ASSERT_TRUE(again) << again.error().message;
        EXPECT_TRUE(again->new_authority);
        EXPECT_NE(*read_file(made->authority), authority);
        EXPECT_NE(tls::fingerprint(*read_file(made->authority)), tls::fingerprint(authority));
        EXPECT_FALSE(tls::needs_renewal(*read_file(made->server.certificate),
                                        *read_file(made->authority), {}, now));
        EXPECT_FALSE(tls::ensure_certificates(folder, {}, now)->new_authority) << "once";
    }
    EXPECT_EQ(tls::fingerprint("nonsense"), "");
}

TEST_F(TlsTest, BundleHoldsEachAuthorityOnce) {
    const std::string own = tls::create_authority("mine", clock.now())->certificate;
    const std::string path = root + "/bundle.pem";
    ASSERT_TRUE(write_file_atomically(root + "/system.pem", "# system\n" + own + "other\n"));
    const char* before = std::getenv("SSL_CERT_FILE");
    const std::string saved = before ? before : "";
    ::setenv("SSL_CERT_FILE", (root + "/system.pem").c_str(), 1);
    ASSERT_TRUE(tls::write_ca_bundle(path, own));
    EXPECT_EQ(*read_file(path), own + "# system\nother\n");
    ::setenv("SSL_CERT_FILE", path.c_str(), 1);  // from inside the shell that uses it
    ASSERT_TRUE(tls::write_ca_bundle(path, own));
    const std::string again = *read_file(path);
    EXPECT_EQ(again.find(own), 0u);
    EXPECT_EQ(again.find(own, 1), std::string::npos);
    if (before)
        ::setenv("SSL_CERT_FILE", saved.c_str(), 1);
    else
        ::unsetenv("SSL_CERT_FILE");
}

TEST_F(TlsTest, AClientSaysByTextsWhomItTrusts) {
    const auto shown = tls::ensure_certificates(root, {"api.example"}, PosixClock().now());
    ASSERT_TRUE(shown) << shown.error().message;
    serve(*shown);
    const auto answer_to = [&](const http::TlsClient& who) {
        Result<std::string> answer = fail(Code::Internal, "None", "none");
        auto connector = http::make_tls_connector(who);
        if (!connector) return answer = Failure(connector.error());
        http::ClientOptions options;
        options.origin = "https://" + listener->address();
        options.tls = *connector;
        const auto client = http::make_client(loop, std::move(options));
        bool over = false;
        start(fetch(*client, get("/")), [&](Result<std::string> got) {
            answer = std::move(got);
            over = true;
        });
        EXPECT_TRUE(run_until(loop, [&] { return over; }));
        return answer;
    };
    const std::string ours = *read_file(shown->authority);
    EXPECT_EQ(answer_to({.authorities = ours}).value_or(""), "hello over tls");
    EXPECT_EQ(answer_to({.authorities = ours, .server_name = "api.example"}).value_or(""),
              "hello over tls");
    EXPECT_FALSE(answer_to({.authorities = ours, .server_name = "other.example"}));
    // Not the system's, and none but those: another one is not enough.
    const auto other = tls::create_authority("other", PosixClock().now());
    ASSERT_TRUE(other);
    EXPECT_FALSE(answer_to({.authorities = other->certificate}));
    EXPECT_FALSE(answer_to({}));
    EXPECT_EQ(answer_to({.authorities = other->certificate + ours,
                         .certificate = other->certificate,
                         .key = other->key})
                  .value_or(""),
              "hello over tls");
    // What is no certificate, or no key of it, is refused before anybody is asked.
    for (const http::TlsClient& bad : std::initializer_list<http::TlsClient>{
             {.authorities = "none"},
             {.authorities = ours + "-----BEGIN CERTIFICATE-----\nAAAA\n"},
             {.authorities = ours, .certificate = "none", .key = other->key},
             {.authorities = ours, .certificate = ours, .key = other->key},
             {.authorities = ours, .certificate = other->certificate, .key = Secret("none")}})
        EXPECT_FALSE(http::make_tls_connector(bad));
}

}  // namespace
}  // namespace turnout

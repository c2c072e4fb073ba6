#include "io/posix/pipe_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace turnout::http {
namespace {

constexpr int kMostReadsInARow = 16;  // then the loop serves others

struct Pipes {
    AsioLoop& loop;
    Fd in, out;
    std::unique_ptr<Watch> readable, writable;  // after the descriptors: they are destroyed first
    bool closed = false;
    int in_a_row = 0;
};

Failure closed_here() {
    return fail(Code::Canceled, "Canceled", "the stream was closed here");
}

class PipeStream final : public Stream {
public:
    explicit PipeStream(std::shared_ptr<Pipes> pipes) : pipes_(std::move(pipes)) {}
    ~PipeStream() override { close(); }

    Task<Result<std::string>> read() override {
        const auto pipes = pipes_;  // lives on if the stream is destroyed meanwhile
        if (++pipes->in_a_row >= kMostReadsInARow) {
            pipes->in_a_row = 0;
            co_await pipes->loop.sleep(Span(0));
        }
        for (;;) {
            if (pipes->closed) co_return closed_here();
            const std::span<char> scratch = pipes->loop.scratch();
            const ssize_t got = ::read(pipes->in.get(), scratch.data(), scratch.size());
            if (got >= 0) co_return std::string(scratch.data(), static_cast<std::size_t>(got));
            if (errno == EINTR) continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                co_return fail(Code::Unavailable, "ConnectionLost",
                               std::string("the stream cannot be read: ") + std::strerror(errno));
            pipes->in_a_row = 0;
            (void)co_await pipes->readable->readable();
        }
    }
    Task<Result<void>> write(std::string bytes) override {
        const auto pipes = pipes_;
        std::string_view left = bytes;
        while (!left.empty()) {
            if (pipes->closed) co_return closed_here();
            const ssize_t sent = ::write(pipes->out.get(), left.data(), left.size());
            if (sent >= 0) {
                left.remove_prefix(static_cast<std::size_t>(sent));
                continue;
            }
            if (errno == EINTR) continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                co_return fail(
                    Code::Unavailable, "ConnectionLost",
                    std::string("the stream's other end is gone: ") + std::strerror(errno));
            (void)co_await pipes->writable->writable();
        }
        co_return Result<void>();
    }
    void close() override {
        if (std::exchange(pipes_->closed, true)) return;
        pipes_->readable.reset();  // who waits is told
        pipes_->writable.reset();
        pipes_->in.reset();
        pipes_->out.reset();
    }

private:
    std::shared_ptr<Pipes> pipes_;
};

}  // namespace

Result<std::unique_ptr<Stream>> make_pipe_stream(AsioLoop& loop, Fd in, Fd out) {
    for (const Fd* one : {&in, &out}) {
        const int flags = ::fcntl(one->get(), F_GETFL);
        if (flags < 0 || ::fcntl(one->get(), F_SETFL, flags | O_NONBLOCK) != 0)
            return fail(Code::FailedPrecondition, "NotAStream",
                        std::string("there is no stream: ") + std::strerror(errno));
    }
    auto readable = loop.watch(in.get());
    auto writable = loop.watch(out.get());
    if (!readable || !writable)
        return fail(Code::FailedPrecondition, "NotAStream", "there is no stream to wait on");
    return std::make_unique<PipeStream>(std::make_shared<Pipes>(
        Pipes{loop, std::move(in), std::move(out), std::move(readable), std::move(writable)}));
}

}  // namespace turnout::http

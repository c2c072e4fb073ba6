#include "io/posix/programs.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/fd.h"
#include "io/posix/pipe_stream.h"

namespace turnout {
namespace {

constexpr std::size_t kMostSaid = 64 << 20;       // on standard output
constexpr std::size_t kMostComplained = 8 << 10;  // its last words
constexpr Span kEndsByItself = 3s;

struct Pipe {
    Fd read, write;
};

Result<Pipe> make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        return fail(Code::ResourceExhausted, "NoPipe",
                    std::string("no pipe can be made: ") + std::strerror(errno));
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// A program that was begun, with our ends of its pipes.
struct Begun {
    ProcessId process;
    Fd input, output, error;
};

Result<Begun> begin_with_pipes(SpawnRequest request) {
    Pipe input = TURNOUT_TRY(make_pipe());
    Pipe output = TURNOUT_TRY(make_pipe());
    Pipe error = TURNOUT_TRY(make_pipe());
    request.descriptors.insert(
        request.descriptors.begin(),
        {{0, input.read.get()}, {1, output.write.get()}, {2, error.write.get()}});
    request.own_session = true;
    Begun begun;
    begun.process = TURNOUT_TRY(spawn(request));
    for (Fd* ours : {&input.write, &output.read, &error.read})
        (void)::fcntl(ours->get(), F_SETFL, O_NONBLOCK);
    begun.input = std::move(input.write);
    begun.output = std::move(output.read);
    begun.error = std::move(error.read);
    return begun;
}

Task<Result<Begun>> begin_apart(AsioLoop& loop, SpawnRequest request) {
    std::function<Result<Begun>()> work = [request = std::move(request)] {
        return begin_with_pipes(request);
    };
    co_return co_await apart(loop, std::move(work));
}

// What it says until it is silent for good. `most`: of more the last so much is kept.
Task<void> collect(AsioLoop& loop, Fd from, std::shared_ptr<std::string> into, std::size_t most) {
    const std::unique_ptr<Watch> watch = loop.watch(from.get());
    for (;;) {
        const std::span<char> scratch = loop.scratch();
        const ssize_t got = ::read(from.get(), scratch.data(), scratch.size());
        if (got > 0) {
            into->append(scratch.data(), static_cast<std::size_t>(got));
            if (into->size() > most) into->erase(0, into->size() - most);
            continue;
        }
        if (got == 0) co_return;
        if (errno == EINTR) continue;
        if ((errno != EAGAIN && errno != EWOULDBLOCK) || !watch) co_return;
        const bool more = co_await watch->readable();
        if (!more) co_return;
    }
}

Task<void> feed(AsioLoop& loop, Fd into, std::string text) {
    const std::unique_ptr<Watch> watch = loop.watch(into.get());
    std::string_view left = text;
    while (!left.empty()) {
        const ssize_t sent = ::write(into.get(), left.data(), left.size());
        if (sent >= 0) {
            left.remove_prefix(static_cast<std::size_t>(sent));
            continue;
        }
        if (errno == EINTR) continue;
        if ((errno != EAGAIN && errno != EWOULDBLOCK) || !watch) co_return;  // it does not listen
        const bool more = co_await watch->writable();
        if (!more) co_return;
    }
}

// Its exit code, once it has ended.
Task<int> ended(AsioLoop& loop, ProcessId process) {
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    if (const std::unique_ptr<Watch> watch = handle ? loop.watch(handle.get()) : nullptr)
        (void)co_await watch->readable();
    for (;;) {
        if (const auto exit = reap(process.pid)) co_return exit->code;
        if (!is_alive(process)) co_return -1;  // somebody else took note of its end
        co_await loop.sleep(5ms);
    }
}

struct Talk {
    AsioLoop& loop;
    ProcessId process;
    std::unique_ptr<http::Stream> pipes;
    std::shared_ptr<std::string> complaints = std::make_shared<std::string>();
    Later<int> code = {};
    bool closed = false, over = false;
};

class ProgramStream final : public http::Stream {
public:
    explicit ProgramStream(std::shared_ptr<Talk> talk) : talk_(std::move(talk)) {}
    ~ProgramStream() override { close(); }

    Task<Result<std::string>> read() override {
        const auto talk = talk_;  // lives on if the stream is destroyed meanwhile
        Result<std::string> bytes = co_await talk->pipes->read();
        if (!bytes || !bytes->empty() || talk->closed || talk->over) co_return bytes;
        const int code = co_await talk->code;
        talk->over = true;
        if (code == 0) co_return std::string();
        const std::string_view words = trim(*talk->complaints);
        co_return fail(
            Code::Unavailable, "Ended",
            words.empty() ? "it ended with exit code " + std::to_string(code) : std::string(words));
    }
    Task<Result<void>> write(std::string bytes) override {
        co_return co_await talk_->pipes->write(std::move(bytes));
    }
    void close() override {
        if (std::exchange(talk_->closed, true)) return;
        talk_->pipes->close();
        talk_->loop.after(kEndsByItself, [process = talk_->process] {
            if (is_alive(process)) (void)send_signal_to_group(process.pid, SIGKILL);
        });
    }

private:
    std::shared_ptr<Talk> talk_;
};

}  // namespace

Task<Result<ProgramRan>> run_program(AsioLoop& loop, SpawnRequest request, std::string input,
                                     Span timeout) {
    const std::string name = request.program;
    TURNOUT_CO_TRY(Begun begun, co_await begin_apart(loop, std::move(request)));
    const ProcessId process = begun.process;
    const auto late = std::make_shared<bool>(false);
    const Loop::TimerId limit = loop.after(timeout, [late, process] {
        *late = true;
        (void)send_signal_to_group(process.pid, SIGKILL);
    });
    const auto out = std::make_shared<std::string>(), err = std::make_shared<std::string>();
    const auto left = std::make_shared<int>(3);
    Later<bool> all;
    const std::function<void()> one_less = [left, settle = all.settle()] {
        if (--*left == 0) settle(true);
    };
    start(feed(loop, std::move(begun.input), std::move(input)), one_less);
    start(collect(loop, std::move(begun.output), out, kMostSaid), one_less);
    start(collect(loop, std::move(begun.error), err, kMostComplained), one_less);
    (void)co_await all;
    const int code = co_await ended(loop, process);
    loop.cancel(limit);
    if (*late)
        co_return fail(Code::Unavailable, "Timeout",
                       name + " did not answer within " + to_words(timeout));
    if (out->size() >= kMostSaid)
        co_return fail(Code::Unavailable, "Timeout", name + " said too much");
    ProgramRan ran;
    ran.code = code;
    ran.out = std::move(*out);
    ran.err = std::move(*err);
    co_return ran;
}

Task<Result<std::unique_ptr<http::Stream>>> begin_program(AsioLoop& loop, SpawnRequest request) {
    TURNOUT_CO_TRY(Begun begun, co_await begin_apart(loop, std::move(request)));
    auto pipes = http::make_pipe_stream(loop, std::move(begun.output), std::move(begun.input));
    if (!pipes) {
        (void)send_signal_to_group(begun.process.pid, SIGKILL);
        (void)co_await ended(loop, begun.process);
        co_return Failure(pipes.error());
    }
    const auto talk = std::make_shared<Talk>(Talk{loop, begun.process, std::move(*pipes)});
    // Its last words are there before it is told that it has ended.
    const auto left = std::make_shared<int>(2);
    const auto code = std::make_shared<int>(-1);
    const std::function<void()> one_less = [left, code, settle = talk->code.settle()] {
        if (--*left == 0) settle(*code);
    };
    start(collect(loop, std::move(begun.error), talk->complaints, kMostComplained), one_less);
    start(ended(loop, begun.process), [code, one_less](int is) {
        *code = is;
        one_less();
    });
    co_return std::make_unique<ProgramStream>(talk);
}

}  // namespace turnout

#include "agent/supervisor_link.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>

#include "agent/files.h"
#include "agent/launch.h"
#include "base/text.h"
#include "io/apart.h"
#include "io/posix/processes.h"

namespace turnout::agent {
namespace {

constexpr std::size_t kMaxFrame = 4 << 20;
constexpr std::uint32_t kMasksSince = 2;  // version of the supervisor's protocol
constexpr Span kFirstReconnect = 20ms;
constexpr Span kLongestReconnect = 5s;

enum Flag { kLost = 1, kMemory = 2, kFenced = 4, kTimeout = 8, kTogether = 16, kProcesses = 32 };
enum TaskStateNumber { kRunning = 0, kDraining = 1, kEnded = 2, kWords = 3, kWaitingOnSlot = 4 };
enum StartResult { kStarted = 0, kKnown = 1, kFailed = 2, kDropped = 3 };

class Writer {
public:
    explicit Writer(char type) : bytes_(4, '\0') { bytes_.push_back(type); }
    template <class T>
    Writer& number(T value) {
        bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
        return *this;
    }
    Writer& text(std::string_view value) {
        number(static_cast<std::uint32_t>(value.size()));
        bytes_.append(value);
        return *this;
    }
    Writer& texts(const std::vector<std::string>& values) {
        number(static_cast<std::uint32_t>(values.size()));
        for (const auto& value : values) text(value);
        return *this;
    }
    std::string frame() {
        auto size = static_cast<std::uint32_t>(bytes_.size() - 4);
        std::memcpy(bytes_.data(), &size, 4);
        return std::move(bytes_);
    }

private:
    std::string bytes_;
};

class Reader {
public:
    explicit Reader(std::string_view bytes) : rest_(bytes) {}
    template <class T>
    T number() {
        T value{};
        if (rest_.size() < sizeof value) {
            bad_ = true;
            return value;
        }
        std::memcpy(&value, rest_.data(), sizeof value);
        rest_.remove_prefix(sizeof value);
        return value;
    }
    std::string_view text() {
        auto size = number<std::uint32_t>();
        if (rest_.size() < size) {
            bad_ = true;
            return {};
        }
        auto value = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return value;
    }
    bool bad() const { return bad_; }

private:
    std::string_view rest_;
    bool bad_ = false;
};

Span span_of(std::uint64_t micros) {
    return Span(static_cast<std::int64_t>(micros));
}

TaskExit read_exit(Reader& reader) {
    TaskExit exit;
    exit.exit_code = reader.number<std::int32_t>();
    exit.signal = static_cast<int>(reader.number<std::uint32_t>());
    auto flags = reader.number<std::uint8_t>();
    exit.lost = flags & kLost;
    exit.memory_exceeded = flags & kMemory;
    exit.together = flags & kTogether;
    exit.fenced = flags & kFenced;
    exit.too_many_processes = flags & kProcesses;
    exit.timed_out = flags & kTimeout;
    exit.started = span_of(reader.number<std::uint64_t>());
    exit.ended = span_of(reader.number<std::uint64_t>());
    exit.peak_memory_bytes = static_cast<std::int64_t>(reader.number<std::uint64_t>());
    exit.cpu_time = span_of(reader.number<std::uint64_t>());
    exit.log_length = reader.number<std::uint64_t>();
    return exit;
}

Failure start_failure(int error, const std::string& program) {
    std::string what = "the command could not be started: '" + program + "': ";
    if (error == ENOENT)
        return fail(Code::NotFound, "CommandNotFound",
                    what + "no such program (in the environment's PATH or the job's folder)",
                    program);
    if (error == EACCES || error == ENOEXEC)
        return fail(Code::InvalidArgument, "CommandNotExecutable",
                    what + std::strerror(error) + " (is it executable, with a #! line?)", program);
    if (error == E2BIG)
        return invalid(what +
                           "its arguments and environment variables are longer than the system "
                           "allows (128 KiB each, about 2 MiB together)",
                       program);
    return internal(what + std::strerror(error), program);
}

}  // namespace

std::string task_name(const AttemptId& id) {
    return id.workspace + "/" + id.job + "/" + std::to_string(id.attempt);
}

std::optional<AttemptId> parse_task_name(std::string_view name) {
    auto first = name.find('/');
    auto last = name.rfind('/');
    if (first == std::string_view::npos || first == last) return std::nullopt;
    AttemptId id{std::string(name.substr(0, first)),
                 std::string(name.substr(first + 1, last - first - 1)), 0};
    auto number = name.substr(last + 1);
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id.attempt);
    if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
    return id;
}

struct SupervisorLink::State : std::enable_shared_from_this<State> {
    AsioLoop& loop;
    std::string folder;
    std::string program;
    Events events;
    Patience patience;
    PosixClock clock;
    Fd socket;
    Loop::TimerId next_look = 0;
    int silent = 0;                // looks since it said anything
    bool answered = false;         // something came since the last look
    bool urgent = false;           // it was told to kill something since it said anything
    std::string ended_why;         // we ended it
    std::unique_ptr<Watch> watch;  // after the socket: destroyed first
    std::string in, out;
    bool flushing = false;
    bool held = false;
    bool closed = false;
    bool up = false;
    std::uint32_t version = 1;  // what the supervisor speaks
    std::optional<Span> fence;
    std::vector<SupervisedTask> listing;
    std::map<std::string, std::string> programs;  // of starts under way, for messages
    std::function<void()> quit_done;

    State(AsioLoop& l, std::string f, std::string p, Events e, Patience pa)
        : loop(l),
          folder(std::move(f)),
          program(std::move(p)),
          events(std::move(e)),
          patience(pa) {}

    static Task<void> serve(std::shared_ptr<State> self);
    static Task<void> flush(std::shared_ptr<State> self);
    static Task<int> launch(std::shared_ptr<State> self);
    void look_later();
    void look();
    void end_silent(Span so_long);
    bool kill_it();
    bool connect();
    void disconnect();
    void send(std::string frame);
    void begin_flush();
    void take(std::string_view frame);
};

bool SupervisorLink::State::connect() {
    // The folder's path may be longer than a socket's address: go by its descriptor.
    Fd dir(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!dir) return false;
    // One that is stopped, with a full queue, must not stop us.
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/supervisor.sock",
                  dir.get());
    if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
        return false;
    socket = std::move(fd);
    watch = loop.watch(socket.get());
    in.clear();
    out.clear();
    listing.clear();
    answered = urgent = false;
    silent = 0;
    look_later();
    return true;
}

// It is asked now and then whether it still works. Looks are counted, not time: while the machine
// slept nobody could answer.
void SupervisorLink::State::look_later() {
    next_look = loop.after(patience.urgent / 4, [this] { look(); });
}

void SupervisorLink::State::look() {
    // It reads what it is asked, so it works; where the disk is full it may not tell more.
    int unread = 0;
    if (out.empty() && ioctl(socket.get(), SIOCOUTQ, &unread) == 0 && unread == 0) answered = true;
    silent = std::exchange(answered, false) ? 0 : silent + 1;
    const bool fenced = fence && clock.since_boot() >= *fence;
    const Span so_long = silent * (patience.urgent / 4);
    if (so_long >= (urgent || fenced || quit_done ? patience.urgent : patience.usual)) {
        end_silent(so_long);
        silent = 0;
    }
    send(Writer('H').number(std::uint32_t{1}).frame());
    look_later();
}

// Its tasks' leaders die with it; what else they left behind the next one kills.
bool SupervisorLink::State::kill_it() {
    bool sent = false;
    for (const ProcessSeen& one : list_processes())
        if (program_of(one.id.pid).starts_with("turnout-supervisor") &&
            works_in(one.id.pid, folder))
            sent |= send_signal(one.id, SIGKILL).has_value();
    return sent;
}

void SupervisorLink::State::end_silent(Span so_long) {
    if (!kill_it()) return;
    ended_why = "the node's supervisor did not answer for " + to_words(so_long) + " and was ended";
    if (events.trouble) events.trouble(ended_why);
}

void SupervisorLink::State::disconnect() {
    loop.cancel(next_look);
    watch.reset();
    socket.reset();
    out.clear();
    const std::string why = std::exchange(ended_why, {});
    if ((std::exchange(up, false) || !why.empty()) && !closed) events.gone(why);
    if (!quit_done) return;
    closed = true;  // it was asked to end: it is not started again
    std::exchange(quit_done, {})();
}

// Runs the program and waits for its first process: 0 says that the socket is there.
Task<int> SupervisorLink::State::launch(std::shared_ptr<State> self) {
    std::function<int()> run = [program = self->program, folder = self->folder] {
        const char* argv[] = {program.c_str(), folder.c_str(), nullptr};
        const char* environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", nullptr};
        posix_spawnattr_t attributes;
        posix_spawnattr_init(&attributes);
        sigset_t none;
        sigemptyset(&none);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
        pid_t pid = 0;
        int error = ETXTBSY;
        for (int i = 0; i < 50 && error == ETXTBSY; ++i) {
            error = posix_spawn(&pid, program.c_str(), nullptr, &attributes,
                                const_cast<char**>(argv), const_cast<char**>(environment));
            if (error == ETXTBSY) usleep(10'000);
        }
        posix_spawnattr_destroy(&attributes);
        if (error != 0) return -error;
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
    };
    co_return co_await apart(self->loop, std::move(run));
}

Task<void> SupervisorLink::State::serve(std::shared_ptr<State> self) {
    Span pause = kFirstReconnect;
    while (!self->closed) {
        if (!self->connect()) {
            int status = co_await launch(self);
            if (self->closed) co_return;
            if (!self->connect()) {
                if (self->events.trouble)
                    self->events.trouble(
                        "the supervisor '" + self->program + "' did not start: " +
                        (status < 0 ? std::strerror(-status) : "status " + std::to_string(status)) +
                        " (agent.log in the node's folder says more)");
                co_await self->loop.sleep(pause);
                pause = std::min(pause * 2, kLongestReconnect);
                continue;
            }
        }
        pause = kFirstReconnect;
        self->send(Writer('H').number(std::uint32_t{1}).frame());
        if (self->fence)
            self->send(
                Writer('D').number(static_cast<std::uint64_t>(self->fence->count())).frame());
        self->send(Writer('L').frame());
        while (!self->closed && self->socket) {
            bool ready = co_await self->watch->readable();
            if (!ready || self->closed || !self->socket) break;
            char bytes[32 << 10];
            ssize_t n = recv(self->socket.get(), bytes, sizeof bytes, MSG_DONTWAIT);
            if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (n <= 0) break;
            self->in.append(bytes, static_cast<std::size_t>(n));
            self->answered = true;
            self->urgent = false;
            std::size_t at = 0;
            bool sound = true;
            while (!self->closed && self->in.size() - at >= 4) {
                std::uint32_t size;
                std::memcpy(&size, self->in.data() + at, 4);
                sound = size >= 1 && size <= kMaxFrame;
                if (!sound || self->in.size() - at - 4 < size) break;
                std::string frame = self->in.substr(at + 4, size);
                at += 4 + size;
                self->take(frame);
            }
            self->in.erase(0, at);
            if (!self->closed && self->events.told) self->events.told();
            if (!sound) break;  // a new connection has a new list
        }
        self->disconnect();
    }
}

Task<void> SupervisorLink::State::flush(std::shared_ptr<State> self) {
    while (!self->closed && self->socket && !self->out.empty()) {
        ssize_t n = ::send(self->socket.get(), self->out.data(), self->out.size(),
                           MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            self->out.erase(0, static_cast<std::size_t>(n));
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            // Where the connection was lost and another one is there, that has its own words.
            const bool ready = co_await self->watch->writable();
            if (!ready) continue;
        } else {
            break;  // the reader notices
        }
    }
    self->flushing = false;
}

void SupervisorLink::State::send(std::string frame) {
    if (!socket || closed) return;
    out += frame;
    if (!held) begin_flush();
}

void SupervisorLink::State::begin_flush() {
    if (!out.empty() && !std::exchange(flushing, true)) start(flush(shared_from_this()), [] {});
}

void SupervisorLink::State::take(std::string_view frame) {
    Reader reader(frame.substr(1));
    char type = frame[0];
    if (type == 'l') {
        up = true;
        return events.listed(std::exchange(listing, {}));
    }
    if (type == 'h') {
        version = reader.number<std::uint32_t>();
        return;
    }
    if (type != 't' && type != 's' && type != 'o' && type != 'x') return;
    std::string name(reader.text());
    auto id = parse_task_name(name);
    if (!id) return;
    if (type == 't') {
        SupervisedTask task;
        task.id = *id;
        task.serial = reader.number<std::uint64_t>();
        auto state = reader.number<std::uint8_t>();
        task.started = state != kWords;
        task.state.waiting = state == kWaitingOnSlot;
        task.state.id = *id;
        task.state.started = span_of(reader.number<std::uint64_t>());
        task.state.log_length = reader.number<std::uint64_t>();
        task.first_segment = reader.number<std::uint32_t>();
        task.first_position = reader.number<std::uint64_t>();
        if (!reader.bad()) listing.push_back(std::move(task));
    } else if (type == 'x') {
        TaskExit exit = read_exit(reader);
        if (reader.bad()) return;
        if (!up) {
            for (auto& task : listing)
                if (task.id == *id) task.state.exit = exit;
            return;
        }
        events.exited(*id, std::move(exit));
    } else if (type == 'o') {
        SupervisedTask task;
        task.id = *id;
        task.serial = reader.number<std::uint64_t>();
        task.state.log_length = reader.number<std::uint64_t>();
        task.first_segment = reader.number<std::uint32_t>();
        task.first_position = reader.number<std::uint64_t>();
        if (reader.bad()) return;
        if (up) return events.output(task);
        for (auto& listed : listing)
            if (listed.id == *id)
                listed.state.log_length = std::max(listed.state.log_length, task.state.log_length);
    } else {
        auto result = reader.number<std::uint8_t>();
        auto error = static_cast<int>(reader.number<std::uint32_t>());
        Span started = span_of(reader.number<std::uint64_t>());
        if (reader.bad()) return;
        std::string what = std::exchange(programs[name], {});
        programs.erase(name);
        if (result == kStarted || (result == kKnown && started > Span::zero()))
            events.started(*id, started);
        else if (result == kDropped)
            events.started(*id, fail(Code::Canceled, "Dropped",
                                     "it was dropped while it waited for its turn"));
        else if (result == kKnown)
            events.started(*id,
                           internal("the command was asked to start once before and could not"));
        else
            events.started(*id, start_failure(error, what));
    }
}

SupervisorLink::SupervisorLink(AsioLoop& loop, std::string folder, std::string program,
                               Events events, Patience patience)
    : state_(std::make_shared<State>(loop, std::move(folder), std::move(program), std::move(events),
                                     patience)) {}

SupervisorLink::~SupervisorLink() {
    state_->closed = true;
    state_->loop.cancel(state_->next_look);
    if (state_->watch) state_->watch->cancel();
}

void SupervisorLink::begin() {
    start(State::serve(state_), [] {});
}
bool SupervisorLink::connected() const {
    return state_->up;
}

void SupervisorLink::hold() {
    state_->held = true;
}
void SupervisorLink::release() {
    state_->held = false;
    if (state_->socket && !state_->closed) state_->begin_flush();
}

Result<void> SupervisorLink::start_task(const StartRequest& request) {
    std::string name = task_name(request.id);
    // Without a connection it is asked again, of whoever is there then.
    if (!request.masked.empty() && state_->up && state_->version < kMasksSince)
        return internal(
            "the node's supervisor is of an earlier build, which cannot keep the job's secrets out "
            "of its log; one of this build comes with the next node of the compute");
    Writer start('S');
    start.text(name)
        .text(request.cwd)
        .number(static_cast<std::uint64_t>(std::max<std::int64_t>(0, request.memory_limit)))
        .text(request.preamble)
        .texts(request.argv)
        .texts(request.environment)
        .number(static_cast<std::uint64_t>(std::max(Span::zero(), request.time_limit).count()))
        .number(static_cast<std::uint64_t>(std::max(Span::zero(), request.grace).count()));
    if (!request.masked.empty()) start.text(mask_words(request.masked));
    std::string frame = start.frame();
    if (frame.size() > kMaxFrame)  // it would end the connection, and with it much else
        return invalid("the command and its environment variables have " +
                           to_size_words(frame.size()) + " together; at most " +
                           to_size_words(kMaxFrame) + " can be started",
                       "command");
    state_->programs[name] = request.argv.empty() ? "" : request.argv[0];
    state_->send(std::move(frame));
    return {};
}
void SupervisorLink::signal(const AttemptId& id, int number) {
    if (number == SIGKILL) state_->urgent = true;
    state_->send(
        Writer('K').text(task_name(id)).number(static_cast<std::uint32_t>(number)).frame());
}
void SupervisorLink::slots(int count) {
    state_->send(Writer('N').number(static_cast<std::uint32_t>(count)).frame());
}
void SupervisorLink::append(const AttemptId& id, std::string_view text, bool only_if_empty) {
    // Of more the beginning: it is words for people.
    state_->send(Writer('A')
                     .text(task_name(id))
                     .number(static_cast<std::uint8_t>(only_if_empty))
                     .text(text.substr(0, kMaxFrame / 2))
                     .frame());
}
void SupervisorLink::forget(const AttemptId& id) {
    state_->send(Writer('F').text(task_name(id)).frame());
}
void SupervisorLink::trim(const AttemptId& id, std::uint32_t segment, std::uint64_t delivered) {
    state_->send(Writer('T').text(task_name(id)).number(segment).number(delivered).frame());
}
void SupervisorLink::fence(Span deadline) {
    state_->fence = deadline;
    state_->send(Writer('D').number(static_cast<std::uint64_t>(deadline.count())).frame());
}
void SupervisorLink::quit(std::function<void()> done) {
    if (!state_->socket) {  // there may be one that nobody can reach
        state_->kill_it();
        return done();
    }
    state_->quit_done = std::move(done);
    state_->send(Writer('Q').frame());
}

}  // namespace turnout::agent

#include "agent/environments.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "base/text.h"
#include "base/told.h"
#include "io/apart.h"
#include "io/posix/files.h"

namespace turnout::agent {
namespace {

using agent_protocol::TaskEnvironment;

constexpr Span kFoundHolds = 1s;
constexpr std::uint64_t kMaxBuildLog = 256 << 20;
constexpr std::size_t kTold = 64 << 10;  // of a build's log, to know what it has said

// What a line of the installer's output means to a person who waits: " (…)" or nothing.
std::string doing_of(std::string_view line) {
    if (line.starts_with("Resolved ")) return " (downloading packages)";  // it goes on silently
    for (const char* dull :
         {"Using ", "Creating ", "Activate ", "building environment", "+ ", "environment "})
        if (line.starts_with(dull)) return "";
    return " (" + std::string(line.substr(0, 200)) + ")";
}

// What two attempts have in common that find the same.
std::string key_of(const TaskEnvironment& wanted) {
    return wanted.hash + "\n" + wanted.interpreter + "\n" + wanted.python_version +
           (wanted.kind == TaskEnvironment::Kind::Venv ? "v" : "u");
}

// The log of a build, in the attempt's folder.
class BuildLog {
public:
    explicit BuildLog(const std::string& path)
        : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {}

    bool add(std::string_view text) {
        if (told_.append(text).size() > 2 * kTold) told_.erase(0, told_.size() - kTold);
        if (length() > kMaxBuildLog) return true;
        return file_ && write_all(file_.get(), text, "20_environment.txt").has_value();
    }
    // Only what was not said already: a resolver's words are there.
    void add_rest(const std::string& message) {
        if (const std::string rest = not_told(message, told_); !rest.empty()) add(rest + "\n");
    }
    std::uint64_t length() const {
        struct stat st{};
        return file_ && fstat(file_.get(), &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
    }

private:
    Fd file_;
    std::string told_;  // the end of it
};

}  // namespace

struct Environments::State : std::enable_shared_from_this<State> {
    struct Found {
        Result<std::optional<environment::Prepared>> prepared;
        std::string path;  // see path_begin
    };

    Loop& loop;
    const Clock& clock;
    const AgentSettings agent;
    environment::Settings settings;
    Events events;
    bool closing = false;
    std::map<AttemptId, std::thread> builders;
    std::map<std::string, std::vector<WorkPtr>> looked_for;  // by key
    // What was found last.
    std::string found_key;
    environment::Prepared found;
    std::string found_path;
    Span found_at{};

    State(Loop& l, const Clock& c, const AgentSettings& a, Events e)
        : loop(l), clock(c), agent(a), events(std::move(e)) {
        settings.cache = a.cache;
        settings.uv = a.uv;
        settings.python = a.python;
        settings.beside = a.beside;
        settings.environment = a.environment;
        // Of what prepares environments nothing outlives its node, detached as some of it is.
        settings.environment.push_back("TURNOUT_NODE_FOLDER=" + a.folder);
        settings.environment.emplace_back("TURNOUT_HELPER=environment");
    }

    void look_apart(const WorkPtr& work, std::string key);
    Found look(const TaskEnvironment& wanted) const;  // blocks
    void looked(const std::string& key, const Found& result);
    void build(WorkPtr work);
    void join(const AttemptId& id) {
        auto thread = builders.find(id);
        if (thread == builders.end()) return;
        thread->second.join();
        builders.erase(thread);
    }
};

// To see that nobody changed it, each of its files may have to be looked at.
void Environments::State::look_apart(const WorkPtr& work, std::string key) {
    auto& waiting = looked_for[key];
    waiting.push_back(work);
    if (waiting.size() > 1) return;
    apart(
        loop,
        [self = shared_from_this(), wanted = work->task.environment] { return self->look(wanted); },
        [self = shared_from_this(), key = std::move(key)](const Found& result) {
            if (!self->closing) self->looked(key, result);
        });
}

Environments::State::Found Environments::State::look(const TaskEnvironment& wanted) const {
    Found result{environment::find_prepared(wanted, settings), ""};
    if (result.prepared && *result.prepared)
        result.path = path_begin(agent, **result.prepared, !wanted.interpreter.empty());
    return result;
}

void Environments::State::looked(const std::string& key, const Found& result) {
    const bool there = result.prepared && *result.prepared;
    if (there) {
        found_key = key;
        found = **result.prepared;
        found_path = result.path;
        found_at = clock.since_boot();
    }
    const std::vector<WorkPtr> waiting = std::move(looked_for.extract(key).mapped());
    for (const WorkPtr& work : waiting) {
        if (there) {
            work->prepared = found;
            work->path_begin = found_path;
            events.done(work, {});
        } else if (!result.prepared) {
            events.done(work, Failure(result.prepared.error()));
        } else if (work->wanted) {
            build(work);
        }
    }
    events.told();
}

void Environments::State::build(WorkPtr work) {
    join(work->id);
    std::weak_ptr<State> weak = weak_from_this();
    builders[work->id] = std::thread([weak, work, with = settings, &loop_ = loop] {
        BuildLog file(work->environment_log());
        auto log = [&](std::string_view text) {
            if (!file.add(text)) return;
            auto last = std::string(trim(text));
            if (auto line = last.rfind('\n'); line != std::string::npos)
                last = last.substr(line + 1);
            loop_.post([weak, id = work->id, length = file.length(), last] {
                auto self = weak.lock();
                if (!self || self->closing) return;
                self->events.logged(id, length,
                                    last.empty() ? "" : "building environment" + doing_of(last));
                self->events.told();
            });
        };
        auto result = std::make_shared<Result<environment::Prepared>>(
            environment::prepare(work->task.environment, with, log, work->cancel));
        if (!*result) file.add_rest(result->error().message);
        loop_.post([weak, work, result, length = file.length()] {
            auto self = weak.lock();
            if (!self || self->closing) return;
            self->join(work->id);
            if (length > 0) self->events.logged(work->id, length, "");
            if (*result) work->prepared = std::move(**result);
            self->events.done(work,
                              *result ? Result<void>() : Result<void>(Failure(result->error())));
            self->events.told();
        });
    });
}

Environments::Environments(Loop& loop, const Clock& clock, const AgentSettings& settings,
                           Events events)
    : state_(std::make_shared<State>(loop, clock, settings, std::move(events))) {}

Environments::~Environments() {
    stop();
}

void Environments::prepare(const WorkPtr& work) {
    State& s = *state_;
    const TaskEnvironment& wanted = work->task.environment;
    std::string key = key_of(wanted);
    const bool fresh = key == s.found_key && s.clock.since_boot() - s.found_at < kFoundHolds &&
                       (wanted.kind != TaskEnvironment::Kind::Venv || !wanted.hash.empty());
    if (!fresh) return s.look_apart(work, std::move(key));
    work->prepared = s.found;
    work->path_begin = s.found_path;
    s.events.done(work, {});
}

void Environments::hold(Work& work) const {
    if (auto found = environment::hold_prepared(work.task.environment, state_->settings);
        found && *found)
        work.prepared = std::move(**found);
}

void Environments::stop() {
    state_->closing = true;
    for (auto& [id, thread] : state_->builders)
        if (thread.joinable()) thread.join();
    state_->builders.clear();
}

}  // namespace turnout::agent

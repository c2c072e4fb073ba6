// Tracking: experiments, runs, metrics, params, tags (MLflow's meaning and limits) and the logs of
// jobs. A job has a run of the same id; runs without a job are possible (MLflow users).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/stop.h"
#include "base/task.h"
#include "base/time.h"
#include "blob/blobs.h"
#include "io/loop.h"
#include "protocol/agent_protocol.h"
#include "store/store.h"

namespace turnout {

struct Experiment {
    std::string id;  // decimal text: MLflow's clients expect that
    std::string name;
    Instant created{};
    Json tags = Json::object();
};

struct Metric {
    std::string key;
    double value = 0;  // NaN and infinities are values too
    std::int64_t timestamp_ms = 0;
    std::int64_t step = 0;
};

struct Run {
    std::string id;
    std::string experiment_id;
    std::string name;
    std::string user;
    std::string status = "RUNNING";  // MLflow's: RUNNING SCHEDULED FINISHED FAILED KILLED
    bool of_job = false;             // then the job's record has the last word on its status
    bool deleted = false;
    std::int64_t start_ms = 0;
    std::int64_t end_ms = 0;  // 0 = not ended
    Json params = Json::object();
    Json tags = Json::object();
    std::vector<Metric>
        latest;  // last value of each metric (by step, then time, then value); by key
};

struct RunPage {
    std::vector<Run> runs;
    std::string next;  // where to go on; "" = the end
};

struct MetricPage {
    std::vector<Metric> metrics;
    std::string next;  // where to go on; "" = the end
};

// What may change of a run besides what is logged to it.
struct RunEdit {
    std::optional<std::string> status;
    std::optional<std::int64_t> end_ms;
    std::optional<std::string> name;
    std::optional<bool> deleted;
    std::vector<std::string> erase_tags;  // NotFound if one of them is not there
    // From a tag as it is in that turn ("" if it is not there) to what it will be; nothing: it
    // goes.
    using TagChange = std::function<std::optional<std::string>(std::string_view now)>;
    std::vector<std::pair<std::string, TagChange>> tags;
};

struct LogBatch {
    std::vector<Metric> metrics;
    std::vector<std::pair<std::string, std::string>> params;
    std::vector<std::pair<std::string, std::string>> tags;
    // Set by an agent that ships what it accepted while the server was away: applied once per
    // number. The agent ships in order, one at a time; numbers may be left out, not reordered. The
    // nodes of one attempt count alone.
    struct Origin {
        int attempt = 0;
        std::uint64_t sequence = 0;
        int rank = 0;  // of the node
    };
    std::optional<Origin> origin;
};

// A trial of a sweep, whose run is not stored before something is logged to it: ten thousand trials
// that log nothing cost nothing here.
struct TrialRun {
    std::string sweep;  // its run is the parent
    std::string display_name;
    Json parameters = Json::object();  // name -> text
    Instant created{};
};

class Tracking : public VirtualBlobs {
public:
    // `log_room`: of so many bytes of logs that wait for the disk on, no more are to be brought.
    Tracking(Store& store, const Clock& clock, Random& random, Loop& loop,
             std::size_t log_room = 64 << 20);
    ~Tracking() override;

    // Asked for runs that are not stored; nullopt: it is no trial.
    using FindTrial = std::function<Result<std::optional<TrialRun>>(std::string_view wsid,
                                                                    std::string_view run_id)>;
    void set_trials(FindTrial find);
    // Called when metrics that were logged to a run are durable, before who logged them is
    // answered.
    void set_observer(
        std::function<void(const std::string& wsid, const std::string& run_id)> logged);

    // ---- experiments ----
    Result<std::optional<Experiment>> experiment_by_name(std::string_view wsid,
                                                         std::string_view name);
    Result<std::optional<Experiment>> experiment_by_id(std::string_view wsid, std::string_view id);
    Result<std::vector<Experiment>> list_experiments(std::string_view wsid);
    Task<Result<Experiment>> ensure_experiment(std::string wsid,
                                               std::string name);  // creates if absent
    // Conflict "ResourceExists" if the name is taken.
    Task<Result<Experiment>> create_experiment(std::string wsid, std::string name, Json tags);
    // A new name (Conflict if taken), and tags to set.
    Task<Result<Experiment>> update_experiment(std::string wsid, std::string id,
                                               std::optional<std::string> name, Json tags);

    // ---- runs ----
    Result<std::optional<Run>> find_run(std::string_view wsid, std::string_view run_id);
    Result<std::vector<Run>> list_runs(std::string_view wsid, std::string_view experiment_id,
                                       std::size_t limit);  // newest first
    // Newest first, `after` = "" or the `next` of the page before.
    Result<RunPage> page_runs(std::string_view wsid, std::string_view experiment_id,
                              std::string_view after, std::size_t limit);
    Task<Result<Run>> create_run(std::string wsid,
                                 Run run);  // id made if ""; Conflict if it exists
    // The rows of a new job's run, to be committed together with the job, so that there is never
    // one without the other; none if it has a run. `experiment` is one that exists.
    Result<std::vector<Write>> rows_of_job_run(std::string_view wsid, std::string_view job,
                                               const Experiment& experiment,
                                               std::string_view display_name,
                                               std::string_view user);
    // The same with a commit of its own; idempotent.
    Task<Result<Run>> ensure_job_run(std::string wsid, std::string job, std::string experiment,
                                     std::string display_name, std::string user);
    Task<Result<Run>> update_run(std::string wsid, std::string run_id,
                                 std::optional<std::string> status,
                                 std::optional<std::int64_t> end_ms,
                                 std::optional<std::string> name);
    // Into another experiment, by its id; nothing if there is no such run.
    Task<Result<void>> move_run(std::string wsid, std::string run_id, std::string experiment_id);
    Task<Result<Run>> edit_run(std::string wsid, std::string run_id, RunEdit edit);
    // Metrics, params, tags; MLflow's rules (a param keeps its value: another one is
    // InvalidArgument).
    Task<Result<void>> log(std::string wsid, std::string run_id, LogBatch batch);
    Result<std::vector<Metric>> metric_history(std::string_view wsid, std::string_view run_id,
                                               std::string_view key, std::size_t limit);
    // By step, then time. NotFound if there is no such run.
    Result<MetricPage> metric_page(std::string_view wsid, std::string_view run_id,
                                   std::string_view key, std::string_view after, std::size_t limit);

    // ---- logs of jobs ----
    // Appends what is new of the chunk; `done` gets the durable length, after the commit. A chunk
    // that begins behind the end is not taken: the length is then less than its offset, and the
    // agent goes on from there.
    void append_log(agent_protocol::LogChunk chunk,
                    std::function<void(Result<std::uint64_t>)> done);
    // Whether so much of logs waits for the disk that no more is to be brought: until half of it is
    // written, so that all who have waited find room, not only those who were served last. Who
    // brings more all the same is refused in the end, with ResourceExhausted.
    bool logs_full() const;
    std::size_t waiting_log_bytes() const;
    // Streams of the current attempt by their artifact path: "user_logs/std_log.txt" …; earlier
    // attempts as "retries/1/user_logs/std_log.txt".
    Result<std::vector<std::pair<std::string, std::uint64_t>>> log_streams(std::string_view wsid,
                                                                           std::string_view job);
    // 0 if there is no such stream (yet).
    Result<std::uint64_t> log_length(std::string_view wsid, std::string_view job,
                                     std::string_view path);
    // At most `limit` bytes from `offset`; "" at the end. NotFound if there is no such stream.
    Result<std::string> read_log(std::string_view wsid, std::string_view job, std::string_view path,
                                 std::uint64_t offset, std::uint64_t limit);
    // Waits until the stream is longer than `offset`, the job has ended, `patience` is over, or it
    // is told to stop. Current length.
    Task<Result<std::uint64_t>> wait_log(std::string wsid, std::string job, std::string path,
                                         std::uint64_t offset, Span patience, Stop* stop = nullptr);
    // Whoever waits for more of that job's logs need not any longer. After the commit of its end.
    void job_ended(std::string_view wsid, std::string_view job);

    // The logs of an ended job go, and this line is there instead, so that whoever reads them knows
    // why. Nothing where that has happened already, or there are none. Bytes that went.
    Task<Result<std::uint64_t>> replace_logs(std::string wsid, std::string job, std::string line);
    // Everything of a deleted job: its run, metrics and logs.
    Task<Result<void>> remove_job(std::string wsid, std::string job);

    // ---- VirtualBlobs: "ExperimentRun/dcid.{job}/user_logs/std_log.txt" in the artifact container
    // ----
    Result<std::vector<BlobInfo>> list(std::string_view container,
                                       std::string_view prefix) override;
    Result<std::optional<BlobInfo>> head(std::string_view container,
                                         std::string_view name) override;
    Result<std::string> read(std::string_view container, std::string_view name,
                             std::uint64_t offset, std::uint64_t length) override;

private:
    struct State;
    std::shared_ptr<State> state_;  // shared: commits in flight may outlive this object
};

}  // namespace turnout

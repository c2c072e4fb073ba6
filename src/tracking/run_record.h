// A run as it is stored, and MLflow's rules for what is logged to it. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "store/store.h"
#include "tracking/tracking.h"

namespace turnout {

// MLflow's limits, so that a client's own splitting into batches fits.
inline constexpr std::size_t kMaxMetricsPerBatch = 1000;
inline constexpr std::size_t kMaxParamsPerBatch = 100;
inline constexpr std::size_t kMaxTagsPerBatch = 100;
inline constexpr std::size_t kMaxKeyLength = 250;
inline constexpr std::size_t kMaxParamValue = 6000;
inline constexpr std::size_t kMaxTagValue = 8000;
inline constexpr std::size_t kMaxExperimentName = 500;
// Ours: a run's row is rewritten with each batch, so it must not grow without end.
inline constexpr std::size_t kMaxKeysPerRun = 20'000;

struct RunRecord {
    Run run;
    Instant created{};
    // Params that its sweep gave it. A script that logs them itself may spell them its own way.
    std::vector<std::string> given;
    std::map<std::pair<int, int>, std::uint64_t>
        applied;                 // last sequence that was applied, by attempt and rank
    std::uint64_t revision = 0;  // of the row
};

std::string encode(const RunRecord& record);
Result<RunRecord> decode_run(const Record& row);

// Key of a run in Table::RunCreated: newest first.
std::string run_created_key(std::string_view wsid, std::string_view experiment_id, Instant created,
                            std::string_view run_id);

// Refuses what breaks MLflow's rules. Its own server cuts values that are too long; nothing is cut
// here.
Result<void> check_batch(const LogBatch& batch);
// A status that a run can be set to.
Result<void> check_run_status(std::string_view status);

// Applies a checked batch. False if it had been applied before. An error changes nothing.
// `run_key` is "{wsid}/{run id}"; rows of metric history are added to `out`.
Result<bool> apply(RunRecord& record, const LogBatch& batch, std::string_view run_key, Batch& out);

// History of one metric: keys that sort by step, then time, then value.
std::string metric_prefix(std::string_view run_key, std::string_view metric);
std::string metric_key(std::string_view run_key, const Metric& metric);
Result<Metric> decode_metric(std::string_view name, const Record& row);
// Whether `a` comes after `b` by MLflow's rule of the latest value.
bool is_later(const Metric& a, const Metric& b);

}  // namespace turnout

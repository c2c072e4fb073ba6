#include "tracking/run_record.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::uint64_t sign_bit = std::uint64_t{1} << 63;

std::uint64_t ordered(std::int64_t number) {
    return static_cast<std::uint64_t>(number) ^ sign_bit;
}
std::int64_t from_ordered(std::uint64_t bits) {
    return static_cast<std::int64_t>(bits ^ sign_bit);
}

// The bits of a double so that they sort as the values do (NaN beyond infinity).
std::uint64_t ordered(double value) {
    const auto bits = std::bit_cast<std::uint64_t>(value);
    return (bits & sign_bit) != 0 ? ~bits : bits | sign_bit;
}
double double_from_ordered(std::uint64_t bits) {
    return std::bit_cast<double>((bits & sign_bit) != 0 ? bits & ~sign_bit : ~bits);
}

std::optional<std::uint64_t> from_hex16(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
    if (text.size() != 16 || error != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return number;
}

double to_double(const Json& value) {
    if (value.is_string()) {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        if (value.as_view() == "Infinity") return infinity;
        if (value.as_view() == "-Infinity") return -infinity;
        return std::numeric_limits<double>::quiet_NaN();
    }
    return value.as_double();
}

// MLflow's alphabet, and no key that is not a plain relative path: file stores use it as one.
Result<void> check_key(std::string_view key, std::string_view what) {
    const std::string subject(what);
    if (key.empty()) return invalid("a " + subject + " has an empty name", subject);
    if (!is_utf8(key)) return invalid("a " + subject + " name is not valid UTF-8", subject);
    if (const std::size_t length = count_characters(key); length > kMaxKeyLength) {
        std::string_view begin = key.substr(0, 40);
        begin.remove_suffix(unfinished_utf8(begin));
        return invalid("the name of " + subject + " '" + std::string(begin) + "…' has " +
                           std::to_string(length) + " characters; at most " +
                           std::to_string(kMaxKeyLength) + " are allowed",
                       subject);
    }
    const std::string named = subject + " name '" + std::string(key) + "'";
    for (const char c : key) {
        const auto byte = static_cast<unsigned char>(c);
        const bool word = byte >= 0x80 || (byte >= '0' && byte <= '9') ||
                          (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        if (!word && std::string_view("_/.- :").find(c) == std::string_view::npos)
            return invalid(
                "invalid " + named +
                    ": names may have letters, digits, '_', '/', '.', '-', ':' and spaces",
                subject);
    }
    if (key.front() == '/' || key.back() == '/')
        return invalid("invalid " + named + ": it begins or ends with '/'", subject);
    for (const std::string& part : split(key, '/'))
        if (part.empty() || part == "." || part == "..")
            return invalid("invalid " + named + ": it has an empty, '.' or '..' part", subject);
    return {};
}

Result<void> check_value(std::string_view key, std::string_view value, std::string_view what,
                         std::size_t limit) {
    const std::string subject = std::string(what) + " '" + std::string(key) + "'";
    if (const std::size_t length = count_characters(value); length > limit)
        return invalid("the value of " + subject + " has " + std::to_string(length) +
                           " characters; at most " + std::to_string(limit) +
                           " are kept: log it as an artifact",
                       std::string(key));
    if (!is_utf8(value))
        return invalid("the value of " + subject + " is not valid UTF-8", std::string(key));
    return {};
}

Result<void> check_count(std::size_t count, std::size_t limit, std::string_view what) {
    if (count <= limit) return {};
    return invalid("a batch can have at most " + std::to_string(limit) + " " + std::string(what) +
                   ", this one has " + std::to_string(count) + ": send several");
}

void merge_latest(std::vector<Metric>& latest, const std::vector<Metric>& metrics) {
    const auto by_key = [](const Metric& a, const Metric& b) { return a.key < b.key; };
    std::vector<Metric> fresh;
    for (const Metric& metric : metrics) {
        const auto at = std::lower_bound(latest.begin(), latest.end(), metric, by_key);
        if (at == latest.end() || at->key != metric.key)
            fresh.push_back(metric);
        else if (is_later(metric, *at))
            *at = metric;
    }
    if (fresh.empty()) return;
    std::stable_sort(fresh.begin(), fresh.end(), by_key);
    const auto old = static_cast<std::ptrdiff_t>(latest.size());
    for (Metric& metric : fresh) {
        if (static_cast<std::ptrdiff_t>(latest.size()) == old || latest.back().key != metric.key)
            latest.push_back(std::move(metric));
        else if (is_later(metric, latest.back()))
            latest.back() = std::move(metric);
    }
    std::inplace_merge(latest.begin(), latest.begin() + old, latest.end(), by_key);
}

}  // namespace

bool is_later(const Metric& a, const Metric& b) {
    return std::tuple(a.step, a.timestamp_ms, ordered(a.value)) >=
           std::tuple(b.step, b.timestamp_ms, ordered(b.value));
}

std::string metric_prefix(std::string_view run_key, std::string_view metric) {
    return std::string(run_key) + "/" + percent_encode(metric) + "/";
}

std::string metric_key(std::string_view run_key, const Metric& metric) {
    // Time and value in the key make a repeated report of the same point one point, as in MLflow.
    return metric_prefix(run_key, metric.key) + hex16(ordered(metric.step)) + "/" +
           hex16(ordered(metric.timestamp_ms)) + hex16(ordered(metric.value));
}

Result<Metric> decode_metric(std::string_view name, const Record& row) {
    const std::string_view key = row.key;
    if (key.size() > 49) {
        const auto step = from_hex16(key.substr(key.size() - 49, 16));
        const auto time = from_hex16(key.substr(key.size() - 32, 16));
        const auto value = from_hex16(key.substr(key.size() - 16));
        if (step && time && value)
            return Metric{std::string(name), double_from_ordered(*value), from_ordered(*time),
                          from_ordered(*step)};
    }
    return internal("the row '" + row.key + "' of the metric table cannot be read");
}

std::string encode(const RunRecord& record) {
    const Run& run = record.run;
    Json head = Json::object({{"id", run.id},
                              {"experiment", run.experiment_id},
                              {"name", run.name},
                              {"user", run.user},
                              {"status", run.status},
                              {"of_job", run.of_job},
                              {"deleted", run.deleted},
                              {"start", run.start_ms},
                              {"end", run.end_ms},
                              {"created", record.created.micros}});
    if (!record.given.empty()) {
        Json given = Json::array();
        for (const std::string& name : record.given) given.push(name);
        head.set("given", std::move(given));
    }
    std::string out = head.dump();
    out.pop_back();  // goes on as text: thousands of metrics need no tree
    out += ",\"params\":";
    run.params.dump_to(out);
    out += ",\"tags\":";
    run.tags.dump_to(out);
    out += ",\"latest\":[";
    for (const Metric& metric : run.latest) {
        if (out.back() != '[') out += ',';
        out += '[';
        Json(metric.key).dump_to(out);
        out += ',';
        Json(metric.value).dump_to(out);
        out += ',' + std::to_string(metric.timestamp_ms) + ',' + std::to_string(metric.step) + ']';
    }
    out += "],\"applied\":[";
    for (const auto& [origin, sequence] : record.applied) {
        if (out.back() != '[') out += ',';
        out += '[' + std::to_string(origin.first) + ',' + std::to_string(sequence);
        if (origin.second != 0) out += ',' + std::to_string(origin.second);
        out += ']';
    }
    out += "]}";
    return out;
}

Result<RunRecord> decode_run(const Record& row) {
    Json json = TURNOUT_TRY(parse_json(row.value));
    RunRecord record;
    Run& run = record.run;
    run.id = json.at("id").as_string();
    run.experiment_id = json.at("experiment").as_string();
    run.name = json.at("name").as_string();
    run.user = json.at("user").as_string();
    run.status = json.at("status").as_string("RUNNING");
    run.of_job = json.at("of_job").as_bool();
    run.deleted = json.at("deleted").as_bool();
    run.start_ms = json.at("start").as_int();
    run.end_ms = json.at("end").as_int();
    record.created = Instant{json.at("created").as_int()};
    if (Json* params = json.find("params")) run.params = std::move(*params);
    if (Json* tags = json.find("tags")) run.tags = std::move(*tags);
    for (const Json& name : json.at("given").items()) record.given.push_back(name.as_string());
    run.latest.reserve(json.at("latest").items().size());
    for (const Json& item : json.at("latest").items()) {
        const auto& values = item.items();
        if (values.size() != 4) return internal("the run '" + row.key + "' has a broken metric");
        run.latest.push_back(
            {values[0].as_string(), to_double(values[1]), values[2].as_int(), values[3].as_int()});
    }
    for (const Json& item : json.at("applied").items()) {
        const auto& values = item.items();  // attempt, sequence, and the rank if that is not 0
        if (values.size() != 2 && values.size() != 3) continue;
        const int rank = values.size() == 3 ? static_cast<int>(values[2].as_int()) : 0;
        record.applied[{static_cast<int>(values[0].as_int()), rank}] =
            static_cast<std::uint64_t>(values[1].as_int());
    }
    record.revision = row.revision;
    return record;
}

Result<void> check_run_status(std::string_view status) {
    for (const std::string_view known : {"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"})
        if (status == known) return {};
    return invalid(
        "'" + std::string(status) +
            "' is not the status of a run: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED",
        "status");
}

Result<void> check_batch(const LogBatch& batch) {
    TURNOUT_TRY(check_count(batch.metrics.size(), kMaxMetricsPerBatch, "metrics"));
    TURNOUT_TRY(check_count(batch.params.size(), kMaxParamsPerBatch, "params"));
    TURNOUT_TRY(check_count(batch.tags.size(), kMaxTagsPerBatch, "tags"));
    TURNOUT_TRY(check_count(batch.metrics.size() + batch.params.size() + batch.tags.size(),
                            kMaxMetricsPerBatch, "metrics, params and tags together"));
    for (const Metric& metric : batch.metrics) {
        TURNOUT_TRY(check_key(metric.key, "metric"));
        if (metric.timestamp_ms < 0)
            return invalid("metric '" + metric.key + "' has the timestamp " +
                               std::to_string(metric.timestamp_ms) +
                               ": expected milliseconds since 1970, from 0",
                           "timestamp");
    }
    std::set<std::string_view> params;
    for (const auto& [key, value] : batch.params)
        if (!params.insert(key).second)
            return invalid("param '" + key + "' is in the batch twice: each has one value", key);
    for (const auto& [key, value] : batch.params) {
        TURNOUT_TRY(check_key(key, "param"));
        TURNOUT_TRY(check_value(key, value, "param", kMaxParamValue));
    }
    for (const auto& [key, value] : batch.tags) {
        TURNOUT_TRY(check_key(key, "tag"));
        TURNOUT_TRY(check_value(key, value, "tag", kMaxTagValue));
    }
    return {};
}

Result<bool> apply(RunRecord& record, const LogBatch& batch, std::string_view run_key, Batch& out) {
    Run& run = record.run;
    if (batch.origin) {
        const auto done = record.applied.find({batch.origin->attempt, batch.origin->rank});
        if (done != record.applied.end() && batch.origin->sequence <= done->second) return false;
    }
    if (run.deleted)
        return fail(Code::FailedPrecondition, "RunDeleted",
                    "run '" + run.id + "' is deleted: restore it before logging to it", run.id);
    Json params = run.params;
    for (const auto& [key, value] : batch.params) {
        if (const auto given = std::ranges::find(record.given, key); given != record.given.end()) {
            params.set(key, value);
            record.given.erase(given);
        } else if (const Json* there = params.find(key)) {
            if (there->as_view() != value)
                return invalid("param '" + key + "' of run '" + run.id +
                                   "' is already logged as '" + there->as_string() +
                                   "' and cannot change to '" + value +
                                   "': params keep their value, use a tag or another name",
                               key);
        } else {
            params.set(key, value);
        }
    }
    if (params.members().size() > kMaxKeysPerRun ||
        run.tags.members().size() + batch.tags.size() > kMaxKeysPerRun + kMaxTagsPerBatch ||
        run.latest.size() + batch.metrics.size() > kMaxKeysPerRun + kMaxMetricsPerBatch)
        return fail(Code::ResourceExhausted, "TooManyKeys",
                    "run '" + run.id + "' has " + std::to_string(kMaxKeysPerRun) +
                        " names already: use steps of one metric instead of new names",
                    run.id);
    run.params = std::move(params);
    for (const auto& [key, value] : batch.tags) {
        run.tags.set(key, value);
        if (key == "mlflow.runName") run.name = value;
    }
    merge_latest(run.latest, batch.metrics);
    for (const Metric& metric : batch.metrics) {
        std::string text;
        Json(metric.value).dump_to(text);
        out.put(Table::Metric, metric_key(run_key, metric), std::move(text));
    }
    if (batch.origin)
        record.applied[{batch.origin->attempt, batch.origin->rank}] = batch.origin->sequence;
    return true;
}

}  // namespace turnout

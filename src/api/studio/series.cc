// GET /studio/jobs/{wsid}/{job}/series: how metrics went, in so few points that a chart draws all
// of them. `key` (each once, several), `buckets`; `from`, `to` (steps). Fewer points than buckets
// come as they are; else each bucket has the least and the greatest value in it, the first and the
// last, so that no peak is lost. What is no number is counted.
#include <algorithm>
#include <cmath>

#include "api/history/run_view.h"
#include "api/portal/parts.h"
#include "api/studio/series.h"
#include "api/studio/studio.h"
#include "tracking/tracking.h"

namespace turnout::api::studio {
namespace {

constexpr std::size_t kMostKeys = 24;
constexpr std::int64_t kMostBuckets = 2'000, kUsualBuckets = 600;
constexpr std::size_t kPointsAtATime = 5'000;

Task<Result<std::vector<Metric>>> points_of(Services& services, const Call& call, std::string wsid,
                                            std::string run, std::string key) {
    Turn turn(services, call);
    std::vector<Metric> points;
    std::string after;
    do {
        TURNOUT_CO_TRY(MetricPage page,
                       services.tracking.metric_page(wsid, run, key, after, kPointsAtATime));
        points.insert(points.end(), std::make_move_iterator(page.metrics.begin()),
                      std::make_move_iterator(page.metrics.end()));
        after = page.next;
        TURNOUT_CO_TRY_VOID(co_await turn.pass());
    } while (!after.empty());
    co_return points;
}

Answer get_series(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(portal::check_reader(services, call));
    const std::string wsid = call.param("wsid"), job = call.param("job");
    TURNOUT_CO_TRY(const std::int64_t buckets, whole_number_of(call, "buckets", kUsualBuckets, 2));
    Zoom zoom;
    if (!call.query_value("from").empty()) {
        TURNOUT_CO_TRY(zoom.from, whole_number_of(call, "from", 0, 0));
    }
    if (!call.query_value("to").empty()) {
        TURNOUT_CO_TRY(zoom.to, whole_number_of(call, "to", 0, 0));
    }
    std::vector<std::string> keys;
    for (const auto& [name, value] : call.query)
        if (name == "key") keys.push_back(value);
    if (keys.empty() || keys.size() > kMostKeys)
        co_return invalid("expected 1 to " + std::to_string(kMostKeys) + " metrics, each as key=…",
                          "key");
    Json series = Json::array();
    for (const std::string& key : keys) {
        TURNOUT_CO_TRY(const std::vector<Metric> points,
                       co_await points_of(services, call, wsid, job, key));
        Json one =
            course_of(points, zoom, static_cast<std::size_t>(std::min(buckets, kMostBuckets)));
        one.set("key", key);
        series.push(std::move(one));
    }
    http::Response response = json_response(200, Json::object({{"series", std::move(series)}}));
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

}  // namespace

Json course_of(const std::vector<Metric>& points, const Zoom& zoom, std::size_t buckets) {
    std::vector<const Metric*> shown;
    std::int64_t odd = 0;  // no numbers
    for (const Metric& point : points) {
        if (point.step < zoom.from || point.step > zoom.to) continue;
        if (std::isfinite(point.value))
            shown.push_back(&point);
        else
            ++odd;
    }
    Json out = Json::object({{"points", static_cast<std::int64_t>(points.size())},
                             {"shown", static_cast<std::int64_t>(shown.size())},
                             {"notNumbers", odd}});
    Json step = Json::array(), time = Json::array(), last = Json::array();
    if (shown.size() <= buckets) {
        for (const Metric* const point : shown) {
            step.push(point->step);
            time.push(point->timestamp_ms);
            last.push(point->value);
        }
        out.set("step", std::move(step));
        out.set("time", std::move(time));
        out.set("last", std::move(last));
        return out;
    }
    // Of as many points each, in their order: where steps are far between nothing is empty.
    Json first = Json::array(), least = Json::array(), greatest = Json::array();
    for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
        const std::size_t begin = bucket * shown.size() / buckets,
                          end = (bucket + 1) * shown.size() / buckets;
        const auto [low, high] = std::minmax_element(
            shown.begin() + static_cast<std::ptrdiff_t>(begin),
            shown.begin() + static_cast<std::ptrdiff_t>(end),
            [](const Metric* a, const Metric* b) { return a->value < b->value; });
        step.push(shown[begin]->step);
        time.push(shown[begin]->timestamp_ms);
        first.push(shown[begin]->value);
        last.push(shown[end - 1]->value);
        least.push((*low)->value);
        greatest.push((*high)->value);
    }
    out.set("step", std::move(step));
    out.set("time", std::move(time));
    out.set("first", std::move(first));
    out.set("last", std::move(last));
    out.set("min", std::move(least));
    out.set("max", std::move(greatest));
    return out;
}

void add_series_routes(Router& router, Services& services) {
    add_row(router, services, "GET", "/studio/jobs/{wsid}/{job}/series", Access::Signed,
            get_series);
}

}  // namespace turnout::api::studio

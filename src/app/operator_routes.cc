#include "app/operator_routes.h"

#include <cstdint>
#include <string>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "model/pool.h"

namespace turnout {

void OperatorRoutes::add_to(api::Router& router) {
    router.add("POST", "/turnout/drain", api::Access::User,
               [this](api::Call& call) { return drain(call); });
    router.add("POST", "/turnout/resume", api::Access::User,
               [this](api::Call& call) { return resume(call); });
    router.add("GET", "/turnout/slots", api::Access::User,
               [this](api::Call& call) { return show_slots(call); });
    router.add("PUT", "/turnout/slots", api::Access::User,
               [this](api::Call& call) { return set_slots(call); });
    router.add("POST", "/turnout/shutdown", api::Access::User,
               [this](api::Call& call) { return shutdown(call); });
}

Task<Result<http::Response>> OperatorRoutes::shutdown(api::Call& call) {
    if (call.query_value("all") == "true") {
        Later<Result<void>> stopped;
        control_.stop_everything(
            [settle = stopped.settle()](Result<void> result) { settle(std::move(result)); });
        const Result<void> result = co_await stopped;
        if (!result) co_return Failure(result.error());
    }
    // After the answer is on its way.
    loop_.after(100ms, [this] { loop_.stop(); });
    co_return api::json_response(200, Json::object({{"status", "stopping"}}));
}

Task<Result<http::Response>> OperatorRoutes::drain(api::Call&) {
    Later<Result<void>> begun;
    control_.drain([settle = begun.settle()](Result<void> result) { settle(std::move(result)); },
                   [this] { loop_.after(100ms, [this] { loop_.stop(); }); });
    const Result<void> result = co_await begun;
    if (!result) co_return Failure(result.error());
    co_return api::json_response(202, Json::object({{"status", "draining"}}));
}

Task<Result<http::Response>> OperatorRoutes::resume(api::Call&) {
    Later<Result<void>> resumed;
    control_.resume(
        [settle = resumed.settle()](Result<void> result) { settle(std::move(result)); });
    const Result<void> result = co_await resumed;
    if (!result) co_return Failure(result.error());
    co_return api::json_response(200, Json::object({{"status", "ok"}}));
}

Task<Result<http::Response>> OperatorRoutes::show_slots(api::Call&) {
    co_return api::json_response(
        200, Json::object({{"slots", control_.slots()},
                           {"nodes", control_.nodes()},
                           {"waiting", static_cast<std::int64_t>(control_.waiting())}}));
}

Task<Result<http::Response>> OperatorRoutes::set_slots(api::Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(4096));
    const std::string name = body.at("pool").as_string(std::string(kDefaultPool));
    const std::int64_t wanted = body.at("slots").as_int();
    if (wanted < 1 || wanted > kMostSlots)
        co_return invalid("'slots' is " + body.at("slots").dump() +
                              ": expected a whole number from 1 to " + with_commas(kMostSlots),
                          "slots");
    if (const auto there = control_.pool(name); there && !there->missing) {
        TURNOUT_CO_TRY_VOID(pools_.check_slots(there->pool, wanted));
    }
    const int before = control_.slots(name);
    Later<Result<void>> set;
    control_.set_slots(name, static_cast<int>(wanted),
                       [settle = set.settle()](Result<void> result) { settle(std::move(result)); });
    const Result<void> result = co_await set;
    if (!result) co_return Failure(result.error());
    TURNOUT_CO_TRY_VOID(announce_());
    co_return api::json_response(200, Json::object({{"slots", control_.slots(name)},
                                                    {"before", before},
                                                    {"nodes", control_.pool(name)->nodes}}));
}

}  // namespace turnout

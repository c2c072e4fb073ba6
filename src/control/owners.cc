#include "control/owners.h"

#include <utility>

namespace turnout::control {

namespace {
constexpr std::string_view kCountersKey = "control";
}  // namespace

Owner::Owner(Owners& all)
    : owners(all),
      clock(all.clock),
      store(all.store),
      effects(all.effects),
      settings(all.settings),
      turns(all.turns) {}

void Owner::send(const NodeId& node, agent_protocol::ToAgent message) {
    turns.effect([this, node, message = std::move(message)] { effects.send(node, message); });
}

Owners::Owners(const Clock& the_clock, Store& the_store, Effects& the_effects,
               Control::Settings given)
    : clock(the_clock),
      store(the_store),
      effects(the_effects),
      settings(std::move(given)),
      kinds(settings.kinds ? *settings.kinds : kKinds),
      turns(clock, store, effects, settings, *this),
      events(*this),
      ledger(*this),
      quotas(*this),
      pools(*this),
      computes(*this),
      nodes(*this),
      bases(*this),
      jobs(*this),
      groups(*this),
      services(*this),
      plan(*this),
      explain(*this) {
    pools.make();
}

void Owners::complete_turn() {
    groups.advance();
    services.advance();
    plan.make();
}

void Owners::write_rows(Turn& turn, Batch& batch) {
    jobs.write_rows(turn, batch);
    bases.write_rows(turn, batch);
    ledger.write_rows(turn, batch);
    computes.write_rows(turn, batch);
    nodes.write_rows(turn, batch);
    services.write_rows(turn, batch);
    quotas.write_rows(turn, batch);
    if (turn.counters) {
        Json counters = Json::object();
        nodes.write(counters);
        pools.write(counters);
        services.write(counters);
        batch.put(Table::Meta, std::string(kCountersKey), counters.dump());
    }
    events.write_rows(turn, batch);
}

void Owners::turn_is_durable(const Turn& turn) {
    jobs.turn_is_durable(turn);
}

void Owners::turn_is_released(const Turn& turn) {
    events.turn_is_released(turn);
}

void Owners::forget() {
    computes.forget();
    nodes.forget();
    jobs.forget();
    groups.forget();
    services.forget();
    bases.forget();
    plan.forget();
    turns.gathering = {};
    pools.make();
    quotas.forget();
    last_handle_ = 0;
}

Result<void> Owners::recover() {
    forget();
    Result<void> read = read_store();
    if (read) {
        turns.broken.reset();
        // What was asked for stays asked for, whether the commit that was to record it failed or
        // not.
        if (plan.stopping()) jobs.cancel_all([](const JobEntry&) { return true; }, "");
        groups.stop_given_up();
        ledger.prices_are_read();
    } else {
        forget();  // half of it would be wrong
        turns.broken = read.error();
    }
    return read;
}

Result<void> Owners::read_store() {
    const std::optional<Record> row = TURNOUT_TRY(store.get(Table::Meta, kCountersKey));
    Json counters = Json::object();
    if (row) counters = TURNOUT_TRY(parse_json(row->value));
    pools.recover_before(counters);
    TURNOUT_TRY(events.recover());
    TURNOUT_TRY(quotas.recover());
    TURNOUT_TRY(computes.recover());
    pools.recover_after(counters);
    TURNOUT_TRY(nodes.recover(counters));
    TURNOUT_TRY(jobs.recover());
    TURNOUT_TRY(services.recover(counters));
    TURNOUT_TRY(ledger.recover());
    nodes.say_again();
    plan.wanted = true;
    return {};
}

}  // namespace turnout::control

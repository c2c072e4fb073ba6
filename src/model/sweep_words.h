// What people are told of a sweep: how far it is, which trial is the best one, and why there may be
// none. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "model/sweep.h"

namespace turnout {

// "9,990 of 10,000 trials ended: 9,980 completed (3 without 'acc'), 10 failed".
std::string sweep_words(const Sweep& sweep, const SweepProgress& progress);

// The same while it runs, with what is wrong as long as nothing else is known.
std::string sweep_standing(const Sweep& sweep, const SweepProgress& progress);

// "the best trial is s_3, acc = 0.9", "" if there is none. `name` is the sweep's.
std::string best_words(const Sweep& sweep, const SweepProgress& progress, std::string_view name);

// Why a trial that completed has no score. `logged` are the names of the metrics that it has
// logged, among them the primary one if that never was a number.
std::string missing_metric_words(const Objective& objective, std::string_view trial,
                                 std::span<const std::string> logged);

// The one of these names that is meant by `metric`: the same but for case, blanks and separators,
// with a prefix or an end more ("val_acc" for "acc"), or one with a slip of the keys; "" if none
// is.
std::string meant_metric(std::string_view metric, std::span<const std::string> logged);

}  // namespace turnout

// What AutoML jobs can name: tasks, metrics and algorithms, by Azure's names, and what of them is
// here.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace turnout::resources {

struct AutoMLTask {
    std::string_view rest;  // "Classification"
    std::string_view yaml;  // "classification"
    std::string_view usual_metric;
};
// Those that run here.
std::span<const AutoMLTask> automl_tasks();
// As REST or YAML has it; nullptr: there is none, or not here.
const AutoMLTask* find_automl_task(std::string_view text);
// Why a task does not run here; "" if there is no such task at all.
std::string why_no_automl_task(std::string_view text);

struct AutoMLMetric {
    std::string_view rest;  // "AUCWeighted"
    std::string_view name;  // "AUC_weighted", in YAML and as a run logs it
    std::string_view task;
    bool maximize;
};
const AutoMLMetric* find_automl_metric(std::string_view task, std::string_view text);
std::vector<std::string> automl_metrics_of(std::string_view task);

struct AutoMLAlgorithm {
    std::string_view rest;           // "LightGBM"
    std::string_view yaml;           // "light_gbm"
    std::string_view tasks;          // letters of those that have it: c, r, f
    std::string_view not_here = {};  // why it cannot be tried
    bool has(std::string_view task) const;
};
// Also one that is not here.
const AutoMLAlgorithm* find_automl_algorithm(std::string_view task, std::string_view text);
std::vector<std::string> automl_algorithms_of(std::string_view task);  // here, as in YAML

// What columns can be said to be, and the steps of featurization that can be blocked.
std::span<const std::string_view> automl_column_types();
std::span<const std::string_view> automl_transformers();

}  // namespace turnout::resources

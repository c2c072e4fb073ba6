#include "resources/automl_names.h"

#include <array>

#include "base/text.h"

namespace turnout::resources {
namespace {

constexpr std::array<AutoMLTask, 3> kTasks{{
    {"Classification", "classification", "AUC_weighted"},
    {"Regression", "regression", "normalized_root_mean_squared_error"},
    {"Forecasting", "forecasting", "normalized_root_mean_squared_error"},
}};
constexpr std::string_view kElsewhere[] = {
    "ImageClassification",
    "ImageClassificationMultilabel",
    "ImageInstanceSegmentation",
    "ImageObjectDetection",
    "TextClassification",
    "TextClassificationMultilabel",
    "TextNER",
};

constexpr std::array<AutoMLMetric, 13> kMetrics{{
    {"AUCWeighted", "AUC_weighted", "Classification", true},
    {"Accuracy", "accuracy", "Classification", true},
    {"AveragePrecisionScoreWeighted", "average_precision_score_weighted", "Classification", true},
    {"NormMacroRecall", "norm_macro_recall", "Classification", true},
    {"PrecisionScoreWeighted", "precision_score_weighted", "Classification", true},
    {"SpearmanCorrelation", "spearman_correlation", "Regression", true},
    {"NormalizedRootMeanSquaredError", "normalized_root_mean_squared_error", "Regression", false},
    {"R2Score", "r2_score", "Regression", true},
    {"NormalizedMeanAbsoluteError", "normalized_mean_absolute_error", "Regression", false},
    {"SpearmanCorrelation", "spearman_correlation", "Forecasting", true},
    {"NormalizedRootMeanSquaredError", "normalized_root_mean_squared_error", "Forecasting", false},
    {"R2Score", "r2_score", "Forecasting", true},
    {"NormalizedMeanAbsoluteError", "normalized_mean_absolute_error", "Forecasting", false},
}};

constexpr std::string_view kDeep = "is a deep network, which is not trained here";
constexpr AutoMLAlgorithm kAlgorithms[] = {
    {"LightGBM", "light_gbm", "crf"},
    {"XGBoostClassifier", "xg_boost_classifier", "c"},
    {"XGBoostRegressor", "xg_boost_regressor", "rf"},
    {"LogisticRegression", "logistic_regression", "c"},
    {"RandomForest", "random_forest", "crf"},
    {"ExtremeRandomTrees", "extreme_random_trees", "crf"},
    {"GradientBoosting", "gradient_boosting", "crf"},
    {"ElasticNet", "elastic_net", "rf"},
    {"LassoLars", "lasso_lars", "rf"},
    {"KNN", "knn", "crf"},
    {"DecisionTree", "decision_tree", "crf"},
    {"SGD", "sgd", "crf"},
    {"LinearSVM", "linear_svm", "c"},
    {"SVM", "svm", "c"},
    {"BernoulliNaiveBayes", "bernoulli_naive_bayes", "c"},
    {"MultinomialNaiveBayes", "multinomial_naive_bayes", "c"},
    {"Naive", "naive", "f"},
    {"SeasonalNaive", "seasonal_naive", "f"},
    {"Average", "average", "f"},
    {"SeasonalAverage", "seasonal_average", "f"},
    {"ExponentialSmoothing", "exponential_smoothing", "f"},
    {"AutoArima", "auto_arima", "f"},
    {"Arimax", "arimax", "f"},
    {"Prophet", "prophet", "f", "needs the package prophet, which is not in the environment"},
    {"TCNForecaster", "tcn_forecaster", "f", kDeep},
};

constexpr std::string_view kColumnTypes[] = {"Numeric",  "Categorical", "CategoricalHash",
                                             "DateTime", "Text",        "Ignore"};
constexpr std::string_view kTransformers[] = {
    "TextTargetEncoder", "OneHotEncoder",    "CatTargetEncoder", "TfIdf",
    "WoETargetEncoder",  "LabelEncoder",     "WordEmbedding",    "NaiveBayes",
    "CountVectorizer",   "HashOneHotEncoder"};

// "light_gbm", "LightGBM" and "xgboost_regressor" alike.
std::string squeezed(std::string_view text) {
    std::string out;
    for (const char c : to_lower(text))
        if (c != '_' && c != '-' && c != ' ') out += c;
    return out;
}
bool alike(std::string_view a, std::string_view b) {
    return squeezed(a) == squeezed(b);
}

}  // namespace

std::span<const AutoMLTask> automl_tasks() {
    return kTasks;
}

const AutoMLTask* find_automl_task(std::string_view text) {
    for (const AutoMLTask& task : kTasks)
        if (alike(task.rest, text)) return &task;
    return nullptr;
}

std::string why_no_automl_task(std::string_view text) {
    for (const std::string_view task : kElsewhere)
        if (alike(task, text))
            return "AutoML of images and of text does not run here, found '" + std::string(text) +
                   "': expected classification, regression or forecasting, which are of tables";
    return "";
}

const AutoMLMetric* find_automl_metric(std::string_view task, std::string_view text) {
    for (const AutoMLMetric& metric : kMetrics)
        if (metric.task == task && alike(metric.name, text)) return &metric;
    return nullptr;
}

std::vector<std::string> automl_metrics_of(std::string_view task) {
    std::vector<std::string> names;
    for (const AutoMLMetric& metric : kMetrics)
        if (metric.task == task) names.emplace_back(metric.name);
    return names;
}

bool AutoMLAlgorithm::has(std::string_view task) const {
    return !task.empty() && tasks.find(to_lower(task.substr(0, 1))) != std::string_view::npos;
}

const AutoMLAlgorithm* find_automl_algorithm(std::string_view task, std::string_view text) {
    for (const AutoMLAlgorithm& algorithm : kAlgorithms)
        if (algorithm.has(task) && alike(algorithm.rest, text)) return &algorithm;
    return nullptr;
}

std::vector<std::string> automl_algorithms_of(std::string_view task) {
    std::vector<std::string> names;
    for (const AutoMLAlgorithm& algorithm : kAlgorithms)
        if (algorithm.has(task) && algorithm.not_here.empty()) names.emplace_back(algorithm.yaml);
    return names;
}

std::span<const std::string_view> automl_column_types() {
    return kColumnTypes;
}
std::span<const std::string_view> automl_transformers() {
    return kTransformers;
}

}  // namespace turnout::resources

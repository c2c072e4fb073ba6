#include "environment/curated.h"

#include <charconv>

#include "base/text.h"
#include "environment/definition.h"

namespace turnout::environment {
namespace {

using agent_protocol::TaskEnvironment;
using Lines = std::vector<std::string>;

Lines with(Lines first, const Lines& more) {
    first.insert(first.end(), more.begin(), more.end());
    return first;
}

std::vector<Curated> make_table() {
    // What training scripts on Azure ML take for granted, in its light form.
    const Lines base{"numpy>=1.24,<3",     "pandas>=2,<3",   "scipy>=1.10,<2",
                     "matplotlib>=3.7,<4", "joblib>=1.2,<2", "mlflow-skinny>=2.14,<3"};
    const Lines sklearn = with({"scikit-learn>=1.3,<2"}, base);
    const Lines sklearn15 = with({"scikit-learn==1.5.*"}, base);
    const Lines lightgbm = with({"lightgbm>=4,<5", "scikit-learn>=1.3,<2"}, base);
    const Lines xgboost = with({"xgboost>=2,<4", "scikit-learn>=1.3,<2"}, base);
    const Lines torch = with({"torch>=2,<3", "torchvision>=0.15,<1"}, base);
    const Lines tensorflow = with({"tensorflow>=2.16,<3"}, base);
    const Lines minimal{"mlflow-skinny>=2.14,<3", "numpy>=1.24,<3"};

    return {
        {"AzureML-sklearn-0.24-ubuntu18.04-py37-cpu", "Scikit-learn for training on a CPU.",
         "mcr.microsoft.com/azureml/curated/sklearn-0.24-ubuntu18.04-py37-cpu", 48, sklearn,
         "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu asks for Python 3.7 and scikit-learn 0.24; "
         "here it is the machine's Python 3 with a current scikit-learn 1.x"},
        {"AzureML-sklearn-1.0-ubuntu20.04-py38-cpu", "Scikit-learn for training on a CPU.",
         "mcr.microsoft.com/azureml/curated/sklearn-1.0-ubuntu20.04-py38-cpu", 65, sklearn,
         "AzureML-sklearn-1.0-ubuntu20.04-py38-cpu asks for Python 3.8 and scikit-learn 1.0; here "
         "it is the machine's Python 3 with a current scikit-learn 1.x"},
        {"sklearn-1.1", "Scikit-learn 1.1 for training on a CPU.",
         "mcr.microsoft.com/azureml/curated/sklearn-1.1", 30, sklearn,
         "sklearn-1.1 asks for scikit-learn 1.1; here it is the machine's Python 3 with a current "
         "scikit-learn 1.x"},
        {"sklearn-1.5", "Scikit-learn 1.5 for training on a CPU.",
         "mcr.microsoft.com/azureml/curated/sklearn-1.5", 30, sklearn15, ""},
        {"AzureML-lightgbm-3.2-ubuntu18.04-py37-cpu", "LightGBM for training on a CPU.",
         "mcr.microsoft.com/azureml/curated/lightgbm-3.2-ubuntu18.04-py37-cpu", 40, lightgbm,
         "AzureML-lightgbm-3.2-ubuntu18.04-py37-cpu asks for Python 3.7 and LightGBM 3.2; here it "
         "is the machine's Python 3 with LightGBM 4"},
        {"lightgbm-3.3", "LightGBM for training on a CPU.",
         "mcr.microsoft.com/azureml/curated/lightgbm-3.3", 60, lightgbm,
         "lightgbm-3.3 asks for LightGBM 3.3; here it is the machine's Python 3 with LightGBM 4"},
        {"AzureML-xgboost-0.9-ubuntu18.04-py37-cpu", "XGBoost for training on a CPU.",
         "mcr.microsoft.com/azureml/curated/xgboost-0.9-ubuntu18.04-py37-cpu", 20, xgboost,
         "AzureML-xgboost-0.9-ubuntu18.04-py37-cpu asks for Python 3.7 and XGBoost 0.9; here it is "
         "the machine's Python 3 with a current XGBoost"},
        {"AzureML-pytorch-1.9-ubuntu18.04-py37-cuda11-gpu", "PyTorch for training.",
         "mcr.microsoft.com/azureml/curated/pytorch-1.9-ubuntu18.04-py37-cuda11-gpu", 30, torch,
         "AzureML-pytorch-1.9-ubuntu18.04-py37-cuda11-gpu asks for Python 3.7 and PyTorch 1.9; "
         "here it is the machine's Python 3 with PyTorch 2"},
        {"AzureML-pytorch-1.10-ubuntu18.04-py38-cuda11-gpu", "PyTorch for training.",
         "mcr.microsoft.com/azureml/curated/pytorch-1.10-ubuntu18.04-py38-cuda11-gpu", 30, torch,
         "AzureML-pytorch-1.10-ubuntu18.04-py38-cuda11-gpu asks for Python 3.8 and PyTorch 1.10; "
         "here it is the machine's Python 3 with PyTorch 2"},
        {"AzureML-acpt-pytorch-1.13-py38-cuda11.7-gpu", "PyTorch for training.",
         "mcr.microsoft.com/azureml/curated/acpt-pytorch-1.13-py38-cuda11.7-gpu", 30, torch,
         "AzureML-acpt-pytorch-1.13-py38-cuda11.7-gpu asks for Python 3.8 and PyTorch 1.13; here "
         "it is the machine's Python 3 with PyTorch 2"},
        {"acpt-pytorch-2.2-cuda12.1", "PyTorch 2 for training.",
         "mcr.microsoft.com/azureml/curated/acpt-pytorch-2.2-cuda12.1", 30, torch,
         "acpt-pytorch-2.2-cuda12.1 asks for PyTorch 2.2 in a container; here it is the machine's "
         "Python 3 with a current PyTorch 2"},
        {"acpt-pytorch-2.8-cuda12.6", "PyTorch 2.8 for training.",
         "mcr.microsoft.com/azureml/curated/acpt-pytorch-2.8-cuda12.6", 30,
         with({"torch==2.8.*", "torchvision==0.23.*"}, base), ""},
        {"AzureML-tensorflow-2.7-ubuntu20.04-py38-cuda11-gpu", "TensorFlow for training.",
         "mcr.microsoft.com/azureml/curated/tensorflow-2.7-ubuntu20.04-py38-cuda11-gpu", 30,
         tensorflow,
         "AzureML-tensorflow-2.7-ubuntu20.04-py38-cuda11-gpu asks for Python 3.8 and TensorFlow "
         "2.7; here it is the machine's Python 3 with a current TensorFlow 2"},
        {"tensorflow-2.12-cuda11", "TensorFlow for training.",
         "mcr.microsoft.com/azureml/curated/tensorflow-2.12-cuda11", 30, tensorflow,
         "tensorflow-2.12-cuda11 asks for TensorFlow 2.12; here it is the machine's Python 3 with "
         "a current TensorFlow 2"},
        {"tensorflow-2.16-cuda12", "TensorFlow 2.16 for training.",
         "mcr.microsoft.com/azureml/curated/tensorflow-2.16-cuda12", 20,
         with({"tensorflow==2.16.*"}, base), ""},
        {"AzureML-minimal-ubuntu18.04-py37-cpu-inference", "A small Python environment.",
         "mcr.microsoft.com/azureml/curated/minimal-ubuntu18.04-py37-cpu-inference", 40, minimal,
         "AzureML-minimal-ubuntu18.04-py37-cpu-inference asks for Python 3.7; here it is the "
         "machine's Python 3"},
        {"minimal-ubuntu20.04-py38-cpu-inference", "A small Python environment.",
         "mcr.microsoft.com/azureml/curated/minimal-ubuntu20.04-py38-cpu-inference", 40, minimal,
         "minimal-ubuntu20.04-py38-cpu-inference asks for Python 3.8; here it is the machine's "
         "Python 3"},
        {"minimal-py311-inference", "A small Python environment.",
         "mcr.microsoft.com/azureml/curated/minimal-py311-inference", 20, minimal,
         "minimal-py311-inference asks for Python 3.11; here it is the machine's Python 3"},
        {"model-evaluation", "Evaluates models.",
         "mcr.microsoft.com/azureml/curated/model-evaluation", 60, sklearn,
         "model-evaluation is here the usual packages with scikit-learn, without Azure's own "
         "evaluation package"},
        {"responsibleai-tabular", "Explains models of tabular data.",
         "mcr.microsoft.com/azureml/curated/responsibleai-tabular", 30, sklearn,
         "responsibleai-tabular is here the usual packages with scikit-learn, without the "
         "responsibleai packages"},
        {"ai-ml-automl", "The packages of automated ML.",
         "mcr.microsoft.com/azureml/curated/ai-ml-automl", 30,
         with({"lightgbm>=4,<5", "xgboost>=2,<4", "scikit-learn>=1.3,<2"}, base),
         "ai-ml-automl is here the usual packages with scikit-learn, LightGBM and XGBoost, without "
         "Azure's own automl packages"},
        {"python-sdk-v2", "A small Python environment.",
         "mcr.microsoft.com/azureml/curated/python-sdk-v2", 20, base,
         "python-sdk-v2 is here the usual packages for training, without the SDK itself"},
    };
}

}  // namespace

std::span<const Curated> curated_environments() {
    static const std::vector<Curated> table = make_table();  // constant, made at first use
    return table;
}

const Curated* find_curated(std::string_view name) {
    for (const Curated& curated : curated_environments())
        if (equal_ignoring_case(curated.name, name)) return &curated;
    // Jobs say AzureML-sklearn-1.5 where the registry has sklearn-1.5, and the other way round.
    const auto bare = [](std::string_view text) {
        constexpr std::string_view prefix = "AzureML-";
        return equal_ignoring_case(text.substr(0, prefix.size()), prefix)
                   ? text.substr(prefix.size())
                   : text;
    };
    for (const Curated& curated : curated_environments())
        if (equal_ignoring_case(bare(curated.name), bare(name))) return &curated;
    return nullptr;
}

Result<TaskEnvironment> resolve_curated(std::string_view name, std::string_view version) {
    const Curated* curated = find_curated(name);
    if (!curated) {
        std::vector<std::string> names;
        for (const Curated& known : curated_environments()) names.emplace_back(known.name);
        return not_found("curated environment '" + std::string(name) + "' does not exist" +
                             did_you_mean(name, names) + "; 'azureml' has:\n  " +
                             join(names, "\n  "),
                         std::string(name));
    }
    int number = curated->versions;
    if (!version.empty() && !equal_ignoring_case(version, "latest")) {
        auto [end, error] =
            std::from_chars(version.data(), version.data() + version.size(), number);
        if (error != std::errc() || end != version.data() + version.size() || number < 1 ||
            number > curated->versions)
            return not_found("curated environment '" + std::string(curated->name) +
                                 "' has no version '" + std::string(version) + "'; it has 1 to " +
                                 std::to_string(curated->versions),
                             std::string(version));
    }
    TaskEnvironment environment;
    environment.name = std::string(curated->name) + ":" + std::to_string(number);
    environment.kind = TaskEnvironment::Kind::Venv;
    environment.requirements = curated->requirements;
    if (!curated->notice.empty()) environment.notices.emplace_back(curated->notice);
    environment.hash = hash_of(environment);
    return environment;
}

}  // namespace turnout::environment

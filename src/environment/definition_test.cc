#include "environment/definition.h"

#include <gtest/gtest.h>

#include "environment/curated.h"

namespace turnout::environment {
namespace {

using agent_protocol::TaskEnvironment;
using Lines = std::vector<std::string>;

Result<TaskEnvironment> from(const std::string& conda) {
    return resolve({"env:1", "", conda});
}

TEST(Definition, CondaFileBecomesAVenv) {
    auto environment = from(R"(
name: my
channels: [conda-forge, pytorch]
dependencies:
  - python=3.8
  - numpy=1.21
  - pytorch==1.9.1
  - scikit-learn>=0.24,<1.1
  - pandas 1.3.*
  - scipy 1.7.1
  - conda-forge::lightgbm
  - pip
  - xgboost[version='>=1.5']
  - pip:
      - azureml-mlflow==1.42.0
      - torchvision[all]>=0.10 ; python_version > "3"
      - --extra-index-url https://example.org/simple
variables:
  A: x
  B: 1.10
)");
    ASSERT_TRUE(environment) << environment.error().message;
    EXPECT_EQ(environment->kind, TaskEnvironment::Kind::Venv);
    EXPECT_EQ(environment->python_version, "3.8");
    EXPECT_EQ(environment->requirements,
              (Lines{"numpy==1.21.*", "torch==1.9.1", "scikit-learn>=0.24,<1.1", "pandas==1.3.*",
                     "scipy==1.7.1", "lightgbm", "pip", "xgboost>=1.5", "azureml-mlflow==1.42.0",
                     "torchvision[all]>=0.10 ; python_version > \"3\"",
                     "--extra-index-url https://example.org/simple"}));
    EXPECT_EQ(environment->variables[1].second, "1.10");
    EXPECT_NE(environment->notices[0].find("conda-forge, pytorch"), std::string::npos);
    EXPECT_EQ(environment->hash.size(), 64u);
}

TEST(Definition, PythonPins) {
    for (auto [line, wanted] : {std::pair{"python", ""},
                                {"python=3.8.10", "3.8.10"},
                                {"python==3.9", "3.9"},
                                {"python=3.8.*", "3.8"},
                                {"python>=3.8", ">=3.8"},
                                {"python>=3.8,<3.12", ">=3.8,<3.12"}}) {
        auto environment = from(std::string("dependencies: ['") + line + "']");
        ASSERT_TRUE(environment);
        EXPECT_EQ(environment->python_version, wanted);
    }
}

TEST(Definition, WhatAVenvCannotGiveIsRefusedByName) {
    for (auto [text, name] :
         {std::pair{"dependencies: ['numpy=1.21.2=py38_0']", "numpy"},
          {"dependencies: [r-base]", "r-base"},
          {"dependencies: [cudatoolkit=11.3]", "cudatoolkit"},
          {"dependencies: [{pip: ['-r requirements.txt']}]", "-r requirements.txt"},
          {"dependencies: [{pip: ['-e .']}]", "-e ."},
          {"dependencies: [{pip: ['./wheel.whl']}]", "./wheel.whl"},
          {"dependencies: [{npm: [x]}]", "npm"},
          {"dependencies: ['numpy=1.8|1.9']", "numpy"},
          {"dependencies: ['numpy=?']", "numpy"},
          {"dependencies: numpy", "dependencies"},
          {"[1]", "conda"},
          {"a: [", "conda_file"},
          {"dependencies: [3]", "dependencies"},
          {"dependencies: ['num py!']", "num py!"}}) {
        auto environment = from(text);
        ASSERT_FALSE(environment) << text;
        EXPECT_EQ(environment.error().code, Code::InvalidArgument);
        EXPECT_NE(environment.error().message.find(name), std::string::npos)
            << environment.error().message;
    }
}

TEST(Definition, HashHoldsWhatDeterminesTheFolder) {
    auto a = from("dependencies: [numpy, {pip: [pandas]}]");
    auto b = from("name: other\ndependencies: [{pip: [pandas]}, numpy]");
    auto c = from("dependencies: [numpy, {pip: [pandas==2.0]}]");
    auto d = from("dependencies: [python=3.11, numpy, {pip: [pandas]}]");
    EXPECT_EQ(a->hash, b->hash);
    EXPECT_NE(a->hash, c->hash);
    EXPECT_NE(a->hash, d->hash);
}

TEST(Definition, ImageAloneRunsOnTheMachine) {
    auto environment = resolve({"env:1", "docker.io/python:3.10", ""});
    ASSERT_TRUE(environment);
    EXPECT_EQ(environment->kind, TaskEnvironment::Kind::UserManaged);
    EXPECT_EQ(environment->hash, "");
    EXPECT_EQ(environment->image, "docker.io/python:3.10");
    EXPECT_TRUE(environment->notices.empty());
    without_image(*environment);
    EXPECT_EQ(environment->image, "");
    ASSERT_EQ(environment->notices.size(), 1u);
    EXPECT_NE(environment->notices[0].find("docker.io/python:3.10"), std::string::npos);
}

TEST(Curated, NamesVersionsAndLabels) {
    auto latest = resolve_curated("azureml-sklearn-0.24-ubuntu18.04-py37-cpu", "latest");
    ASSERT_TRUE(latest);
    EXPECT_EQ(latest->name, "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu:48");
    EXPECT_EQ(latest->notices.size(), 1u);
    EXPECT_EQ(latest->python_version, "");
    EXPECT_EQ(resolve_curated("sklearn-1.5", "1")->hash, resolve_curated("sklearn-1.5", "")->hash);
    EXPECT_FALSE(resolve_curated("sklearn-1.5", "0"));
    EXPECT_FALSE(resolve_curated("sklearn-1.5", "31"));
    EXPECT_FALSE(resolve_curated("sklearn-1.5", "x"));
    // As jobs of public examples name what the registry has without the prefix.
    for (const char* name : {"AzureML-sklearn-1.5", "sklearn-1.5", "azureml-SKLEARN-1.5"})
        EXPECT_EQ(resolve_curated(name, "latest")->name, "sklearn-1.5:30") << name;
    EXPECT_EQ(resolve_curated("sklearn-0.24-ubuntu18.04-py37-cpu", "")->name,
              "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu:48");
    auto unknown = resolve_curated("AzureML-sklearn-0.24-ubuntu18.04-py37-gpu", "1");
    ASSERT_FALSE(unknown);
    EXPECT_NE(unknown.error().message.find("did you mean"), std::string::npos);
    auto refused = resolve_curated("AzureML-foundation-model-inference", "latest");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::InvalidArgument);
    EXPECT_TRUE(refused.error().message.starts_with(
        "curated environment 'foundation-model-inference' cannot be had here: it is a container"))
        << refused.error().message;
    EXPECT_FALSE(find_curated("foundation-model-inference"));
    EXPECT_GE(curated_environments().size(), 22u);
    for (const Curated& curated : curated_environments()) {
        EXPECT_FALSE(curated.requirements.empty()) << curated.name;
        EXPECT_FALSE(curated.description.empty()) << curated.name;
        EXPECT_TRUE(curated.image.starts_with("mcr.microsoft.com/azureml/curated/"))
            << curated.image;
    }
    for (const Curated& curated : curated_environments())
        EXPECT_TRUE(resolve_curated(curated.name, std::to_string(curated.versions)))
            << curated.name;
}

}  // namespace
}  // namespace turnout::environment

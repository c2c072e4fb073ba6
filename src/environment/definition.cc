#include "environment/definition.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "yaml/yaml.h"

namespace turnout::environment {
namespace {

using agent_protocol::TaskEnvironment;

// conda packages whose name on PyPI is another one. All others keep their name.
constexpr std::array<std::pair<std::string_view, std::string_view>, 33> kNames{{
    {"pytorch", "torch"},
    {"pytorch-cpu", "torch"},
    {"pytorch-gpu", "torch"},
    {"pytorch-lightning", "pytorch-lightning"},
    {"torchvision-cpu", "torchvision"},
    {"py-xgboost", "xgboost"},
    {"py-xgboost-cpu", "xgboost"},
    {"py-lightgbm", "lightgbm"},
    {"opencv", "opencv-python-headless"},
    {"py-opencv", "opencv-python-headless"},
    {"libopencv", "opencv-python-headless"},
    {"matplotlib-base", "matplotlib"},
    {"numpy-base", "numpy"},
    {"pandas-base", "pandas"},
    {"dask-core", "dask"},
    {"distributed-core", "distributed"},
    {"tensorflow-base", "tensorflow"},
    {"tensorflow-cpu", "tensorflow"},
    {"keras-base", "keras"},
    {"pytables", "tables"},
    {"ruamel_yaml", "ruamel.yaml"},
    {"python-graphviz", "graphviz"},
    {"msgpack-python", "msgpack"},
    {"python-flatbuffers", "flatbuffers"},
    {"python-snappy", "python-snappy"},
    {"scikit-learn-intelex", "scikit-learn-intelex"},
    {"faiss", "faiss-cpu"},
    {"jupyterlab-base", "jupyterlab"},
    {"ipython_genutils", "ipython-genutils"},
    {"pyarrow-core", "pyarrow"},
    {"arrow-python", "pyarrow"},
    {"python-lmdb", "lmdb"},
    {"seaborn-base", "seaborn"},
}};

// Packages that only make sense inside conda, with what to do instead.
constexpr std::array<std::string_view, 12> kNotPython{"cudatoolkit", "cudnn", "nccl",   "gcc",
                                                      "gxx",         "cmake", "nodejs", "openjdk",
                                                      "r-base",      "mkl",   "conda",  "mamba"};

Failure refused(const std::string& name, const std::string& why, std::string subject) {
    return invalid("environment '" + name + "': " + why, std::move(subject));
}

std::string pypi_name(std::string_view conda) {
    for (const auto& [from, to] : kNames)
        if (from == conda) return std::string(to);
    return std::string(conda);
}

bool is_version(std::string_view text) {
    return !text.empty() &&
           text.find_first_not_of(
               "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._+!-*") ==
               std::string_view::npos &&
           text.find_first_of("0123456789") != std::string_view::npos;
}

// "1.2" and "1.2.*" and "1.2*" -> "1.2"
std::string without_star(std::string_view version) {
    if (version.ends_with(".*"))
        version.remove_suffix(2);
    else if (version.ends_with('*'))
        version.remove_suffix(1);
    return std::string(version);
}

// One clause of a conda version ("=1.2", ">=1.2", "1.2.*") in pip's words; "" if it has none.
std::string clause(std::string_view text) {
    text = trim(text);
    for (std::string_view op : {">=", "<=", "!=", "~=", "==", ">", "<", "="}) {
        if (!text.starts_with(op)) continue;
        std::string_view version = trim(text.substr(op.size()));
        if (!is_version(version)) return "";
        bool star = version.ends_with('*');
        if (without_star(version).find('*') != std::string::npos) return "";
        if (op == "=")
            return "==" + without_star(version) + ".*";  // conda: that version and all beneath it
        if (op == "==" || op == "!=")
            return std::string(op) + (star ? without_star(version) + ".*" : std::string(version));
        if (star) return "";  // ">=1.*" means nothing exact
        return std::string(op) + std::string(version);
    }
    if (!is_version(text) || without_star(text).find('*') != std::string::npos) return "";
    return text.ends_with('*') ? "==" + without_star(text) + ".*" : "==" + std::string(text);
}

struct Package {
    std::string name;
    std::string version;  // pip's words: "==1.2.*,<2"; "" = any
    std::string channel;
};

// "[channel::]name[=version[=build]]", "name 1.2.*", "name>=1,<2", "name[version='>=1']".
Result<Package> parse_package(std::string_view line, const std::string& environment) {
    const std::string shown(line);
    Package package;
    line = trim(line);
    if (auto colons = line.find("::"); colons != std::string_view::npos) {
        package.channel = std::string(line.substr(0, colons));
        line = line.substr(colons + 2);
    }
    std::string bracketed;
    if (auto open = line.find('['); open != std::string_view::npos) {
        std::string_view inside = line.substr(open + 1);
        constexpr std::string_view kVersion = "version=";
        if (!inside.ends_with(']') || !inside.starts_with(kVersion))
            return refused(
                environment,
                "conda package '" + shown +
                    "' is written in a way that a venv cannot follow; use 'name=version'",
                shown);
        inside.remove_suffix(1);
        inside.remove_prefix(kVersion.size());
        if (inside.size() >= 2 && (inside.front() == '\'' || inside.front() == '"') &&
            inside.back() == inside.front())
            inside = inside.substr(1, inside.size() - 2);
        bracketed = std::string(inside);
        line = line.substr(0, open);
    }
    auto end = line.find_first_of(" =<>!~");
    package.name = to_lower(trim(line.substr(0, end)));
    if (package.name.empty() || package.name.find_first_not_of(
                                    "abcdefghijklmnopqrstuvwxyz0123456789._-") != std::string::npos)
        return refused(environment, "'" + shown + "' is not the name of a conda package", shown);
    std::string version = bracketed.empty() && end != std::string_view::npos
                              ? std::string(trim(line.substr(end)))
                              : bracketed;
    if (version.empty() || version == "*") return package;
    // "=1.2.3=py37_0" or "1.2.3 py37_0": one build of one version.
    std::string_view body = version;
    std::size_t skip = body.find_first_not_of("=<>!~ ");
    if (skip != std::string_view::npos)
        if (auto build = body.find_first_of("= ", skip);
            build != std::string_view::npos && body.find_first_of(",|") == std::string_view::npos)
            return refused(
                environment,
                "conda package '" + shown +
                    "' names a build, which does not exist on PyPI; pin only its version ('" +
                    package.name + "=" + std::string(body.substr(skip, build - skip)) + "')",
                shown);
    if (version.find('|') != std::string::npos)
        return refused(
            environment,
            "conda package '" + shown +
                "' has a choice ('|') of versions, which pip cannot express; name one range",
            shown);
    for (const auto& part : split(version, ',')) {
        std::string text = clause(part);
        if (text.empty())
            return refused(environment,
                           "the version of conda package '" + shown + "' is not understood", shown);
        package.version += (package.version.empty() ? "" : ",") + text;
    }
    return package;
}

// uv's words for a Python: "3.8" for all of 3.8, "3.8.10" for that one, ">=3.8" for a range.
std::string python_request(const std::string& version) {
    if (version.starts_with("==") && version.find(',') == std::string::npos)
        return without_star(std::string_view(version).substr(2));
    return version;
}

Result<void> check_pip_line(const std::string& line, const std::string& environment) {
    auto first = line.substr(0, line.find_first_of(" =\t"));
    if (first == "-r" || first == "--requirement" || first == "-c" || first == "--constraint" ||
        line.starts_with("-r") || (line.starts_with("-c") && !line.starts_with("--")))
        return refused(
            environment,
            "the pip line '" + line +
                "' names a file that the node does not have; list its lines under 'pip:'",
            line);
    if (first == "-e" || first == "--editable" || line.starts_with(".") || line.starts_with("/") ||
        line.starts_with("file:"))
        return refused(environment,
                       "the pip line '" + line +
                           "' installs from a folder that the node does not have; install a "
                           "package, or import it from the job's code",
                       line);
    if (line.find('\n') != std::string::npos || line.find('\r') != std::string::npos)
        return refused(environment, "a pip line has a line break in it", line);
    return {};
}

Result<void> add_dependencies(const Json& list, TaskEnvironment& environment,
                              std::vector<std::string>& channels) {
    for (const Json& item : list.items()) {
        if (item.is_object()) {
            for (const auto& [kind, lines] : item.members()) {
                if (kind != "pip")
                    return refused(
                        environment.name,
                        "dependencies have '" + kind + ":'; only 'pip:' is possible there", kind);
                if (lines.is_null()) continue;
                if (!lines.is_array())
                    return refused(environment.name, "'pip:' must be a list", "pip");
                for (const Json& line : lines.items()) {
                    std::string text(trim(line.as_view()));
                    if (!line.is_string() || text.empty())
                        return refused(environment.name, "'pip:' must be a list of texts", "pip");
                    TURNOUT_TRY(check_pip_line(text, environment.name));
                    environment.requirements.push_back(text);
                }
            }
            continue;
        }
        if (!item.is_string())
            return refused(environment.name, "dependencies must be texts or 'pip:'",
                           "dependencies");
        Package package = TURNOUT_TRY(parse_package(item.as_view(), environment.name));
        if (!package.channel.empty() &&
            std::find(channels.begin(), channels.end(), package.channel) == channels.end())
            channels.push_back(package.channel);
        if (package.name == "python") {
            environment.python_version = python_request(package.version);
        } else if (package.name.starts_with("r-") || std::find(kNotPython.begin(), kNotPython.end(),
                                                               package.name) != kNotPython.end()) {
            return refused(environment.name,
                           "conda package '" + package.name +
                               "' is not a Python package; this pool builds venvs from PyPI: have "
                               "it on the machine and leave it out here",
                           package.name);
        } else {
            environment.requirements.push_back(pypi_name(package.name) + package.version);
        }
    }
    return {};
}

}  // namespace

agent_protocol::TaskEnvironment user_managed(std::string name, std::string interpreter) {
    TaskEnvironment environment;
    environment.name = std::move(name);
    environment.kind = TaskEnvironment::Kind::UserManaged;
    environment.interpreter = std::move(interpreter);
    return environment;
}

std::string hash_of(const TaskEnvironment& environment) {
    if (environment.kind == TaskEnvironment::Kind::UserManaged) return "";
    std::vector<std::string> lines = environment.requirements;
    std::sort(lines.begin(), lines.end());
    lines.erase(std::unique(lines.begin(), lines.end()), lines.end());
    std::string text = "venv 2\npython " + environment.python_version + "\n";
    for (const auto& line : lines) text += line + "\n";
    return to_hex(sha256(text));
}

void without_image(TaskEnvironment& environment) {
    const std::string image = std::exchange(environment.image, "");
    // Who names an interpreter means one of the machine.
    if (image.empty() || !environment.interpreter.empty()) return;
    environment.notices.insert(
        environment.notices.begin(),
        "environment '" + environment.name + "': image '" + image +
            "' is not started on this pool; the command runs on the machine itself");
}

Result<TaskEnvironment> resolve(const Definition& definition) {
    TaskEnvironment environment = user_managed(definition.name, "");
    environment.image = definition.image;
    if (trim(definition.conda_file).empty()) return environment;
    YamlDocument conda = TURNOUT_TRY(parse_yaml(definition.conda_file, "conda_file"));
    if (!conda.value.is_object())
        return refused(definition.name, "the conda file must be a mapping with 'dependencies'",
                       "conda_file");
    environment.kind = TaskEnvironment::Kind::Venv;
    std::vector<std::string> channels;
    for (const Json& channel : conda.value.at("channels").items())
        channels.push_back(channel.as_string());
    const Json& dependencies = conda.value.at("dependencies");
    if (!dependencies.is_array() && !dependencies.is_null())
        return refused(definition.name, "'dependencies' of the conda file must be a list",
                       "dependencies");
    TURNOUT_TRY(add_dependencies(dependencies, environment, channels));
    for (const auto& [name, value] : conda.value.at("variables").members())
        environment.variables.emplace_back(
            name, value.is_string() ? value.as_string()
                                    : conda.text(pointer_to("/variables", name), value));
    environment.notices.push_back(
        "environment '" + definition.name + "': the packages of its conda file come from PyPI" +
        (channels.empty() ? "" : " instead of the channels " + join(channels, ", ")));
    environment.hash = hash_of(environment);
    return environment;
}

}  // namespace turnout::environment

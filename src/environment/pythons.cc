#include "environment/pythons.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "environment/programs.h"
#include "environment/uv.h"
#include "io/posix/files.h"

namespace turnout::environment {
namespace {

// What decides which Pythons are found; the survey keeps them for the server.
constexpr std::array<std::string_view, 3> kPlaces{"PATH", "HOME", "PYENV_ROOT"};
constexpr int kLastPatch = 1'000;

std::string survey_file(const std::string& cache) {
    return cache + "/pythons.json";
}
std::string mirror_file(const std::string& cache) {
    return cache + "/python-mirror";
}

// Whole, under a name that no other process has.
Result<void> replace_text(const std::string& path, std::string_view text) {
    mkdir(path.substr(0, path.rfind('/')).c_str(), 0755);
    std::string made = path + ".XXXXXX";
    const int fd = mkostemp(made.data(), O_CLOEXEC);
    if (fd < 0) return internal("writing '" + path + "': " + std::strerror(errno));
    const Fd file(fd);
    const Result<void> written = write_all(fd, text, path);
    if (written && rename(made.c_str(), path.c_str()) == 0) return {};
    const std::string why =
        written ? "writing '" + path + "': " + std::strerror(errno) : written.error().message;
    unlink(made.c_str());
    return internal(why);
}

std::string resolved(const std::string& path) {
    char* real = ::realpath(path.c_str(), nullptr);
    std::string text = real ? real : path;
    ::free(real);
    return text;
}

std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> names;
    if (DIR* dir = opendir(folder.c_str())) {
        while (const dirent* entry = readdir(dir))
            if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
        closedir(dir);
    }
    std::sort(names.begin(), names.end());
    return names;
}

// Empty if it is anything but numbers: "3.13.0rc1" is asked for by nobody.
PythonVersion numbers_of(std::string_view version) {
    PythonVersion numbers;
    for (const auto& part : split(version, '.')) {
        if (part.empty() || part.size() > 6 ||
            part.find_first_not_of("0123456789") != std::string::npos)
            return {};
        numbers.push_back(std::stoi(part));
    }
    return numbers;
}

std::string text_of(const PythonVersion& version) {
    std::string text;
    for (const int number : version) text += (text.empty() ? "" : ".") + std::to_string(number);
    return text;
}

bool begins_with(const PythonVersion& version, const PythonVersion& start) {
    return version.size() >= start.size() &&
           std::equal(start.begin(), start.end(), version.begin());
}

PythonVersion whole(PythonVersion version, int patch) {
    while (version.size() < 2) version.push_back(0);
    if (version.size() < 3) version.push_back(patch);
    return version;
}

Fits both(bool low, bool high) {
    return low == high ? (low ? Fits::Yes : Fits::No) : Fits::Perhaps;
}

Fits fits_clause(const PythonVersion& version, std::string_view clause) {
    std::string_view op;
    for (const std::string_view known : {">=", "<=", "!=", "~=", "===", "==", ">", "<", "="})
        if (op.empty() && clause.starts_with(known)) op = known;
    std::string_view text = trim(clause.substr(op.size()));
    const bool star = text.ends_with(".*");
    if (star) text.remove_suffix(2);
    const PythonVersion wanted = numbers_of(text);
    if (wanted.empty()) return Fits::Perhaps;
    const PythonVersion low = whole(version, 0), high = whole(version, kLastPatch);
    if (op == "<" || op == ">=") {
        const PythonVersion limit = whole(wanted, 0);
        const Fits beneath = both(low < limit, high < limit);
        if (op == "<" || beneath == Fits::Perhaps) return beneath;
        return beneath == Fits::Yes ? Fits::No : Fits::Yes;
    }
    if (op == ">" || op == "<=") {
        const PythonVersion limit = whole(wanted, 0);
        const Fits above = both(low > limit, high > limit);
        if (op == ">" || above == Fits::Perhaps) return above;
        return above == Fits::Yes ? Fits::No : Fits::Yes;
    }
    if (op == "~=") {
        PythonVersion series = wanted;
        if (series.size() > 1) series.pop_back();
        if (!begins_with(low, series)) return Fits::No;
        return both(low >= whole(wanted, 0), high >= whole(wanted, 0));
    }
    const Fits same = begins_with(version, wanted)   ? Fits::Yes
                      : begins_with(wanted, version) ? Fits::Perhaps
                                                     : Fits::No;
    if (op != "!=" || same == Fits::Perhaps) return same;
    return same == Fits::Yes ? Fits::No : Fits::Yes;
}

bool is_range(std::string_view request) {
    return request.find_first_of("<>=!~,*") != std::string_view::npos;
}

void add_pyenv(const Settings& settings, std::vector<Python>& found) {
    std::string root = variable(settings, "PYENV_ROOT");
    if (root.empty()) root = variable(settings, "HOME") + "/.pyenv";
    for (const auto& name : names_in(root + "/versions"))
        if (auto version = numbers_of(name); version.size() >= 2)
            if (std::string path = root + "/versions/" + name + "/bin/python"; executable(path))
                found.push_back({std::move(version), std::move(path)});
}

// conda-meta/python-3.10.13-h955ad1f_0.json tells the version.
void add_conda(const std::string& prefix, std::vector<Python>& found) {
    const std::string path = prefix + "/bin/python";
    if (!executable(path)) return;
    constexpr std::string_view kBegin = "python-";
    for (const auto& name : names_in(prefix + "/conda-meta")) {
        if (!name.starts_with(kBegin) || !name.ends_with(".json")) continue;
        const std::string_view rest = std::string_view(name).substr(kBegin.size());
        if (auto version = numbers_of(rest.substr(0, rest.find('-'))); version.size() == 3)
            found.push_back({std::move(version), path});
    }
}

void add_condas(const Settings& settings, std::vector<Python>& found) {
    const std::string home = variable(settings, "HOME");
    std::vector<std::string> prefixes;
    for (const char* name :
         {"miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", "conda"})
        for (const std::string& root : {home + "/" + name, std::string("/opt/") + name}) {
            prefixes.push_back(root);
            for (const auto& each : names_in(root + "/envs"))
                prefixes.push_back(root + "/envs/" + each);
        }
    // Every environment that conda has made, wherever.
    std::ifstream list(home + "/.conda/environments.txt");
    for (std::string line; std::getline(list, line);) prefixes.emplace_back(trim(line));
    std::set<std::string> seen;
    for (const auto& prefix : prefixes)
        if (prefix.starts_with('/') && seen.insert(prefix).second) add_conda(prefix, found);
}

std::vector<std::string> path_without_shims(const Settings& settings) {
    std::vector<std::string> folders;
    for (auto& folder : split(variable(settings, "PATH"), ':'))
        if (!folder.empty() && !folder.ends_with("/shims")) folders.push_back(std::move(folder));
    return folders;
}

void add_system(const Settings& settings, std::vector<Python>& found) {
    std::vector<std::string> folders = path_without_shims(settings);
    folders.insert(folders.end(), {"/usr/local/bin", "/usr/bin"});
    std::set<std::string> seen;
    for (const auto& folder : folders)
        for (int minor = 5; minor < 40; ++minor)
            if (std::string path = folder + "/python3." + std::to_string(minor);
                executable(path) && seen.insert(resolved(path)).second)
                found.push_back({{3, minor}, std::move(path)});
}

struct Survey {
    Settings settings;  // of that time: where to look
    std::vector<Python> here;
    std::vector<std::int64_t> modified;  // of each, as it was
    std::vector<PythonVersion> managed;
};

std::int64_t modified_at(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 ? std::int64_t{st.st_mtim.tv_sec} : -1;
}

std::optional<Survey> read_survey(const std::string& cache) {
    const auto json = parse_json(read_text(survey_file(cache)));
    if (!json || !json->is_object()) return std::nullopt;
    Survey survey;
    for (const auto& [name, value] : json->at("places").members())
        survey.settings.environment.push_back(name + "=" + value.as_string());
    for (const Json& each : json->at("here").items()) {
        survey.here.push_back(
            {numbers_of(each.at("version").as_view()), each.at("path").as_string()});
        survey.modified.push_back(each.at("modified").as_int());
    }
    for (const Json& each : json->at("managed").items())
        survey.managed.push_back(numbers_of(each.as_view()));
    return survey;
}

// How far a version is from what was asked for: minor releases first.
std::pair<int, int> distance(const PythonVersion& version, std::string_view request) {
    const std::size_t at = request.find_first_of("0123456789");
    const std::string_view digits =
        at == std::string_view::npos
            ? ""
            : request.substr(at, request.find_first_not_of("0123456789.", at) - at);
    const PythonVersion wanted = whole(
                            numbers_of(digits.ends_with('.') ? digits.substr(0, digits.size() - 1)
                                                             : digits),
                            0),
                        found = whole(version, 0);
    return {std::abs(found[1] - wanted[1]) + 100 * std::abs(found[0] - wanted[0]),
            std::abs(found[2] - wanted[2])};
}

std::string nearest_of(std::vector<PythonVersion> versions, std::string_view request) {
    std::sort(versions.begin(), versions.end());
    versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
    std::stable_sort(versions.begin(), versions.end(), [&](const auto& a, const auto& b) {
        return distance(a, request) < distance(b, request);
    });
    constexpr std::size_t kFew = 3;
    std::string text;
    for (std::size_t i = 0; i < versions.size() && i < kFew; ++i)
        text += (i ? ", " : "") + text_of(versions[i]);
    return text;
}

}  // namespace

Fits fits(const PythonVersion& version, std::string_view request) {
    Fits all = Fits::Yes;
    for (const auto& part : split(request, ',')) {
        const Fits one = fits_clause(version, trim(part));
        if (one == Fits::No) return Fits::No;
        if (one == Fits::Perhaps) all = Fits::Perhaps;
    }
    return all;
}

std::vector<Python> find_pythons(const Settings& settings) {
    std::vector<Python> found;
    add_pyenv(settings, found);
    add_condas(settings, found);
    add_system(settings, found);
    std::stable_sort(found.begin(), found.end(),
                     [](const Python& a, const Python& b) { return a.version < b.version; });
    return found;
}

std::string choose_python(std::string_view request, const Settings& settings) {
    if (request.empty()) return "";
    std::string newest;
    for (const Python& python : find_pythons(settings)) {
        if (fits(python.version, request) != Fits::Yes) continue;
        // A range is met by what the machine has anyway; a pin by the newest that fits it.
        if (python.version.size() < 3 && is_range(request)) return "";
        newest = python.path;
    }
    return newest;
}

std::vector<std::string> python_variables(const Settings& settings) {
    std::vector<std::string> variables;
    for (const auto& item : settings.environment)
        variables.push_back(
            item.starts_with("PATH=") ? "PATH=" + join(path_without_shims(settings), ":") : item);
    // An interpreter that this machine has comes before one that has to be fetched.
    variables.push_back("UV_PYTHON_PREFERENCE=system");
    variables.push_back("UV_PYTHON_INSTALL_DIR=" + settings.cache + "/pythons");
    variables.push_back("UV_NO_PROGRESS=1");
    variables.push_back("NO_COLOR=1");
    if (const std::string mirror = python_mirror(settings.cache); !mirror.empty()) {
        constexpr std::string_view kFile = "file://";
        std::erase_if(variables, [](const std::string& item) {
            return item.starts_with("UV_PYTHON_INSTALL_MIRROR=");
        });
        variables.push_back("UV_PYTHON_INSTALL_MIRROR=" + mirror);
        const std::string list =
            mirror.starts_with(kFile) ? mirror.substr(kFile.size()) + "/downloads.json" : "";
        if (!list.empty() && access(list.c_str(), R_OK) == 0)
            variables.push_back("UV_PYTHON_DOWNLOADS_JSON_URL=" + list);
    }
    return variables;
}

std::string python_mirror(const std::string& cache) {
    return std::string(trim(read_text(mirror_file(cache))));
}

Result<void> set_python_mirror(const std::string& cache, const std::string& mirror) {
    if (mirror == "none") {
        unlink(mirror_file(cache).c_str());
        return {};
    }
    std::string place = mirror;
    while (place.size() > 1 && place.ends_with('/')) place.pop_back();
    if (!place.starts_with("https://") && !place.starts_with("http://")) {
        constexpr std::string_view kFile = "file://";
        const std::string folder =
            resolved(place.starts_with(kFile) ? place.substr(kFile.size()) : place);
        struct stat st;
        if (stat(folder.c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
            return invalid(
                "the mirror of Pythons must be a URL (https://…) or a folder that exists, not '" +
                    mirror + "'",
                "--python-mirror");
        place = std::string(kFile) + folder;
    }
    return replace_text(mirror_file(cache), place + "\n");
}

Result<void> survey_pythons(const Settings& settings) {
    const std::string uv = find_uv(settings);
    if (uv.empty()) return fail(Code::FailedPrecondition, "NoUv", "there is no uv to ask", "uv");
    std::string answer;
    const std::atomic<bool> cancel = false;
    const Ran ran = TURNOUT_TRY(run(
        {uv, "python", "list", "--no-config", "--all-versions", "--offline", "--output-format",
         "json"},
        python_variables(settings), [&](std::string_view text) { answer += text; }, cancel));
    // The list is one line; there may be words about a Python that does not work around it.
    Result<Json> list = invalid("no list");
    for (const auto& line : split(answer, '\n'))
        if (line.starts_with("[")) list = parse_json(line);
    if (ran.status != 0 || !list || !list->is_array())
        return fail(Code::FailedPrecondition, "NoSurvey",
                    "uv does not tell which Pythons there are: " + joined(ran.tail), uv);
    Json places = Json::object(), here = Json::array(), managed = Json::array();
    for (const std::string_view name : kPlaces)
        if (const std::string value = variable(settings, name); !value.empty())
            places.set(std::string(name), value);
    for (const Json& each : list->items()) {
        const std::string version = each.at("version").as_string();
        if (each.at("implementation").as_view() != "cpython" || numbers_of(version).size() != 3)
            continue;
        if (each.at("variant").is_string() && each.at("variant").as_view() != "default") continue;
        const std::string path = each.at("path").as_string();
        if (path.empty())
            managed.push(version);
        else
            here.push(Json::object(
                {{"version", version}, {"path", path}, {"modified", modified_at(path)}}));
    }
    return replace_text(survey_file(settings.cache), Json::object({{"places", std::move(places)},
                                                                   {"here", std::move(here)},
                                                                   {"managed", std::move(managed)}})
                                                             .dump_pretty() +
                                                         "\n");
}

Result<void> check_python(const agent_protocol::TaskEnvironment& environment,
                          const std::string& cache) {
    const std::string& request = environment.python_version;
    if (environment.kind != agent_protocol::TaskEnvironment::Kind::Venv || request.empty())
        return {};
    const std::optional<Survey> survey = read_survey(cache);
    if (!survey) return {};
    std::vector<PythonVersion> here;
    std::set<std::string> known;
    for (std::size_t i = 0; i < survey->here.size(); ++i) {
        const Python& python = survey->here[i];
        if (const auto modified = modified_at(python.path);
            modified < 0 || modified != survey->modified[i])
            continue;  // gone, or another one by now
        if (fits(python.version, request) != Fits::No) return {};
        here.push_back(python.version);
        known.insert(resolved(python.path));
    }
    for (const PythonVersion& version : survey->managed)
        if (fits(version, request) != Fits::No) return {};
    for (const Python& python : find_pythons(survey->settings)) {
        if (python.version.size() < 3 && known.contains(resolved(python.path))) continue;
        if (fits(python.version, request) != Fits::No) return {};
        here.push_back(python.version);
    }
    const std::string near = nearest_of(std::move(here), request),
                      fetched = nearest_of(survey->managed, request);
    return fail(Code::InvalidArgument, "PythonNotAvailable",
                "environment '" + environment.name + "' asks for Python " + request +
                    ", which this machine does not have" +
                    (fetched.empty() ? "" : " and which cannot be fetched") + ": change the pin" +
                    (near.empty() ? "" : "; the nearest here are " + near) +
                    (fetched.empty() ? ""
                                     : (near.empty() ? "; the nearest" : ", and") +
                                           std::string(" that can be fetched ") + fetched),
                "python=" + request);
}

}  // namespace turnout::environment

#include "model/sweep.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/hash.h"
#include "base/text.h"
#include "model/names.h"
#include "model/sweep_words.h"

namespace turnout {
namespace {

using Type = SearchExpression::Type;

constexpr std::size_t kMaxParameters = 500;
constexpr std::size_t kMaxAlternatives = 100'000;
constexpr int kMaxDepth = 8;  // groups within choices within groups …

constexpr Names<Type, 10> kTypes = {{
    {Type::Choice, "choice"},
    {Type::Uniform, "uniform"},
    {Type::QUniform, "quniform"},
    {Type::LogUniform, "loguniform"},
    {Type::QLogUniform, "qloguniform"},
    {Type::Normal, "normal"},
    {Type::QNormal, "qnormal"},
    {Type::LogNormal, "lognormal"},
    {Type::QLogNormal, "qlognormal"},
    {Type::Randint, "randint"},
}};

Failure refuse(const std::string& place, std::string message) {
    return fail(Code::InvalidArgument, "InvalidSweep", place + ": " + std::move(message),
                "properties." + place);
}

std::string shown(const Json& value) {
    std::string text = value.is_null() ? "nothing" : value.dump();
    if (text.size() > 80) text = text.substr(0, 77) + "...";
    return text;
}

std::vector<std::string> type_names() {
    std::vector<std::string> names;
    for (const auto& [type, name] : kTypes) names.emplace_back(name);
    return names;
}

bool is_parameter_name(std::string_view name) {
    return !name.empty() && name.size() <= 255 && !(name[0] >= '0' && name[0] <= '9') &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_';
           });
}

// What a distribution takes, in the order of REST.
std::vector<std::string_view> arguments_of(Type type) {
    switch (type) {
        case Type::Uniform:
        case Type::LogUniform: return {"min_value", "max_value"};
        case Type::QUniform:
        case Type::QLogUniform: return {"min_value", "max_value", "q"};
        case Type::Normal:
        case Type::LogNormal: return {"mu", "sigma"};
        case Type::QNormal:
        case Type::QLogNormal: return {"mu", "sigma", "q"};
        case Type::Randint: return {"upper"};
        case Type::Choice:
        case Type::Fixed:
        case Type::Group: break;
    }
    return {};
}

// Capped, so that products do not overflow.
std::int64_t product(std::int64_t a, std::int64_t b) {
    return a > kMaxTrials / b ? kMaxTrials + 1 : std::min(a * b, kMaxTrials + 1);
}

Result<SearchExpression> parse_expression(const Json& json, const std::string& place, int depth);

// One alternative of a choice.
Result<SearchExpression> parse_alternative(const Json& json, const std::string& place, int depth) {
    if (depth > kMaxDepth) return refuse(place, "expressions are nested too deeply");
    SearchExpression out;
    if (json.is_string() || json.is_number() || json.is_bool()) {
        if (json.as_view().find('\0') != std::string_view::npos)
            return refuse(place, "the text has a NUL character");
        out.value = json;
        return out;
    }
    if (!json.is_object() || json.members().empty())
        return refuse(
            place,
            "expected text, a number, a boolean or a mapping of parameters, found " + shown(json));
    out.type = Type::Group;
    for (const auto& [name, member] : json.members()) {
        const std::string here = place + "." + name;
        if (!is_parameter_name(name))
            return refuse(place, "expected names of letters, digits and '_', found '" +
                                     name.substr(0, 64) + "'");
        // ["uniform", [0, 1]] is an expression, all else a value.
        const bool expression = member.is_array() && member.items().size() == 2 &&
                                member.items()[0].is_string() && member.items()[1].is_array();
        out.members.emplace_back(
            name, TURNOUT_TRY(expression ? parse_expression(member, here, depth + 1)
                                         : parse_alternative(member, here, depth + 1)));
        out.combinations = product(out.combinations, out.members.back().second.combinations);
        out.dimensions += out.members.back().second.dimensions;
    }
    return out;
}

Result<SearchExpression> parse_choice(const Json& arguments, const std::string& place, int depth) {
    SearchExpression out;
    out.type = Type::Choice;
    out.combinations = 0;
    out.dimensions = 1;
    // REST wraps the list once more; a list without that is taken as well.
    const Json& list = arguments.items().size() == 1 && arguments.items()[0].is_array()
                           ? arguments.items()[0]
                           : arguments;
    if (list.items().empty()) return refuse(place, "a choice needs at least one value");
    if (list.items().size() > kMaxAlternatives)
        return refuse(place, "a choice has at most 100,000 values, found " +
                                 with_commas(static_cast<std::int64_t>(list.items().size())));
    for (std::size_t i = 0; i < list.items().size(); ++i) {
        const SearchExpression& each = out.alternatives.emplace_back(TURNOUT_TRY(
            parse_alternative(list.items()[i], place + "[" + std::to_string(i) + "]", depth + 1)));
        out.combinations = std::min(out.combinations + each.combinations, kMaxTrials + 1);
        out.dimensions += each.dimensions;
    }
    return out;
}

bool is_whole(double value) {
    return value == std::floor(value) && std::abs(value) < 9e15;
}

Result<SearchExpression> parse_expression(const Json& json, const std::string& place, int depth) {
    if (depth > kMaxDepth) return refuse(place, "expressions are nested too deeply");
    if (!json.is_array() || json.items().empty() || !json.items()[0].is_string())
        return refuse(
            place,
            R"(expected an expression such as ["uniform",[0.1,1]] or ["choice",[[1,2]]], found )" +
                shown(json));
    const std::string word = json.items()[0].as_string();
    SearchExpression out;
    const auto type = parse_in(kTypes, to_lower(word), "distribution");
    if (!type) {
        std::string hint = did_you_mean(to_lower(word), type_names());
        if (hint.empty()) hint = ": expected one of " + join(type_names(), ", ");
        return refuse(place, "'" + word.substr(0, 64) + "' is not a distribution" + hint);
    }
    out.type = *type;
    out.dimensions = 1;
    static const Json nothing = Json::array();
    const Json& arguments =
        json.items().size() > 1 && json.items()[1].is_array() ? json.items()[1] : nothing;
    if (out.type == Type::Choice) return parse_choice(arguments, place, depth);
    const auto names = arguments_of(out.type);
    if (arguments.items().size() != names.size()) {
        std::string wanted;
        for (const std::string_view name : names)
            wanted += (wanted.empty() ? "" : ", ") + std::string(name);
        return refuse(place, word + " takes " + wanted + ", found " + shown(arguments));
    }
    std::array<double, 3> numbers{};
    out.whole = true;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const Json& argument = arguments.items()[i];
        numbers[i] = argument.as_double(std::nan(""));
        if (!argument.is_number() || !std::isfinite(numbers[i]))
            return refuse(place,
                          std::string(names[i]) + ": expected a number, found " + shown(argument));
        out.whole = out.whole && is_whole(numbers[i]);
    }
    out.first = numbers[0];
    out.second = numbers[1];
    out.step = numbers[2];
    switch (out.type) {
        case Type::QUniform:
        case Type::QLogUniform:
        case Type::Uniform:
        case Type::LogUniform:
            if (out.first > out.second)
                return refuse(place, "expected min_value to be at most max_value, found " +
                                         shown(arguments.items()[0]) + " and " +
                                         shown(arguments.items()[1]));
            break;
        case Type::QNormal:
        case Type::QLogNormal:
        case Type::Normal:
        case Type::LogNormal:
            if (out.second <= 0)
                return refuse(place,
                              "sigma: expected more than 0, found " + shown(arguments.items()[1]));
            break;
        case Type::Randint:
            if (!out.whole || out.first < 1)
                return refuse(place, "upper: expected a whole number of at least 1, found " +
                                         shown(arguments.items()[0]));
            break;
        case Type::Choice:
        case Type::Fixed:
        case Type::Group: break;
    }
    if (names.back() == "q" && out.step <= 0)
        return refuse(place, "q: expected more than 0, found " + shown(arguments.items()[2]));
    return out;
}

// Powers that no double can hold would make every trial's value the same.
Result<void> check_powers(const SearchExpression& expression, double log_base,
                          const std::string& place) {
    for (const SearchExpression& each : expression.alternatives)
        TURNOUT_TRY(check_powers(each, log_base, place));
    for (const auto& [name, member] : expression.members)
        TURNOUT_TRY(check_powers(member, log_base, place + "." + name));
    double largest = 0;
    if (expression.type == Type::LogUniform || expression.type == Type::QLogUniform)
        largest = expression.second;
    else if (expression.type == Type::LogNormal || expression.type == Type::QLogNormal)
        largest = expression.first + 9 * expression.second;  // no sample is further out
    if (!std::isfinite(std::pow(log_base, largest)))
        return refuse(place, "its values are powers, and " + Json(log_base).dump() + "^" +
                                 Json(largest).dump() + " is too large: give the logarithms");
    return {};
}

// The first continuous expression beneath that parameter, "" if there is none.
std::string continuous_of(const SearchExpression& expression) {
    if (expression.type != Type::Choice && expression.type != Type::Fixed &&
        expression.type != Type::Group)
        return std::string(name_of(expression.type));
    for (const SearchExpression& each : expression.alternatives)
        if (std::string found = continuous_of(each); !found.empty()) return found;
    for (const auto& [name, member] : expression.members)
        if (std::string found = continuous_of(member); !found.empty()) return found;
    return {};
}

Result<std::int64_t> whole_of(const Json& json, const std::string& place, std::int64_t fallback,
                              std::int64_t least, std::int64_t most) {
    if (json.is_null()) return fallback;
    const bool whole = json.is_int() || (json.is_number() && is_whole(json.as_double()));
    if (!whole || json.as_int() < least || json.as_int() > most)
        return refuse(place, "expected a whole number from " + with_commas(least) + " to " +
                                 with_commas(most) + ", found " + shown(json));
    return json.as_int();
}

// As good as no limit, and so short that no sum with an instant overflows.
constexpr Span kLongest = 24h * 3'650;

Result<std::optional<Span>> duration_of(const Json& json, const std::string& place) {
    if (json.is_null()) return std::nullopt;
    const auto span = parse_duration(json.as_view());
    if (!span || *span <= 0s)
        return refuse(
            place, "expected a duration longer than nothing, such as PT1H, found " + shown(json));
    return std::min(*span, kLongest);
}

std::int64_t seed_of(std::string_view name) {
    const std::string digest = sha256(name);
    std::int64_t seed = 0;  // 31 bits: it fits where Azure's clients keep a seed
    for (std::size_t i = 0; i < 4; ++i) seed = seed * 256 + static_cast<unsigned char>(digest[i]);
    return seed & 0x7fffffff;
}

Result<Sampling> parse_sampling(const Json& json, std::string_view name) {
    Sampling out;
    out.seed = seed_of(name);
    if (json.is_null()) return out;
    const std::string place = "samplingAlgorithm";
    const std::string type =
        json.is_string() ? json.as_string() : json.at("samplingAlgorithmType").as_string();
    if (equal_ignoring_case(type, "Bayesian"))
        return refuse(place,
                      "Bayesian sampling does not run here: use Random, with rule sobol for an "
                      "even cover of the search space, and early termination");
    if (equal_ignoring_case(type, "Grid")) {
        out.kind = Sampling::Kind::Grid;
        return out;
    }
    if (!equal_ignoring_case(type, "Random")) {
        const std::array<std::string, 2> known = {"Random", "Grid"};
        std::string hint = did_you_mean(type, known);
        if (hint.empty()) hint = ": expected Random or Grid";
        return refuse(place + ".samplingAlgorithmType",
                      (type.empty() ? "is missing"
                                    : "'" + type.substr(0, 64) + "' is not a sampling algorithm") +
                          hint);
    }
    const std::string rule = json.at("rule").as_string();
    if (equal_ignoring_case(rule, "Sobol"))
        out.kind = Sampling::Kind::Sobol;
    else if (!json.at("rule").is_null() && !equal_ignoring_case(rule, "Random"))
        return refuse(place + ".rule", "expected random or sobol, found " + shown(json.at("rule")));
    if (!json.at("seed").is_null()) {
        out.seed = TURNOUT_TRY(
            whole_of(json.at("seed"), place + ".seed", 0, INT64_MIN / 2, INT64_MAX / 2));
        out.seed_given = true;
    }
    const Json& base = json.at("logbase");
    if (!base.is_null() && !equal_ignoring_case(base.as_view(), "e")) {
        double number = base.as_double();
        if (base.is_string())
            if (const auto parsed = parse_json(base.as_view())) number = parsed->as_double();
        if (!(number > 0) || number == 1 || !std::isfinite(number))
            return refuse(place + ".logbase",
                          "expected a positive number other than 1, or e, found " + shown(base));
        out.log_base = number;
    }
    return out;
}

Result<Objective> parse_objective(const Json& json) {
    Objective out;
    if (!json.is_object())
        return refuse("objective", "is missing: expected the primaryMetric and its goal");
    out.primary_metric = json.at("primaryMetric").as_string();
    if (out.primary_metric.empty())
        return refuse("objective.primaryMetric",
                      "is missing: expected the name of a metric that the trials log");
    const std::string goal = json.at("goal").as_string();
    if (!equal_ignoring_case(goal, "Maximize") && !equal_ignoring_case(goal, "Minimize")) {
        const std::array<std::string, 2> known = {"maximize", "minimize"};
        return refuse("objective.goal", "expected maximize or minimize, found " +
                                            shown(json.at("goal")) +
                                            did_you_mean(to_lower(goal), known));
    }
    out.maximize = equal_ignoring_case(goal, "Maximize");
    return out;
}

Result<EarlyTerminationPolicy> parse_policy(const Json& json) {
    using Kind = EarlyTerminationPolicy::Kind;
    EarlyTerminationPolicy out;
    if (!json.is_object() || json.members().empty()) return out;
    const std::string place = "earlyTermination";
    const std::string type = json.at("policyType").as_string();
    if (equal_ignoring_case(type, "Bandit"))
        out.kind = Kind::Bandit;
    else if (equal_ignoring_case(type, "MedianStopping"))
        out.kind = Kind::MedianStopping;
    else if (equal_ignoring_case(type, "TruncationSelection"))
        out.kind = Kind::TruncationSelection;
    else {
        const std::array<std::string, 3> known = {"Bandit", "MedianStopping",
                                                  "TruncationSelection"};
        std::string hint = did_you_mean(type, known);
        if (hint.empty()) hint = ": expected Bandit, MedianStopping or TruncationSelection";
        return refuse(
            place + ".policyType",
            (type.empty() ? "is missing" : "'" + type.substr(0, 64) + "' is not a policy") + hint);
    }
    constexpr std::int64_t most = 1'000'000'000;
    // The SDK's own default of the interval is 0, which means every one.
    out.evaluation_interval =
        std::max<std::int64_t>(1, TURNOUT_TRY(whole_of(json.at("evaluationInterval"),
                                                       place + ".evaluationInterval", 1, 0, most)));
    out.delay_evaluation =
        TURNOUT_TRY(whole_of(json.at("delayEvaluation"), place + ".delayEvaluation", 0, 0, most));
    if (out.kind == Kind::Bandit) {
        for (const auto& [member, target] : {std::pair{"slackFactor", &out.slack_factor},
                                             std::pair{"slackAmount", &out.slack_amount}}) {
            const Json& value = json.at(member);
            if (value.is_null()) continue;
            *target = value.as_double(-1);
            if (!(*target >= 0) || !std::isfinite(*target))
                return refuse(place + "." + member,
                              "expected a number of at least 0, found " + shown(value));
        }
        if (out.slack_factor == 0 && out.slack_amount == 0)
            return refuse(place, "a bandit policy needs slackFactor or slackAmount, larger than 0");
        if (out.slack_factor > 0 && out.slack_amount > 0)
            return refuse(place,
                          "a bandit policy takes either slackFactor or slackAmount, found both");
    }
    if (out.kind == Kind::TruncationSelection) {
        if (json.at("truncationPercentage").is_null())
            return refuse(place + ".truncationPercentage",
                          "is missing: expected a whole number from 1 to 99");
        out.truncation_percentage = TURNOUT_TRY(
            whole_of(json.at("truncationPercentage"), place + ".truncationPercentage", 0, 1, 99));
    }
    return out;
}

Result<void> parse_limits(const Json& json, Sweep& sweep) {
    SweepLimits& limits = sweep.limits;
    const std::int64_t wanted =
        TURNOUT_TRY(whole_of(json.at("maxTotalTrials"), "limits.maxTotalTrials", 0, 1, kMaxTrials));
    std::int64_t size = 1;
    bool choices = true;
    for (const auto& [name, expression] : sweep.space) {
        size = product(size, expression.combinations);
        choices = choices && continuous_of(expression).empty();
    }
    if (sweep.sampling.kind == Sampling::Kind::Grid) {
        if (wanted == 0 && size > kMaxTrials)
            return refuse("limits.maxTotalTrials",
                          "the grid has more than 1,000,000 combinations: expected a limit");
        limits.max_total_trials = wanted == 0 ? size : std::min(wanted, size);
    } else {
        limits.max_total_trials = wanted == 0 ? kDefaultTrials : wanted;
        if (choices && size <= kMaxTrials && sweep.sampling.kind == Sampling::Kind::Random) {
            sweep.cells = size;
            limits.max_total_trials = std::min(limits.max_total_trials, size);
        }
    }
    limits.max_concurrent_trials =
        TURNOUT_TRY(whole_of(json.at("maxConcurrentTrials"), "limits.maxConcurrentTrials",
                             limits.max_total_trials, 1, kMaxTrials));
    limits.timeout = TURNOUT_TRY(duration_of(json.at("timeout"), "limits.timeout"));
    limits.trial_timeout = TURNOUT_TRY(duration_of(json.at("trialTimeout"), "limits.trialTimeout"));
    return {};
}

}  // namespace

std::string_view name_of(SearchExpression::Type type) {
    return name_in(kTypes, type);
}

Result<Sweep> parse_sweep(const Json& properties, std::string_view name) {
    Sweep sweep;
    const Json& space = properties.at("searchSpace");
    if (!space.is_object() || space.members().empty())
        return refuse("searchSpace",
                      "expected at least one parameter with its expression, found " + shown(space));
    if (space.members().size() > kMaxParameters)
        return refuse("searchSpace", "a search space has at most 500 parameters");
    int dimensions = 0;
    for (const auto& [parameter, expression] : space.members()) {
        if (!is_parameter_name(parameter))
            return refuse("searchSpace", "expected names of letters, digits and '_', found '" +
                                             parameter.substr(0, 64) + "'");
        sweep.space.emplace_back(
            parameter, TURNOUT_TRY(parse_expression(expression, "searchSpace." + parameter, 0)));
        dimensions += sweep.space.back().second.dimensions;
    }
    sweep.sampling = TURNOUT_TRY(parse_sampling(properties.at("samplingAlgorithm"), name));
    for (const auto& [parameter, expression] : sweep.space) {
        TURNOUT_TRY(check_powers(expression, sweep.sampling.log_base, "searchSpace." + parameter));
        if (sweep.sampling.kind != Sampling::Kind::Grid) continue;
        if (const std::string found = continuous_of(expression); !found.empty())
            return refuse("searchSpace." + parameter,
                          "grid sampling takes choices only, found " + found +
                              ": give a choice of values, or use random sampling");
    }
    if (sweep.sampling.kind == Sampling::Kind::Sobol && dimensions > kSobolDimensions)
        return refuse("samplingAlgorithm.rule", "sobol covers at most " +
                                                    std::to_string(kSobolDimensions) +
                                                    " parameters, the search space has " +
                                                    std::to_string(dimensions) + ": use random");
    sweep.objective = TURNOUT_TRY(parse_objective(properties.at("objective")));
    sweep.policy = TURNOUT_TRY(parse_policy(properties.at("earlyTermination")));
    TURNOUT_TRY(parse_limits(properties.at("limits"), sweep));
    return sweep;
}

Json trial_of(const Json& properties) {
    const Json& trial = properties.at("trial");
    const std::string_view kind = name_of(kFirstJobType);
    Json out = Json::object({{"jobType", kind}});
    for (const std::string_view member :
         {"displayName", "description", "experimentName", "tags", "computeId", "inputs", "outputs",
          "identity", "queueSettings"})
        if (!properties.at(member).is_null()) out.set(member, properties.at(member));
    for (const std::string_view member :
         {"command", "codeId", "environmentId", "environmentVariables", "distribution"})
        if (!trial.at(member).is_null()) out.set(member, trial.at(member));
    const Json& resources = trial.at("resources").members().empty() ? properties.at("resources")
                                                                    : trial.at("resources");
    if (!resources.is_null()) out.set("resources", resources);
    if (const Json& timeout = properties.at("limits").at("trialTimeout"); !timeout.is_null())
        out.set("limits", Json::object({{"jobLimitsType", kind}, {"timeout", timeout}}));
    return out;
}

Result<void> check_search_space_references(const Json& properties) {
    const std::string command = properties.at("trial").at("command").as_string();
    constexpr std::string_view prefix = "search_space.";
    for (std::size_t at = command.find("${{"); at != std::string::npos;
         at = command.find("${{", at)) {
        const std::size_t end = command.find("}}", at);
        if (end == std::string::npos) return refuse("trial.command", "has '${{' without '}}'");
        const std::string_view inside =
            trim(std::string_view(command).substr(at + 3, end - at - 3));
        at = end;
        if (!inside.starts_with(prefix)) continue;
        const std::string name(inside.substr(prefix.size()));
        if (properties.at("searchSpace").has(name)) continue;
        std::vector<std::string> known;
        for (const auto& [parameter, expression] : properties.at("searchSpace").members())
            known.push_back(parameter);
        return refuse("trial.command",
                      "uses ${{" + std::string(inside) + "}}, which is not in the search space" +
                          did_you_mean(name, known) + " (it has " + join(known, ", ") + ")");
    }
    return {};
}

// ---- the life of a sweep

namespace {

// It is written with every trial that ends.
constexpr std::size_t kMaxFirstFailure = 700;

std::string beginning_of(std::string_view text) {
    if (text.size() <= kMaxFirstFailure) return std::string(text);
    text = text.substr(0, kMaxFirstFailure);
    return std::string(text.substr(0, text.size() - unfinished_utf8(text))) + " …";
}

}  // namespace

Json to_json(const SweepProgress& progress) {
    Json out = Json::object({{"created", progress.created},
                             {"completed", progress.completed},
                             {"failed", progress.failed},
                             {"canceled", progress.canceled}});
    if (progress.stopped_early > 0) out.set("stopped_early", progress.stopped_early);
    if (progress.without_metric > 0) out.set("without_metric", progress.without_metric);
    if (!progress.metric_problem.empty()) out.set("metric_problem", progress.metric_problem);
    if (progress.cancel_requested) out.set("cancel_requested", true);
    if (progress.timed_out) out.set("timed_out", true);
    if (progress.began) out.set("began", true);
    if (!progress.first_failure.empty()) {
        out.set("failed_by", agent_protocol::name_of(progress.failed_by));
        out.set("first_failure", progress.first_failure);
    }
    if (progress.best >= 0) {
        out.set("best", progress.best);
        out.set("best_score", progress.best_score);
    }
    return out;
}

SweepProgress sweep_progress_from_json(const Json& json) {
    SweepProgress out;
    out.created = json.at("created").as_int();
    out.completed = json.at("completed").as_int();
    out.failed = json.at("failed").as_int();
    out.canceled = json.at("canceled").as_int();
    out.stopped_early = json.at("stopped_early").as_int();
    out.without_metric = json.at("without_metric").as_int();
    out.metric_problem = json.at("metric_problem").as_string();
    out.cancel_requested = json.at("cancel_requested").as_bool();
    out.timed_out = json.at("timed_out").as_bool();
    out.began = json.at("began").as_bool();
    if (const auto cause = agent_protocol::parse_cause(json.at("failed_by").as_view()))
        out.failed_by = *cause;
    out.first_failure = json.at("first_failure").as_string();
    out.best = json.at("best").as_int(-1);
    out.best_score = json.at("best_score").as_double();
    return out;
}

void trial_ended(const Sweep& sweep, SweepProgress& progress, const TrialEnd& end) {
    if (end.began) progress.began = true;
    if (end.status == JobStatus::Failed) {
        if (progress.first_failure.empty()) {
            progress.failed_by = end.cause;
            progress.first_failure = std::string(end.name) + ": " + beginning_of(end.message);
        } else if (progress.failed_by != end.cause) {
            progress.failed_by = agent_protocol::Cause::None;
        }
        ++progress.failed;
    } else if (end.status == JobStatus::Canceled) {
        ++progress.canceled;
        if (end.by_policy) ++progress.stopped_early;
    } else {
        ++progress.completed;
        if (!end.score || !std::isfinite(*end.score)) {
            ++progress.without_metric;
            return;
        }
        // Of two that are equal the one with the lower index, in whatever order they end.
        const bool first = progress.best < 0;
        if (first || sweep.objective.better(*end.score, progress.best_score) ||
            (*end.score == progress.best_score && end.index < progress.best)) {
            progress.best = end.index;
            progress.best_score = *end.score;
        }
    }
}

bool environment_fails(const SweepProgress& progress) {
    return !progress.began && progress.completed == 0 &&
           progress.failed_by == agent_protocol::Cause::Environment;
}

bool gives_up(const SweepProgress& progress) {
    return progress.completed == 0 &&
           progress.failed >=
               (environment_fails(progress) ? kEnvironmentFailures : kInitialFailures);
}

std::int64_t trials_to_create(const Sweep& sweep, const SweepProgress& progress,
                              std::int64_t waiting, std::int64_t useful) {
    if (progress.cancel_requested || progress.timed_out || gives_up(progress)) return 0;
    useful = std::max<std::int64_t>(useful, 1);
    if (waiting > useful / 2) return 0;
    const std::int64_t left = sweep.limits.max_total_trials - progress.created;
    const std::int64_t free = sweep.limits.max_concurrent_trials - progress.live();
    return std::max<std::int64_t>(0, std::min({left, free, useful - waiting}));
}

std::optional<GroupEnd> sweep_end(const Sweep& sweep, const SweepProgress& progress,
                                  std::string_view name) {
    using agent_protocol::Cause;
    if (progress.live() > 0) return std::nullopt;
    // How many ended how, and what came of it.
    std::string result = sweep_words(sweep, progress);
    if (const std::string best = best_words(sweep, progress, name); !best.empty())
        result += "; " + best;
    if (progress.timed_out) return GroupEnd{JobStatus::Canceled, Cause::Timeout, result};
    if (progress.cancel_requested) return GroupEnd{JobStatus::Canceled, Cause::Canceled, result};
    const bool given_up = gives_up(progress);
    if (!given_up && progress.created < sweep.limits.max_total_trials) return std::nullopt;
    if (progress.completed > 0)
        return GroupEnd{
            JobStatus::Completed, Cause::None,
            progress.best >= 0
                ? result
                : result + "; there is no best trial" +
                      (progress.metric_problem.empty() ? "" : ": " + progress.metric_problem)};
    if (progress.failed == 0) return GroupEnd{JobStatus::Canceled, Cause::Canceled, result};
    std::string message = "no trial completed: " + with_commas(progress.failed) + " failed";
    if (environment_fails(progress)) message += " in the environment that all of them have";
    if (progress.canceled > 0) message += ", " + with_commas(progress.canceled) + " were canceled";
    if (given_up && progress.created < sweep.limits.max_total_trials)
        message += "; the other " + with_commas(sweep.limits.max_total_trials - progress.created) +
                   " were not started";
    message += ". " + progress.first_failure;
    return GroupEnd{JobStatus::Failed,
                    progress.failed_by == Cause::None ? Cause::UserCode : progress.failed_by,
                    message};
}

}  // namespace turnout

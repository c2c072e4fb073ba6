// The parts of a sweep job that YAML and REST shape differently.
#include <array>
#include <cmath>
#include <cstdlib>
#include <numbers>

#include "base/text.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {
namespace {

// The keys of a parameter expression besides `type`, in the order in which REST lists them.
struct Distribution {
    std::string_view name;
    std::vector<std::string> keys;
};
const std::vector<Distribution>& distributions() {
    static const std::vector<Distribution> all = {{"choice", {"values"}},
                                                  {"uniform", {"min_value", "max_value"}},
                                                  {"quniform", {"min_value", "max_value", "q"}},
                                                  {"loguniform", {"min_value", "max_value"}},
                                                  {"qloguniform", {"min_value", "max_value", "q"}},
                                                  {"normal", {"mu", "sigma"}},
                                                  {"qnormal", {"mu", "sigma", "q"}},
                                                  {"lognormal", {"mu", "sigma"}},
                                                  {"qlognormal", {"mu", "sigma", "q"}},
                                                  {"randint", {"upper"}}};
    return all;
}

const Distribution* find_distribution(std::string_view name) {
    for (const Distribution& each : distributions())
        if (equal_ignoring_case(each.name, name)) return &each;
    return nullptr;
}

// A number, also from quoted text ("2"), as elsewhere in YAML; exponents without a point ("1e-3"),
// which YAML 1.2 does not read as numbers, are meant as such too.
Json number_of(const Json& value) {
    if (!value.is_string()) return value;
    Json number = yaml_scalar(value.as_view());
    if (number.is_number()) return number;
    const std::string text = value.as_string();
    char* end = nullptr;
    const double read = std::strtod(text.c_str(), &end);
    const bool all = !text.empty() && *end == '\0' &&
                     text.find_first_not_of("0123456789+-.eE") == std::string::npos;
    return all ? Json(read) : value;
}

// Whether a member of an alternative is an expression: `{type: uniform, min_value: …}`.
bool is_expression(const Json& value) {
    return value.is_object() && find_distribution(value.at("type").as_view()) != nullptr;
}

void check_expression(Reading& reading, const std::string& pointer, const Json& value);

void check_alternatives(Reading& reading, const std::string& pointer, const Json& values) {
    if (!reading.expect_list(pointer, values)) return;
    if (values.items().empty())
        return reading.refuse(pointer, "is empty: expected at least one value");
    for (std::size_t i = 0; i < values.items().size(); ++i) {
        const Json& value = values.items()[i];
        const std::string here = pointer_to(pointer, i);
        if (value.is_null() || value.is_array())
            reading.refuse(here, expected("text, a number, a boolean or a mapping", value));
        for (const auto& [key, member] : value.members()) {
            if (is_expression(member))
                check_expression(reading, pointer_to(here, key), member);
            else
                reading.expect_text(pointer_to(here, key), member);
        }
    }
}

void check_expression(Reading& reading, const std::string& pointer, const Json& value) {
    if (!value.is_object())
        return reading.refuse(
            pointer,
            expected("an expression such as {type: uniform, min_value: 0.1, max_value: 1}", value));
    std::vector<std::string> names;
    for (const Distribution& each : distributions()) names.emplace_back(each.name);
    const std::string type = value.at("type").as_string();
    const Distribution* distribution = find_distribution(type);
    if (distribution == nullptr) {
        if (value.at("type").is_null())
            return reading.refuse(pointer,
                                  "key 'type' is missing: expected one of " + join(names, ", "));
        return reading.refuse(pointer_to(pointer, "type"), "expected one of " + join(names, ", ") +
                                                               ", found '" + type + "'" +
                                                               did_you_mean(to_lower(type), names));
    }
    std::vector<std::string> keys = {"type"};
    keys.insert(keys.end(), distribution->keys.begin(), distribution->keys.end());
    check_keys(reading, pointer, value, keys, distribution->name);
    for (const std::string& key : distribution->keys) {
        const std::string here = pointer_to(pointer, key);
        const Json& argument = value.at(key);
        if (argument.is_null())
            reading.refuse(pointer, "key '" + key +
                                        "' is missing: " + std::string(distribution->name) +
                                        " takes " + join(distribution->keys, ", "));
        else if (key == "values")
            check_alternatives(reading, here, argument);
        else if (!number_of(argument).is_number())
            reading.refuse(here, expected("a number", argument));
    }
    const Json least = number_of(value.at("min_value")), most = number_of(value.at("max_value"));
    if (least.is_number() && most.is_number() && least.as_double() > most.as_double())
        reading.refuse(pointer_to(pointer, "min_value"),
                       "expected at most max_value (" + most.dump() + "), found " + least.dump());
    for (const char* key : {"sigma", "q"})
        if (const Json number = number_of(value.at(key));
            number.is_number() && number.as_double() <= 0)
            reading.refuse(pointer_to(pointer, key),
                           "expected more than 0, found " + number.dump());
    const Json upper = number_of(value.at("upper"));
    if (upper.is_number() &&
        (upper.as_double() < 1 || upper.as_double() != std::floor(upper.as_double())))
        reading.refuse(pointer_to(pointer, "upper"),
                       "expected a whole number from 1, found " + upper.dump());
}

// The values of some distributions are powers: those that no double can hold would all be the same.
void check_power(Reading& reading, const std::string& pointer, const Json& expression,
                 double base) {
    const std::string type = to_lower(expression.at("type").as_view());
    const bool uniform = type == "loguniform" || type == "qloguniform";
    if (!uniform && type != "lognormal" && type != "qlognormal") return;
    const double largest = uniform ? number_of(expression.at("max_value")).as_double()
                                   : number_of(expression.at("mu")).as_double() +
                                         9 * number_of(expression.at("sigma")).as_double();
    if (!std::isfinite(std::pow(base, largest)))
        reading.refuse(pointer_to(pointer, uniform ? "max_value" : "mu"),
                       "expected an exponent (the values are powers of " + Json(base).dump() +
                           "), found " +
                           number_of(expression.at(uniform ? "max_value" : "mu")).dump() +
                           ", whose power is too large");
}

Json expression_to_rest(const Json& value) {
    const Distribution* distribution = find_distribution(value.at("type").as_view());
    if (distribution == nullptr) return value;
    Json arguments = Json::array();
    if (distribution->name == "choice") {
        Json list = Json::array();
        for (const Json& each : value.at("values").items()) {
            if (!each.is_object()) {
                list.push(each);
                continue;
            }
            Json group = Json::object();
            for (const auto& [key, member] : each.members())
                group.set(key, is_expression(member) ? expression_to_rest(member) : member);
            list.push(std::move(group));
        }
        arguments.push(std::move(list));
    } else {
        for (const std::string& key : distribution->keys) arguments.push(number_of(value.at(key)));
    }
    return Json::array({Json(distribution->name), std::move(arguments)});
}

Json expression_from_rest(const Json& rest) {
    if (!rest.is_array() || rest.items().size() != 2) return rest;
    const Distribution* distribution = find_distribution(rest.items()[0].as_view());
    const Json::Array& arguments = rest.items()[1].items();
    if (distribution == nullptr || arguments.size() != distribution->keys.size()) return rest;
    Json out = Json::object({{"type", distribution->name}});
    if (distribution->name != "choice") {
        for (std::size_t i = 0; i < arguments.size(); ++i)
            out.set(distribution->keys[i], arguments[i]);
        return out;
    }
    Json values = Json::array();
    for (const Json& each : arguments[0].items()) {
        if (!each.is_object()) {
            values.push(each);
            continue;
        }
        Json group = Json::object();
        for (const auto& [key, member] : each.members())
            group.set(key, expression_from_rest(member));
        values.push(std::move(group));
    }
    out.set("values", std::move(values));
    return out;
}

const std::vector<Choice>& algorithms() {
    static const std::vector<Choice> choices = {
        {"random", "Random"},
        {"grid", "Grid"},
        {"bayesian", "Bayesian",
         "Bayesian sampling does not run here: use random, with rule sobol for an even cover of "
         "the search space"}};
    return choices;
}
const std::vector<Choice>& rules() {
    static const std::vector<Choice> choices = {{"random", "random"}, {"sobol", "sobol"}};
    return choices;
}

void check_one_of(Reading& reading, const std::string& pointer,
                  const std::vector<Choice>& choices) {
    const std::string text = reading.text(pointer);
    const Choice* choice = find_choice(choices, text);
    if (choice != nullptr && choice->refused.empty()) return;
    if (choice != nullptr) return reading.refuse(pointer, choice->refused);
    std::vector<std::string> known;
    for (const Choice& each : choices)
        if (each.refused.empty()) known.push_back(each.yaml);
    reading.refuse(pointer, "expected one of " + join(known, ", ") + ", found '" + text + "'" +
                                did_you_mean(text, known));
}

}  // namespace

Special trial_shape() {
    return {.shape = "mapping, below",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (value.is_string())
                        return reading.refuse(pointer,
                                              "a component as trial does not run yet: give "
                                              "command, code and environment, found '" +
                                                  value.as_string() + "'");
                    check(sweep_trial(), reading, pointer);
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json&,
                   const Scope& scope, Json& rest) {
                    const Json trial = to_rest(sweep_trial(), document, pointer, scope);
                    set_path(rest, "properties.trial", trial.at("properties"));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& trial = at_path(rest, "properties.trial");
                if (!trial.is_object()) return {};
                return to_entity(sweep_trial(), Json::object({{"properties", trial}}));
            }};
}

Special search_space_shape() {
    return {.shape =
                "mapping: name to `type` (`choice` with `values`; `uniform`, `loguniform` with "
                "`min_value`, `max_value`; "
                "`normal`, `lognormal` with `mu`, `sigma`; `quniform` … with `q` too; `randint` "
                "with `upper`)",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_mapping(pointer, value)) return;
                    if (value.members().empty())
                        reading.refuse(pointer, "is empty: expected at least one parameter");
                    for (const auto& [name, expression] : value.members()) {
                        const std::string here = pointer_to(pointer, name);
                        const std::string_view letters =
                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
                        if (name.empty() || name.find_first_not_of(letters) != std::string::npos ||
                            (name[0] >= '0' && name[0] <= '9'))
                            reading.refuse(
                                here,
                                "expected a name of letters, digits and '_', found '" + name + "'");
                        else
                            check_expression(reading, here, expression);
                    }
                },
            .to_rest =
                [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
                   Json& rest) {
                    Json space = Json::object();
                    for (const auto& [name, expression] : value.members())
                        space.set(name, expression_to_rest(expression));
                    set_path(rest, "properties.searchSpace", std::move(space));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& space = at_path(rest, "properties.searchSpace");
                if (!space.is_object()) return {};
                Json out = Json::object();
                for (const auto& [name, expression] : space.members())
                    out.set(name, expression_from_rest(expression));
                return out;
            }};
}

Special sampling_shape() {
    return {
        .shape =
            "`random`, `grid`, or a mapping: `type`, `seed`, `rule` (`random` or `sobol`), "
            "`logbase`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!value.is_object()) {
                    if (reading.expect_text(pointer, value))
                        check_one_of(reading, pointer, algorithms());
                    return;
                }
                if (value.at("type").is_null())
                    return reading.refuse(pointer,
                                          "key 'type' is missing: expected random or grid");
                check_one_of(reading, pointer_to(pointer, "type"), algorithms());
                const bool random = equal_ignoring_case(value.at("type").as_view(), "random");
                check_keys(reading, pointer, value,
                           random ? std::vector<std::string>{"type", "seed", "rule", "logbase"}
                                  : std::vector<std::string>{"type"},
                           value.at("type").as_string() + " sampling");
                if (!value.at("seed").is_null())
                    reading.expect_whole(pointer_to(pointer, "seed"), value.at("seed"));
                if (!value.at("rule").is_null())
                    check_one_of(reading, pointer_to(pointer, "rule"), rules());
                const Json& base = value.at("logbase");
                if (const Json number = number_of(base);
                    !base.is_null() && base.as_view() != "e" &&
                    (!number.is_number() || number.as_double() <= 0 || number.as_double() == 1))
                    reading.refuse(pointer_to(pointer, "logbase"),
                                   expected("a positive number other than 1, or e", base));
            },
        .to_rest =
            [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
               Json& rest) {
                const Choice* type = find_choice(
                    algorithms(), value.is_object() ? value.at("type").as_view() : value.as_view());
                Json out = Json::object(
                    {{"samplingAlgorithmType", type != nullptr ? type->rest : "Random"}});
                if (!value.at("seed").is_null()) out.set("seed", number_of(value.at("seed")));
                if (const Choice* rule = find_choice(rules(), value.at("rule").as_view());
                    rule != nullptr && !value.at("rule").is_null())
                    out.set("rule", rule->rest);
                if (!value.at("logbase").is_null())
                    out.set("logbase", number_of(value.at("logbase")));
                set_path(rest, "properties.samplingAlgorithm", std::move(out));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& sampling = at_path(rest, "properties.samplingAlgorithm");
            if (!sampling.is_object()) return {};
            const Choice* type =
                find_choice(algorithms(), sampling.at("samplingAlgorithmType").as_view());
            Json out =
                Json::object({{"type", type != nullptr ? Json(type->yaml)
                                                       : sampling.at("samplingAlgorithmType")}});
            if (!sampling.at("seed").is_null()) out.set("seed", sampling.at("seed"));
            if (!sampling.at("rule").is_null())
                out.set("rule", to_lower(sampling.at("rule").as_view()));
            if (!sampling.at("logbase").is_null()) out.set("logbase", sampling.at("logbase"));
            return out;
        }};
}

namespace {
// One of the two, larger than 0; a 0 beside it is what the SDK sends for nothing.
void check_slack(Reading& reading, const std::string& pointer, const Json& value, double factor,
                 double amount) {
    if (factor > 0 && amount > 0)
        return reading.refuse(pointer_to(pointer, "slack_amount"),
                              "expected either slack_factor or slack_amount, found both");
    bool refused = false;
    for (const auto& [key, slack] :
         {std::pair{"slack_factor", factor}, std::pair{"slack_amount", amount}}) {
        const bool useless = slack == 0 && factor <= 0 && amount <= 0;
        if (value.at(key).is_null() || (slack >= 0 && !useless)) continue;
        reading.refuse(pointer_to(pointer, key),
                       "expected a number larger than 0, found " + value.at(key).dump());
        refused = true;
    }
    if (!refused && factor <= 0 && amount <= 0)
        reading.refuse(pointer,
                       "expected slack_factor or slack_amount, larger than 0, found neither");
}
}  // namespace

void check_early_termination(Reading& reading, const std::string& pointer, const Json& value) {
    const std::string type = to_lower(reading.text(pointer_to(pointer, "type")));
    const auto only_for = [&](const std::string& key, std::string_view policy) {
        if (!value.at(key).is_null() && type != policy)
            reading.refuse(
                pointer_to(pointer, key),
                "belongs to the policy " + std::string(policy) + ", found '" + type + "'");
    };
    only_for("slack_factor", "bandit");
    only_for("slack_amount", "bandit");
    only_for("truncation_percentage", "truncation_selection");
    const auto number = [&](const char* key) { return number_of(value.at(key)).as_double(); };
    if (type == "truncation_selection" && value.at("truncation_percentage").is_null())
        reading.refuse(
            pointer,
            "key 'truncation_percentage' is missing: expected a whole number from 1 to 99");
    if (type == "bandit")
        check_slack(reading, pointer, value, number("slack_factor"), number("slack_amount"));
}

void check_sweep_limits(Reading& reading, const std::string& pointer, const Json& value) {
    for (const char* key : {"max_total_trials", "max_concurrent_trials"})
        if (const Json number = number_of(value.at(key));
            number.is_int() && (number.as_int() < 1 || number.as_int() > 1'000'000))
            reading.refuse(pointer_to(pointer, key),
                           "expected 1 to 1,000,000, found " + number.dump());
}

void check_sweep_job(Reading& reading, const std::string& pointer, const Json& value) {
    const std::string trial = pointer_to(pointer, "trial");
    check_references(reading, pointer_to(trial, "command"),
                     value.at("trial").at("command").as_string(),
                     {{"inputs", &value.at("inputs")},
                      {"outputs", &value.at("outputs")},
                      {"search_space", &value.at("search_space")}});
    const Json& sampling = value.at("sampling_algorithm");
    const double base = number_of(sampling.at("logbase")).as_double(std::numbers::e);
    for (const auto& [name, expression] : value.at("search_space").members())
        check_power(reading, pointer_to(pointer_to(pointer, "search_space"), name), expression,
                    base);
    const std::string_view algorithm =
        sampling.is_object() ? sampling.at("type").as_view() : sampling.as_view();
    if (equal_ignoring_case(algorithm, "grid"))
        for (const auto& [name, expression] : value.at("search_space").members())
            if (const Distribution* found = find_distribution(expression.at("type").as_view());
                found != nullptr && found->name != "choice")
                reading.refuse(pointer_to(pointer_to(pointer, "search_space"), name),
                               "grid sampling takes choices only, found " +
                                   std::string(found->name) +
                                   ": give a choice of values, or use random sampling");
    if (equal_ignoring_case(reading.text(pointer_to(pointer, "compute")), "local"))
        reading.refuse(
            pointer_to(pointer, "compute"),
            "a sweep does not run on 'local': leave the key out to use this server's machine");
}

}  // namespace turnout::resources

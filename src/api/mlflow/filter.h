// The subset of MLflow's search language that is served:
//   metrics.acc > 0.9 and params."lr" = '0.1' and tags.`a b` like 'x%' and attributes.status !=
//   'FAILED'
// with =, !=, <, <=, >, >=, LIKE, ILIKE, IN and NOT IN, of params and tags
// also IS NULL and IS NOT NULL, joined by AND. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/mlflow/like.h"
#include "base/result.h"

namespace turnout::api::mlflow {

enum class Entity { Attribute, Metric, Param, Tag };
enum class Compare {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Like,
    ILike,
    In,
    NotIn,
    IsNull,
    IsNotNull
};

struct Column {
    Entity entity = Entity::Attribute;
    std::string name;
};

struct Condition {
    Column column;
    Compare compare = Compare::Equal;
    std::vector<std::string> texts;  // one, or more for IN
    LikePattern like;                // of LIKE and ILIKE
    double number = 0;               // of a number
    bool is_number = false;
};

struct Order {
    Column column;
    bool ascending = true;
};

// What a column of a run or experiment holds: nothing, a text or a number.
using Cell = std::variant<std::monostate, std::string, double>;

// Errors name the token at which reading stopped.
Result<std::vector<Condition>> parse_filter(std::string_view text);
Result<Order> parse_order(std::string_view text);

bool holds(const Condition& condition, const Cell& cell);

}  // namespace turnout::api::mlflow

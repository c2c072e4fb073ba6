// From an index to parameters.
#include <algorithm>
#include <cmath>
#include <utility>

#include "model/sweep.h"

namespace turnout {
namespace {

using Type = SearchExpression::Type;

// SplitMix64's finalizer: every bit of the input moves every bit of the output.
std::uint64_t mixed(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

std::uint32_t reversed(std::uint32_t x) {
    x = ((x & 0x55555555) << 1) | ((x >> 1) & 0x55555555);
    x = ((x & 0x33333333) << 2) | ((x >> 2) & 0x33333333);
    x = ((x & 0x0f0f0f0f) << 4) | ((x >> 4) & 0x0f0f0f0f);
    return __builtin_bswap32(x);
}

// Owen's nested scrambling: each bit is flipped, or not, by all bits above it. On reversed bits
// that is any function whose bits depend on lower ones only; this one is by Laine and Karras, with
// the constants of Vegdahl.
std::uint32_t scrambled(std::uint32_t bits, std::uint32_t seed) {
    std::uint32_t x = reversed(bits);
    x ^= x * 0x3d20adea;
    x += seed;
    x *= (seed >> 16) | 1;
    x ^= x * 0x05526c56;
    x ^= x * 0x53a22864;
    return reversed(x);
}

// The inverse of the normal distribution: Acklam's approximation with one step of Halley's method,
// exact to the last digits.
double normal_quantile(double p) {
    constexpr double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                            1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
    constexpr double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                            6.680131188771972e+01, -1.328068155288572e+01};
    constexpr double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                            -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
    constexpr double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                            3.754408661907416e+00};
    const auto tail = [&](double q) {
        return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
               ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
    };
    constexpr double low = 0.02425;
    double x = 0;
    if (p < low) {
        x = tail(std::sqrt(-2 * std::log(p)));
    } else if (p > 1 - low) {
        x = -tail(std::sqrt(-2 * std::log(1 - p)));
    } else {
        const double q = p - 0.5;
        const double r = q * q;
        x = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
            (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
    }
    const double error = 0.5 * std::erfc(-x / std::sqrt(2.0)) - p;
    const double u = error * std::sqrt(2 * 3.14159265358979323846) * std::exp(x * x / 2);
    return x - u / (1 + x * u / 2);
}

// One number in (0, 1) for each expression of the search space, by its place in the definition.
class Source {
public:
    Source(const Sampling& sampling, std::int64_t index)
        : sampling_(sampling), index_(static_cast<std::uint64_t>(index)) {}

    double at(int dimension) const {
        const std::uint64_t key = mixed(mixed(static_cast<std::uint64_t>(sampling_.seed)) ^
                                        static_cast<std::uint64_t>(dimension));
        if (sampling_.kind == Sampling::Kind::Sobol) {
            const std::uint32_t bits =
                scrambled(sobol_bits(static_cast<std::uint32_t>(index_), dimension),
                          static_cast<std::uint32_t>(key));
            return (bits + 0.5) * 0x1p-32;
        }
        return (static_cast<double>(mixed(key ^ mixed(index_)) >> 11) + 0.5) * 0x1p-53;
    }

private:
    const Sampling& sampling_;
    std::uint64_t index_;
};

Json number(double value, bool whole) {
    if (whole && std::abs(value) < 9e15)
        return Json(static_cast<std::int64_t>(std::llround(value)));
    return Json(value);
}

double quantized(double value, double step) {
    return std::round(value / step) * step;
}

// `dimension` is that of the expression itself; those beneath it follow.
Json sample(const SearchExpression& expression, const Sampling& sampling, const Source& source,
            int dimension) {
    const auto uniform = [&] {
        return expression.first + source.at(dimension) * (expression.second - expression.first);
    };
    const auto normal = [&] {
        return expression.first + normal_quantile(source.at(dimension)) * expression.second;
    };
    const auto power = [&](double exponent) { return std::pow(sampling.log_base, exponent); };
    const double q = expression.step;
    switch (expression.type) {
        case Type::Uniform: return Json(uniform());
        case Type::LogUniform: return Json(power(uniform()));
        case Type::Normal: return Json(normal());
        case Type::LogNormal: return Json(power(normal()));
        case Type::QUniform: return number(quantized(uniform(), q), expression.whole);
        case Type::QNormal: return number(quantized(normal(), q), expression.whole);
        // Their other arguments are logarithms: what is whole is the step.
        case Type::QLogUniform: return number(quantized(power(uniform()), q), q == std::floor(q));
        case Type::QLogNormal: return number(quantized(power(normal()), q), q == std::floor(q));
        case Type::Randint:
            return Json(static_cast<std::int64_t>(std::min(
                std::floor(source.at(dimension) * expression.first), expression.first - 1)));
        case Type::Fixed: return expression.value;
        case Type::Choice: {
            const auto count = expression.alternatives.size();
            const auto chosen = std::min(
                static_cast<std::size_t>(source.at(dimension) * static_cast<double>(count)),
                count - 1);
            int beneath = dimension + 1;
            if (expression.dimensions > 1)
                for (std::size_t i = 0; i < chosen; ++i)
                    beneath += expression.alternatives[i].dimensions;
            return sample(expression.alternatives[chosen], sampling, source, beneath);
        }
        case Type::Group: {
            Json group = Json::object();
            for (const auto& [name, member] : expression.members) {
                group.set(name, sample(member, sampling, source, dimension));
                dimension += member.dimensions;
            }
            return group;
        }
    }
    return {};
}

// ---- grids

// Combination number `index` of it.
Json cell(const SearchExpression& expression, std::int64_t index) {
    if (expression.type == Type::Choice) {
        const std::size_t count = expression.alternatives.size();
        if (expression.combinations == static_cast<std::int64_t>(count))  // one each: most choices
            return cell(expression.alternatives[static_cast<std::size_t>(index)], 0);
        for (const SearchExpression& each : expression.alternatives) {
            const std::int64_t size = each.combinations;
            if (index < size) return cell(each, index);
            index -= size;
        }
    }
    if (expression.type != Type::Group) return expression.value;
    Json group = Json::object();
    for (const auto& [name, member] : expression.members) group.set(name, Json());
    for (std::size_t i = expression.members.size(); i-- > 0;) {  // the last one changes fastest
        const std::int64_t size = expression.members[i].second.combinations;
        group.set(expression.members[i].first, cell(expression.members[i].second, index % size));
        index /= size;
    }
    return group;
}

// The place of `index` in an order of 0 … size - 1 that the seed decides: four rounds of Feistel on
// the next power of four, gone on with until the result is one of them.
std::int64_t shuffled(std::int64_t index, std::int64_t size, std::uint64_t seed) {
    int half = 1;
    while (std::int64_t{1} << (2 * half) < size) ++half;
    const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
    auto x = static_cast<std::uint64_t>(index % size);  // from without it might never come in
    do {
        std::uint64_t left = x >> half, right = x & mask;
        for (std::uint64_t round = 0; round < 4; ++round)
            left = std::exchange(right, left ^ (mixed(mixed(seed ^ round) ^ right) & mask));
        x = left << half | right;
    } while (x >= static_cast<std::uint64_t>(size));
    return static_cast<std::int64_t>(x);
}

std::string text_of(const Json& value) {
    if (value.is_string()) return value.as_string();
    if (value.is_bool()) return value.as_bool() ? "True" : "False";
    return value.dump();
}

}  // namespace

Parameters trial_parameters(const Sweep& sweep, std::int64_t index) {
    Parameters out;
    out.reserve(sweep.space.size());
    if (sweep.cells > 0)
        index = shuffled(index, sweep.cells, static_cast<std::uint64_t>(sweep.sampling.seed));
    if (sweep.sampling.kind == Sampling::Kind::Grid || sweep.cells > 0) {
        // As nested loops would: the last parameter changes fastest.
        for (auto each = sweep.space.rbegin(); each != sweep.space.rend(); ++each) {
            const std::int64_t size = each->second.combinations;
            out.emplace_back(each->first, text_of(cell(each->second, index % size)));
            index /= size;
        }
        std::ranges::reverse(out);
        return out;
    }
    const Source source(sweep.sampling, index);
    int dimension = 0;
    for (const auto& [name, expression] : sweep.space) {
        out.emplace_back(name, text_of(sample(expression, sweep.sampling, source, dimension)));
        dimension += expression.dimensions;
    }
    return out;
}

}  // namespace turnout

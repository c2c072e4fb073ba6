#include "cli/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>

#include "base/text.h"
#include "cli/output.h"

namespace turnout::cli {

namespace {

struct Frame {
    double left = 0, right = 0, bottom = 0, top = 0;
    double width() const { return right > left ? right - left : 1; }
    double height() const { return top > bottom ? top - bottom : 1; }
};

bool fits(const std::pair<double, double>& point) {
    return std::isfinite(point.first) && std::isfinite(point.second);
}

std::optional<Frame> frame_of(const std::vector<PlotLine>& lines) {
    std::optional<Frame> frame;
    for (const PlotLine& line : lines)
        for (const auto& point : line.points) {
            if (!fits(point)) continue;
            if (!frame) frame = Frame{point.first, point.first, point.second, point.second};
            frame->left = std::min(frame->left, point.first);
            frame->right = std::max(frame->right, point.first);
            frame->bottom = std::min(frame->bottom, point.second);
            frame->top = std::max(frame->top, point.second);
        }
    return frame;
}

// Every dot between two, both included.
template <class Dot>
void connect(long x, long y, long to_x, long to_y, const Dot& dot) {
    const long steps = std::max({std::labs(to_x - x), std::labs(to_y - y), 1L});
    for (long i = 0; i <= steps; ++i) {
        const double part = static_cast<double>(i) / static_cast<double>(steps);
        dot(x + std::lround(part * static_cast<double>(to_x - x)),
            y + std::lround(part * static_cast<double>(to_y - y)));
    }
}

void append_code_point(std::string& text, unsigned code) {  // of three bytes
    text += static_cast<char>(0xe0 | (code >> 12));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    text += static_cast<char>(0x80 | (code & 0x3f));
}

// Colours that are told apart on black and on white, too by who sees red and green alike: on a
// terminal, and in SVG (Okabe and Ito, "Color Universal Design").
constexpr const char* kTerminalColours[] = {"34", "33", "32", "35", "36", "31"};
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73",
                                    "#cc79a7", "#e69f00", "#56b4e9"};

// A place for characters; each has 2 × 4 dots of Braille, or one letter.
class Grid {
public:
    Grid(std::size_t columns, std::size_t rows, bool dots)
        : columns_(columns), dots_(dots), cells_(columns * rows) {}
    long wide() const { return static_cast<long>(columns_) * (dots_ ? 2 : 1); }
    long high() const { return static_cast<long>(cells_.size() / columns_) * (dots_ ? 4 : 1); }
    // From the left and from the bottom.
    void put(long x, long y, std::size_t line) {
        if (x < 0 || y < 0 || x >= wide() || y >= high()) return;
        const long down = high() - 1 - y;
        const auto column = static_cast<std::size_t>(dots_ ? x / 2 : x),
                   row = static_cast<std::size_t>(dots_ ? down / 4 : down);
        static constexpr std::uint8_t kDot[4][2] = {{1, 8}, {2, 16}, {4, 32}, {64, 128}};
        Cell& cell = cells_[row * columns_ + column];
        cell.dots = static_cast<std::uint8_t>(cell.dots | (dots_ ? kDot[down % 4][x % 2] : 1));
        cell.line = line;
    }
    std::string row(std::size_t number, bool colour) const {
        std::string text;
        for (std::size_t i = 0; i < columns_; ++i) {
            const Cell& cell = cells_[number * columns_ + i];
            if (cell.dots == 0) {
                text += ' ';
                continue;
            }
            if (colour)
                text += std::string("\x1b[") +
                        kTerminalColours[cell.line % std::size(kTerminalColours)] + "m";
            if (dots_)
                append_code_point(text, 0x2800u + cell.dots);
            else
                text += static_cast<char>('a' + cell.line % 26);
            if (colour) text += "\x1b[0m";
        }
        while (text.ends_with(' ')) text.pop_back();
        return text;
    }

private:
    struct Cell {
        std::uint8_t dots = 0;
        std::size_t line = 0;
    };
    std::size_t columns_;
    bool dots_;
    std::vector<Cell> cells_;
};

// At most so many: of those that share a place the lowest and the highest, in their order.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& all,
                                               std::size_t most) {
    if (all.size() <= most) return all;
    std::vector<std::pair<double, double>> out;
    const std::size_t places = most / 2;
    for (std::size_t i = 0; i < places; ++i) {
        const auto from = all.begin() + static_cast<std::ptrdiff_t>(i * all.size() / places),
                   to = all.begin() + static_cast<std::ptrdiff_t>((i + 1) * all.size() / places);
        auto low = to, high = to;
        for (auto at = from; at != to; ++at) {
            if (!fits(*at)) continue;
            if (low == to || at->second < low->second) low = at;
            if (high == to || at->second > high->second) high = at;
        }
        if (low == to) {
            out.push_back(*from);  // a gap
            continue;
        }
        out.push_back(*std::min(low, high));
        if (high != low) out.push_back(*std::max(low, high));
    }
    return out;
}

// 1, 2 or 5 times a power of ten: between four and ten of them in that span.
double tick_of(double span) {
    const double power = std::pow(10, std::floor(std::log10(span / 5)));
    for (const double times : {1.0, 2.0, 5.0})
        if (span / (times * power) <= 7) return times * power;
    return 10 * power;
}

std::string fixed(double value) {
    char text[64];
    return {text, static_cast<std::size_t>(std::snprintf(text, sizeof text, "%.1f", value))};
}

}  // namespace

std::string number_text(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    char text[64];
    const double size = std::fabs(value);
    const bool whole = value == std::floor(value) && size < 1e7;
    return {text, static_cast<std::size_t>(
                      std::snprintf(text, sizeof text, whole ? "%.0f" : "%.5g", value))};
}

std::string sparkline(const std::vector<double>& values, std::size_t columns) {
    std::vector<double> means;
    const std::size_t places = std::min(columns, values.size());
    for (std::size_t i = 0; i < places; ++i) {
        double sum = 0;
        int count = 0;
        for (std::size_t at = i * values.size() / places; at < (i + 1) * values.size() / places;
             ++at)
            if (std::isfinite(values[at])) sum += values[at], ++count;
        means.push_back(count > 0 ? sum / count : std::nan(""));
    }
    std::optional<double> low, high;
    for (const double mean : means)
        if (std::isfinite(mean)) {
            low = std::min(low.value_or(mean), mean);
            high = std::max(high.value_or(mean), mean);
        }
    std::string text;
    if (!low) return text;
    for (const double mean : means) {
        if (!std::isfinite(mean)) {
            text += ' ';
            continue;
        }
        const double part = *high > *low ? (mean - *low) / (*high - *low) : 0.5;
        append_code_point(text, 0x2581u + static_cast<unsigned>(std::lround(part * 7)));
    }
    return text;
}

std::string plot_text(const std::vector<PlotLine>& lines, Screen screen, std::size_t rows,
                      const std::string& x_name) {
    const auto frame = frame_of(lines);
    if (!frame) return {};
    const std::string top = number_text(frame->top),
                      middle = number_text((frame->top + frame->bottom) / 2),
                      bottom = number_text(frame->bottom);
    const std::size_t margin = std::max({top.size(), middle.size(), bottom.size()}) + 1,
                      whole = screen.columns > 0 ? screen.columns : 80,
                      columns =
                          std::max<std::size_t>(whole > margin + 1 ? whole - margin - 1 : 0, 10);
    rows = std::max<std::size_t>(rows, 3);
    const bool letters = lines.size() > 1 && !screen.colour;
    Grid grid(columns, rows, !letters);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        long before_x = 0, before_y = 0;
        bool has_before = false;
        for (const auto& point : lines[i].points) {
            if (!fits(point)) {
                has_before = false;
                continue;
            }
            const double right = (point.first - frame->left) / frame->width(),
                         up = frame->top > frame->bottom
                                  ? (point.second - frame->bottom) / frame->height()
                                  : 0.5;
            // Of the largest numbers there are the difference is none.
            const auto within = [](double share) {
                return std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0.5;
            };
            const long x = std::lround(within(right) * static_cast<double>(grid.wide() - 1)),
                       y = std::lround(within(up) * static_cast<double>(grid.high() - 1));
            const auto dot = [&](long at_x, long at_y) { grid.put(at_x, at_y, i); };
            if (has_before)
                connect(before_x, before_y, x, y, dot);
            else
                dot(x, y);
            before_x = x, before_y = y;
            has_before = true;
        }
    }
    std::string text;
    for (std::size_t row = 0; row < rows; ++row) {
        const std::string label = row == 0          ? top
                                  : row == rows - 1 ? bottom
                                  : row == rows / 2 ? middle
                                                    : "";
        text += left_padded(label, margin - 1) + (label.empty() ? " │" : " ┤") +
                grid.row(row, screen.colour && lines.size() > 1) + "\n";
    }
    text += std::string(margin, ' ') + "└";
    for (std::size_t i = 0; i < columns; ++i) text += "─";
    const std::string left = number_text(frame->left),
                      right = number_text(frame->right) + " " + harmless(x_name);
    const std::size_t used = width_of(left) + width_of(right);
    text += "\n" + std::string(margin + 1, ' ') + left +
            std::string(columns > used ? columns - used : 1, ' ') + right + "\n";
    if (lines.size() < 2) return text;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const std::string mark = letters ? std::string(1, static_cast<char>('a' + i % 26))
                                         : std::string("\x1b[") +
                                               kTerminalColours[i % std::size(kTerminalColours)] +
                                               "m━\x1b[0m";
        text += std::string(margin + 1, ' ') + mark + " " + harmless(lines[i].name) + "\n";
    }
    return text;
}

std::string plot_svg(const std::vector<PlotLine>& lines, const std::string& title,
                     const std::string& x_name) {
    constexpr double kWidth = 800, kHeight = 450, kLeft = 80, kRight = 20, kTop = 40, kBottom = 50;
    constexpr std::size_t kMostPoints = 2000;
    const double below = 20.0 * static_cast<double>(lines.size() > 1 ? lines.size() : 0);
    Frame frame = frame_of(lines).value_or(Frame{0, 1, 0, 1});
    if (frame.top == frame.bottom) frame.top += 0.5, frame.bottom -= 0.5;
    const auto x_of = [&](double x) {
        return kLeft + (x - frame.left) / frame.width() * (kWidth - kLeft - kRight);
    };
    const auto y_of = [&](double y) {
        return kTop + (frame.top - y) / frame.height() * (kHeight - kTop - kBottom);
    };
    std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + fixed(kWidth) +
                      " " + fixed(kHeight + below) +
                      "\" font-family=\"sans-serif\" font-size=\"13\">\n"
                      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"" +
                      fixed(kLeft) + "\" y=\"24\" font-size=\"16\">" + xml_escape(harmless(title)) +
                      "</text>\n";
    const auto words = [&](double x, double y, const char* anchor, const std::string& text) {
        svg += "<text x=\"" + fixed(x) + "\" y=\"" + fixed(y) + "\" text-anchor=\"" + anchor +
               "\" fill=\"#444444\">" + xml_escape(harmless(text)) + "</text>\n";
    };
    const auto stroke = [&](double x, double y, double to_x, double to_y, const char* colour) {
        svg += "<path d=\"M" + fixed(x) + " " + fixed(y) + "L" + fixed(to_x) + " " + fixed(to_y) +
               "\" stroke=\"" + colour + "\"/>\n";
    };
    const double y_tick = tick_of(frame.height()), x_tick = tick_of(frame.width());
    constexpr int kMostTicks = 12;  // a step may be too small to change such a number
    for (int i = 0; i < kMostTicks; ++i) {
        const double y = (std::ceil(frame.bottom / y_tick) + i) * y_tick;
        if (y > frame.top + y_tick * 1e-9) break;
        stroke(kLeft, y_of(y), kWidth - kRight, y_of(y), "#e0e0e0");
        words(kLeft - 8, y_of(y) + 4, "end", number_text(std::fabs(y) < y_tick * 1e-9 ? 0 : y));
    }
    for (int i = 0; i < kMostTicks; ++i) {
        const double x = (std::ceil(frame.left / x_tick) + i) * x_tick;
        if (x > frame.left + frame.width() + x_tick * 1e-9) break;
        stroke(x_of(x), kHeight - kBottom, x_of(x), kHeight - kBottom + 5, "#444444");
        words(x_of(x), kHeight - kBottom + 20, "middle",
              number_text(std::fabs(x) < x_tick * 1e-9 ? 0 : x));
    }
    stroke(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "#444444");
    words((kLeft + kWidth - kRight) / 2, kHeight - 10, "middle", x_name);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const std::string colour = kColours[i % std::size(kColours)];
        std::string path;
        bool after_gap = true;
        for (const auto& point : thinned(lines[i].points, kMostPoints)) {
            if (!fits(point)) {
                after_gap = true;
                continue;
            }
            path += (after_gap ? "M" : "L") + fixed(x_of(point.first)) + " " +
                    fixed(y_of(point.second));
            after_gap = false;
        }
        // A point alone is a dot: its line has no length, and round ends.
        if (lines[i].points.size() == 1 && !path.empty()) path += "h0";
        svg += "<path d=\"" + path + "\" fill=\"none\" stroke=\"" + colour +
               "\" stroke-width=\"2\" stroke-linejoin=\"round\" stroke-linecap=\"round\"/>\n";
        if (lines.size() < 2) continue;
        const double y = kHeight + 20.0 * static_cast<double>(i);
        svg += "<path d=\"M" + fixed(kLeft) + " " + fixed(y) + "h24\" stroke=\"" + colour +
               "\" stroke-width=\"3\"/>\n";
        words(kLeft + 32, y + 4, "start", lines[i].name);
    }
    return svg + "</svg>\n";
}

}  // namespace turnout::cli

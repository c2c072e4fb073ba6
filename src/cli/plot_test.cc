#include "cli/plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/text.h"

namespace turnout::cli {
namespace {

std::vector<std::string> rows_of(const std::string& text) {
    std::vector<std::string> rows = split(text, '\n');
    EXPECT_EQ(rows.back(), "");
    rows.pop_back();
    return rows;
}

TEST(Plot, NumbersAreShort) {
    EXPECT_EQ(number_text(0), "0");
    EXPECT_EQ(number_text(-3), "-3");
    EXPECT_EQ(number_text(1234567), "1234567");
    EXPECT_EQ(number_text(0.03125), "0.03125");
    EXPECT_EQ(number_text(2.0 / 3), "0.66667");
    EXPECT_EQ(number_text(1.2e300), "1.2e+300");
    EXPECT_EQ(number_text(std::nan("")), "NaN");
    EXPECT_EQ(number_text(-INFINITY), "-Infinity");
}

TEST(Plot, ASparklineIsAsHighAsItsValues) {
    EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 40), "▁▂▃▄▅▆▇█");
    EXPECT_EQ(sparkline({1, 1}, 40), "▅▅");
    EXPECT_EQ(sparkline({0, std::nan(""), 1}, 40), "▁ █");
    EXPECT_EQ(sparkline({0, 0, 7, 7}, 2), "▁█");
    EXPECT_EQ(sparkline({}, 40), "");
    EXPECT_EQ(sparkline({INFINITY, std::nan("")}, 40), "");
}

TEST(Plot, ALineGoesFromCornerToCorner) {
    const std::string text =
        plot_text({{"a", {{0, 0}, {10, 5}}}}, {.columns = 20, .colour = false}, 4, "step");
    EXPECT_EQ(text,
              "  5 ┤           ⢀⡠⠔⠊\n"
              "    │       ⢀⡠⠔⠊⠁\n"
              "2.5 ┤   ⢀⡠⠔⠊⠁\n"
              "  0 ┤⡠⠔⠊⠁\n"
              "    └───────────────\n"
              "     0       10 step\n");
}

TEST(Plot, SeveralLinesHaveLettersOrColours) {
    const std::vector<PlotLine> two = {{"up", {{0, 0}, {1, 1}}}, {"down", {{0, 1}, {1, 0}}}};
    const std::string plain = plot_text(two, {.columns = 20, .colour = false}, 3, "step");
    EXPECT_NE(plain.find("a"), std::string::npos);
    EXPECT_NE(plain.find("b"), std::string::npos);
    EXPECT_NE(plain.find("a up\n"), std::string::npos) << plain;
    EXPECT_EQ(plain.find('\x1b'), std::string::npos);
    const std::string colours = plot_text(two, {.columns = 20, .colour = true}, 3, "step");
    EXPECT_NE(colours.find("\x1b[34m"), std::string::npos);
    EXPECT_NE(colours.find("\x1b[33m"), std::string::npos);
}

// Whatever the numbers are: the rows are as many as asked for and no wider than the screen, and the
// page of SVG is one, with bounded ticks and points.
TEST(Plot, AnyNumbersFit) {
    std::mt19937_64 random(7);
    const double odd[] = {0, -0.0, 1, -1, 1e18, 1e300, -1.7e308, 1.7e308, 5e-324, NAN, INFINITY};
    for (int round = 0; round < 300; ++round) {
        std::vector<PlotLine> lines(1 + random() % 4);
        for (PlotLine& line : lines) {
            line.name = "l<&\x1b" + std::to_string(random() % 9);
            double x = odd[random() % 6];
            for (std::size_t i = random() % 3000; i-- > 0; x += static_cast<double>(random() % 3))
                line.points.emplace_back(x, random() % 5 == 0
                                                ? odd[random() % std::size(odd)]
                                                : static_cast<double>(random() % 1000) / 7);
        }
        const Screen screen{.columns = 1 + random() % 120, .colour = false};
        const std::size_t high = random() % 30;
        const std::string text = plot_text(lines, screen, high, "step");
        if (!text.empty()) {
            EXPECT_EQ(rows_of(text).size(),
                      std::max<std::size_t>(high, 3) + 2 + (lines.size() > 1 ? lines.size() : 0));
        }
        if (screen.columns > 60) {
            for (const std::string& row : split(text, '\n'))
                EXPECT_LE(width_of(row), screen.columns) << row;
        }
        const std::string svg = plot_svg(lines, "a <title>", "step");
        EXPECT_TRUE(svg.ends_with("</svg>\n"));
        EXPECT_EQ(svg.find("l<"), std::string::npos);
        EXPECT_LT(svg.size(), 400'000u);
    }
}

}  // namespace
}  // namespace turnout::cli

// Pictures of numbers: on a terminal, and as SVG. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/screen.h"

namespace turnout::cli {

struct PlotLine {
    std::string name;
    // In the order of x. What is no number (NaN, infinite) leaves a gap.
    std::vector<std::pair<double, double>> points;
};

// As people write a number that was measured: five digits at most, "0.03125", "1.2e+08".
std::string number_text(double value);

// One row of at most so many blocks, as high as the values; where there are more values, the mean
// of those that share a block. "" where no value is a number.
std::string sparkline(const std::vector<double>& values, std::size_t columns);

// Lines in a frame of `screen.columns` (80 where it has none) and so many rows, with what both axes
// begin and end with, and the lines' names below. In colours where the screen has them; without,
// each of several lines has a letter. "" where no value is a number.
std::string plot_text(const std::vector<PlotLine>& lines, Screen screen, std::size_t rows,
                      const std::string& x_name);

// The same as a page of SVG that stands alone. Whatever a text has in it, is shown and is no
// markup.
std::string plot_svg(const std::vector<PlotLine>& lines, const std::string& title,
                     const std::string& x_name);

}  // namespace turnout::cli

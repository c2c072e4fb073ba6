// What a terminal shows: how wide it is, how wide a text is on it, and colours.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace turnout::cli {

struct Screen {
    std::size_t columns = 0;  // 0: not a terminal, everything is written whole
    bool colour = false;
};

// Of that file descriptor. Colour where the terminal has it, and NO_COLOR is not set.
Screen screen_of(int descriptor);

// Bytes of others (a log) for a terminal: colours go through, with line ends, tabs, and going back
// to the begin of a line; whatever else would steer it is shown as `cat -v` does ("^[", "^G"), not
// sent. Comes in pieces: what may go on is held back until it is known.
class TerminalText {
public:
    std::string show(std::string_view bytes);
    // What was held back, and the end of colours.
    std::string end();

private:
    std::string held_;
    bool coloured_ = false;
};

// How many columns a text takes: 2 for East Asian wide characters and emoji, 0 for combining marks.
std::size_t width_of(std::string_view text);
// Cut to so many columns, with an ellipsis in the last one. Never inside a character.
std::string shortened(std::string_view text, std::size_t columns);
// Filled up with blanks to so many columns.
std::string padded(std::string text, std::size_t columns);
std::string left_padded(const std::string& text, std::size_t columns);

// The name of a state (of a job, node or compute) in its colour; other texts as they are.
std::string in_colour(std::string_view state, std::string text);

}  // namespace turnout::cli

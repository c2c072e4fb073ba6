// Runs a fuzz target without libFuzzer: every file of the corpus folder as it is, then a bounded
// number of mutations of them, the same ones in every run. On a crash the input is left in
// `fuzz-crash-*` in the working folder, to be run alone: `fuzz_json FILE`.
//
//     fuzz_json [--runs N] [--seed N] CORPUS_FOLDER|FILE...
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace {

constexpr std::size_t kLargestInput = 64 << 10;
const std::string* running = nullptr;  // read by the crash handler only

void keep_input() {
    if (!running) return;
    int fd = ::open("fuzz-crash-input", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return;
    if (::write(fd, running->data(), running->size()) < 0) ::_exit(1);
    ::close(fd);
    const char text[] = "the input is in fuzz-crash-input\n";
    if (::write(2, text, sizeof text - 1) < 0) ::_exit(1);
}

void on_signal(int number) {
    keep_input();
    ::signal(number, SIG_DFL);
    ::raise(number);
}

class Dice {
public:
    explicit Dice(std::uint64_t seed) : state_(seed * 2 + 1) {}
    std::uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }
    std::size_t below(std::size_t limit) { return limit == 0 ? 0 : next() % limit; }

private:
    std::uint64_t state_;
};

const std::vector<std::string> kFragments = {
    "..",
    "/",
    "\\",
    "%2e%2e%2f",
    "%252e",
    "%00",
    std::string(1, '\0'),
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "1e309",
    "-0",
    "NaN",
    "\\u0000",
    "\\ud800",
    "\xff",
    "\xc0\xaf",
    "\xe2\x82",
    "&",
    "=",
    "+",
    "%",
    "<<: *a",
    "&a",
    "*a",
    "- ",
    "\n",
    "\t",
    "!!binary ",
    std::string(4, '\xff'),
    std::string("\0\0\0\1", 4),
    std::string(200, '['),
    std::string(200, '{'),
};

std::string mutated(const std::string& from, const std::vector<std::string>& seeds, Dice& dice) {
    std::string text = from;
    for (std::size_t rounds = 1 + dice.below(4); rounds > 0; --rounds) {
        std::size_t at = dice.below(text.size() + 1);
        switch (dice.below(7)) {
            case 0:
                if (!text.empty())
                    text[dice.below(text.size())] ^= static_cast<char>(1 << dice.below(8));
                break;
            case 1:
                if (!text.empty()) text[dice.below(text.size())] = static_cast<char>(dice.next());
                break;
            case 2: text.erase(at, 1 + dice.below(16)); break;
            case 3: text.insert(at, kFragments[dice.below(kFragments.size())]); break;
            case 4: {  // a piece of the text once more, elsewhere
                std::string piece = text.substr(dice.below(text.size() + 1), 1 + dice.below(64));
                text.insert(at, piece);
                break;
            }
            case 5: {  // the end of another seed
                const std::string& other = seeds[dice.below(seeds.size())];
                text = text.substr(0, at) + other.substr(dice.below(other.size() + 1));
                break;
            }
            case 6: text.resize(at); break;
        }
    }
    if (text.size() > kLargestInput) text.resize(kLargestInput);
    return text;
}

void run(const std::string& text) {
    running = &text;
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
    running = nullptr;
}

std::string content_of(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

int main(int count, char** arguments) {
    std::uint64_t runs = 20'000;
    std::uint64_t seed = 1;
    std::vector<std::filesystem::path> files;
    for (int i = 1; i < count; ++i) {
        std::string argument = arguments[i];
        if (argument == "--runs" && i + 1 < count) {
            runs = std::strtoull(arguments[++i], nullptr, 10);
        } else if (argument == "--seed" && i + 1 < count) {
            seed = std::strtoull(arguments[++i], nullptr, 10);
        } else if (std::filesystem::is_directory(argument)) {
            for (const auto& entry : std::filesystem::directory_iterator(argument))
                files.push_back(entry.path());
        } else {
            files.push_back(argument);
            runs = 0;
        }
    }
    std::sort(files.begin(), files.end());
    if (files.empty()) {
        std::fprintf(stderr, "no corpus: name its folder\n");
        return 2;
    }
    for (int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) ::signal(number, on_signal);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(keep_input);

    std::vector<std::string> seeds;
    for (const auto& file : files) seeds.push_back(content_of(file));
    for (const auto& text : seeds) run(text);
    run("");
    Dice dice(seed);
    for (std::uint64_t i = 0; i < runs; ++i)
        run(mutated(seeds[dice.below(seeds.size())], seeds, dice));
    std::printf("%zu seeds and %llu mutations\n", seeds.size(),
                static_cast<unsigned long long>(runs));
    return 0;
}

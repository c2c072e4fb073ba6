#include <unistd.h>
#include <cstdlib>
#include <cstring>
#include <string>

#include "app/up.h"

int main(int argc, char** argv) {
    turnout::UpArguments arguments;
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
    arguments.program = std::string(self, length > 0 ? static_cast<std::size_t>(length) : 0);
    for (int i = 2; i < argc; ++i) {
        if (!strcmp(argv[i], "--data")) arguments.data = argv[++i];
        else if (!strcmp(argv[i], "--listen")) arguments.listen = argv[++i];
        else if (!strcmp(argv[i], "--slots")) arguments.slots = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--detach")) arguments.detach = true;
    }
    return turnout::up(arguments);
}

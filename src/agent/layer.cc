#include "agent/layer.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "agent/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "environment/uv.h"

namespace turnout::agent {
namespace {

// $0 is one of the names; PYTHON, UV and HERE come before it. Facts about the interpreter are asked
// once for a node: its version, its own path, whether it is in a venv, whether it has pip.
constexpr std::string_view kScript = R"sh(
layer=$TURNOUT_LAYER
name=${0##*/}
if [ -z "$layer" ]; then
    case $name in
        python*) exec "$PYTHON" "$@" ;;
        *) exec "$PYTHON" -m pip "$@" ;;
    esac
fi
if [ ! -x "$layer/bin/python" ]; then
    if [ ! -f "$HERE/facts" ]; then
        "$PYTHON" -I -c 'import os, site, sys
from importlib.util import find_spec
print("%d.%d" % sys.version_info[:2])
print(os.path.realpath(sys.executable))
print("venv" if sys.prefix != sys.base_prefix else "base")
print("pip" if find_spec("pip") else "none")
print(site.getsitepackages()[0])' >"$HERE/facts.$$" && mv "$HERE/facts.$$" "$HERE/facts" || exit 1
    fi
    { read -r version; read -r base; read -r kind; read -r pip; read -r packages; } <"$HERE/facts"
    made=$layer.$$
    own=$made/lib/python$version/site-packages
    mkdir -p "$made/bin" "$own"
    ln -s "$base" "$made/bin/python"
    ln -s python "$made/bin/python3"
    ln -s python "$made/bin/python$version"
    system=true
    if [ "$kind" = venv ]; then
        system=false
        printf 'import site; site.addsitedir("%s")\n' "$packages" >"$own/_turnout_beneath.pth"
    fi
    printf 'home = %s\ninclude-system-site-packages = %s\nversion = %s\n' "${base%/*}" $system "$version" >"$made/pyvenv.cfg"
    printf '#!/bin/sh\nexec "%s/bin/python" -m pip "$@"\n' "$layer" >"$made/bin/pip"
    chmod 755 "$made/bin/pip"
    ln -s pip "$made/bin/pip3"
    mv -T "$made" "$layer" 2>/dev/null || rm -rf "$made"
    if [ "$pip" = none ] && [ -n "$UV" ]; then
        "$UV" pip install -q --python "$layer/bin/python" pip setuptools wheel >&2
    fi
fi
case $name in
    python*) exec "$layer/bin/python" "$@" ;;
    *) exec "$layer/bin/python" -m pip "$@" ;;
esac
)sh";

}  // namespace

std::string layer_programs(const AgentSettings& settings, const environment::Prepared& prepared) {
    environment::Settings places;
    places.uv = settings.uv;
    places.beside = settings.beside;
    places.environment = settings.environment;
    const std::string uv = environment::find_uv(places);
    const std::string folder = settings.folder + "/interpreters/" +
                               to_hex(sha256(prepared.interpreter + "\n" + uv)).substr(0, 12);
    if (exists(folder + "/python")) return folder;
    if (!make_folders(folder, 0755)) return "";
    const std::string script =
        "#!/bin/sh\n# Made by turnout-agent: a job's own layer over a Python, made when it is "
        "first used.\nPYTHON=" +
        quote_for_shell(prepared.interpreter) + "\nUV=" + quote_for_shell(uv) +
        "\nHERE=" + quote_for_shell(folder) + std::string(kScript);
    if (!write_file(folder + "/layer", script, 0755)) return "";
    std::vector<std::string> names{"pip3", "pip", "python3"};
    // "python3.11" of the same Python, too.
    if (char* real = ::realpath(prepared.interpreter.c_str(), nullptr)) {
        const std::string path = real, name = path.substr(path.rfind('/') + 1);
        ::free(real);
        if (name.starts_with("python3.") &&
            name.find_first_not_of("0123456789", 8) == std::string::npos)
            names.push_back(name);
    }
    names.emplace_back("python");  // last: with it the folder is complete
    for (const auto& name : names)
        if (symlink("layer", (folder + "/" + name).c_str()) != 0 && errno != EEXIST) return "";
    return folder;
}

std::string layer_of(const Work& work) {
    return work.folder + "/python";
}

bool has_overlay(const Work& work) {
    return work.prepared && !work.prepared->folder.empty() && geteuid() == 0 &&
           // These separate the options of a mount.
           (work.prepared->folder + work.folder).find_first_of(",:\\") == std::string::npos;
}

std::string overlay_of(const Work& work) {
    return work.folder + "/environment";
}

}  // namespace turnout::agent

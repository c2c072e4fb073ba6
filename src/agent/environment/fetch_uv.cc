#include "agent/environment/fetch_uv.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/environment/again.h"
#include "base/text.h"
#include "environment/programs.h"

namespace turnout::environment {
namespace {

constexpr std::string_view kIndex = "https://pypi.org/simple";

// The machine's Python speaks TLS, knows proxies and opens wheels. Arguments: index, target,
// certificates ("" = the machine's), the index as it may be shown.
constexpr std::string_view kFetch = R"py(
import base64, hashlib, html, http.client, io, json, os, platform, re, ssl, sys, urllib.error, urllib.parse, urllib.request, zipfile
index, target, certificates, shown = sys.argv[1:5]
context = ssl.create_default_context(cafile=certificates or None)
def get(url, accept):
    parts = urllib.parse.urlsplit(url)
    headers = {"Accept": accept, "User-Agent": "turnout"}
    if parts.username:
        name = urllib.parse.unquote(parts.username) + ":" + urllib.parse.unquote(parts.password or "")
        headers["Authorization"] = "Basic " + base64.b64encode(name.encode()).decode()
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60, context=context) as answer:
        return answer.geturl(), answer.headers.get("Content-Type", ""), answer.read()
def files():
    # A folder with pages in it is an index, too.
    page, kind, body = get(index.rstrip("/") + ("/uv/index.html" if index.startswith("file:") else "/uv/"), "application/vnd.pypi.simple.v1+json, text/html;q=0.1")
    if "json" in kind:
        for file in json.loads(body)["files"]:
            if not file.get("yanked"):
                yield file["filename"], urllib.parse.urljoin(page, file["url"]), file.get("hashes", {}).get("sha256", "")
        return
    for tag in re.findall(r"<a\s[^>]*>", body.decode("utf-8", "replace")):
        link = re.search(r'href="([^"]*)"', tag)
        if link and "data-yanked" not in tag:
            url, _, mark = urllib.parse.urljoin(page, html.unescape(link[1])).partition("#")
            name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
            yield name, url, mark[7:] if mark.startswith("sha256=") else ""
libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
def passes(error):  # what may go well the next time
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 425, 429) or error.code >= 500 and error.code not in (501, 505)
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, (ssl.SSLCertVerificationError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)):
        return False
    return isinstance(error, (OSError, http.client.HTTPException))
def told(what, step):
    try:
        return step()
    except (OSError, http.client.HTTPException) as error:
        why = error.reason if type(error) is urllib.error.URLError else error
        print(f"{what} cannot be had: {why}", file=sys.stderr)
        sys.exit(PASSES if passes(error) else 1)
best = None
for name, url, digest in told(f"the list of {shown}", lambda: list(files())):
    found = re.fullmatch(r"uv-(\d+(?:\.\d+)*)-py3-none-(.*)\.whl", name)
    if not found or libc not in found[2] or not found[2].endswith("_" + platform.machine()): continue
    entry = tuple(map(int, found[1].split("."))), url, digest, name
    if best is None or entry > best: best = entry
if not best: sys.exit(f"{index} has no wheel of uv for {libc} on {platform.machine()}")
_, url, digest, name = best
if not digest: sys.exit(f"{index} names no SHA-256 of {name}")
print("fetching", name, flush=True)
wheel = told(name, lambda: get(url, "*/*"))[2]
if hashlib.sha256(wheel).hexdigest() != digest: sys.exit(f"{name} is not what {index} says: its SHA-256 is another")
with zipfile.ZipFile(io.BytesIO(wheel)) as opened:
    program = next(n for n in opened.namelist() if n.endswith("/scripts/uv"))
    with open(target, "wb") as out:
        out.write(opened.read(program))
        out.flush()
        os.fsync(out.fileno())
os.chmod(target, 0o755)
)py";

std::string without_password(std::string url) {
    const auto scheme = url.find("://"), at = url.find('@');
    if (scheme == std::string::npos || at == std::string::npos || at > url.find('/', scheme + 3))
        return url;
    return url.replace(scheme + 3, at - scheme - 3, "***");
}

Failure no_uv(const std::string& why) {
    return fail(Code::FailedPrecondition, "EnvironmentFailed",
                "environments are built with 'uv', which is not on this machine and could not be "
                "fetched: " +
                    why + "\nput uv into the PATH, or name it with `turnout up --uv PATH`",
                "uv");
}

}  // namespace

Result<std::string> fetch_uv(const Settings& settings,
                             const std::function<void(std::string_view)>& log,
                             const std::atomic<bool>& cancel) {
    const std::string kept = settings.beside + "/uv";
    if (settings.beside.empty()) return no_uv("there is no folder to keep it in");
    Fd lock(open((kept + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock) return no_uv("'" + kept + ".lock' cannot be opened: " + std::strerror(errno));
    while (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (cancel) return fail(Code::Canceled, "Canceled", "canceled");
        usleep(100'000);
    }
    if (executable(kept)) return kept;
    std::string index;
    for (const char* name : {"UV_DEFAULT_INDEX", "UV_INDEX_URL"})
        if (index.empty()) index = variable(settings, name);
    if (index.empty()) index = pip_setting(settings, "index-url");
    if (index.empty()) index = kIndex;
    if (auto named = index.find('='); named != std::string::npos && named < index.find(':'))
        index.erase(0, named + 1);
    const std::string python = find_program("python3", settings);
    if (python.empty()) return no_uv("there is no python3 to fetch it with");
    log("uv is not on this machine; it is fetched from " + without_password(index) + "\n");
    // Whole under its name, or not at all; what a fetch that was killed left goes.
    if (DIR* dir = opendir(settings.beside.c_str())) {
        while (const dirent* entry = readdir(dir))
            if (std::string_view(entry->d_name).starts_with(".uv."))
                unlinkat(dirfd(dir), entry->d_name, 0);
        closedir(dir);
    }
    std::string part = settings.beside + "/.uv.XXXXXX";
    // Not held open: nobody could run it then.
    if (const Fd made(mkostemp(part.data(), O_CLOEXEC)); !made)
        return no_uv("'" + settings.beside + "' cannot be written: " + std::strerror(errno));
    Again again(settings.patience);
    const std::string program = "PASSES = " + std::to_string(kPasses) + "\n" + std::string(kFetch);
    const Result<Ran> ran = again.run({python, "-I", "-c", program, index, part,
                                       pip_setting(settings, "cert"), without_password(index)},
                                      settings.environment, log, cancel);
    if (!ran || ran->status != 0) unlink(part.c_str());
    if (!ran) return Failure(ran.error());
    if (ran->status != 0) {
        Error error = no_uv(ran->tail.empty() ? "python3 ended with " + std::to_string(ran->status)
                                              : ran->tail.back())
                          .error();
        if (!ran->passing.empty()) error.code = Code::Unavailable;
        return Failure(std::move(error));
    }
    if (rename(part.c_str(), kept.c_str()) != 0) unlink(part.c_str());
    if (!executable(kept))
        return no_uv("'" + kept + "' cannot be written: " + std::strerror(errno));
    return kept;
}

}  // namespace turnout::environment

#!/usr/bin/env python3
"""usage: tests/tidy/tidy.py [--notes FILE]

Style as a test: who may include whom, how it is formatted, what may not be called, headers
that compile alone, and documents whose names exist. Each rule is one result; `--notes` appends
`passed|failed<tab>name<tab>reason` lines to a file for scripts/test-summary.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import counts

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
SUPPORT = ROOT / "tests" / "support"  # what tests of several folders share; laid out as src/ is

# ---- the layers. A folder of src/ may include itself and these, nothing else. ----
PURE = {"base"}
LAYERS = {
    "base": set(),
    "io": PURE,
    "io/posix": {"io"} | PURE,
    "io/seal": {"io"} | PURE,
    "io/signature": {"io"} | PURE,
    "io/ssh": {"io", "io/posix"} | PURE,
    "io/tls": {"io", "io/posix"} | PURE,
    "link": {"io", "io/posix"} | PURE,
    "yaml": PURE,
    "resources": {"yaml", "io"} | PURE,
    "protocol": PURE,
    "model": {"resources", "protocol", "yaml", "io"} | PURE,
    "store": {"io", "io/posix"} | PURE,
    "blob": {"store", "model", "resources", "protocol", "yaml", "io", "io/posix"} | PURE,
    "catalog": {"store", "model", "resources", "protocol", "yaml", "io"} | PURE,
    "fetch": {"blob", "store", "protocol", "io", "io/posix"} | PURE,
    "schedule": {"model", "protocol"} | PURE,
    "tracking": {"blob", "store", "model", "resources", "protocol", "yaml", "io"} | PURE,
    "provider": {"link", "model", "resources", "protocol", "yaml", "io", "io/posix", "io/ssh", "io/tls"} | PURE,
    "environment": {"yaml", "protocol", "io", "io/posix"} | PURE,
    "supervisor": set(),
    "agent": {"environment", "protocol", "io", "io/posix", "supervisor"} | PURE,
    "submission": {"environment", "fetch", "model", "resources", "protocol", "yaml", "io"} | PURE,
    "control": {"schedule", "tracking", "blob", "store", "model", "resources", "protocol", "yaml", "io"} | PURE,
    "vault": {"store", "model", "resources", "protocol", "yaml", "io", "io/seal"} | PURE,
    "access": PURE,
    "oidc": {"store", "yaml", "io", "io/signature"} | PURE,
    "api": {"access", "oidc", "vault", "control", "catalog", "submission", "fetch", "schedule", "tracking", "blob", "store", "environment", "model", "resources", "protocol", "yaml", "io"} | PURE,
    "client": {"schedule", "model", "resources", "protocol", "yaml", "io", "io/tls", "io/posix"} | PURE,
    "cli": {"client", "submission", "schedule", "model", "resources", "protocol", "yaml", "io", "io/posix", "io/tls"} | PURE,
}
# src/app is where concrete classes meet: it may include everything. Tests may use the real
# implementations of the interfaces that their folder is given.
FOR_TESTS = {"io/posix", "store"}

# ---- the outside world enters through src/io, nowhere else ----
BANNED = {
    "time()": r"(?<![\w.>:])(?:std::|::)?time\s*\(\s*(?:nullptr|NULL|0|&\w+)\s*\)",
    "rand()": r"(?<![\w.>:])(?:std::|::)?s?rand\s*\(",
    "random_device": r"\brandom_device\b",
    "getenv()": r"(?<![\w.>])(?:std::|::)?(?:secure_)?getenv\s*\(",
    "fork()": r"(?<![\w.>:])(?:::)?v?fork\s*\(",
    "system()": r"(?<![\w.>:])(?:std::|::)?(?:system|popen)\s*\(",
    "clock::now()": r"\b(?:system_clock|steady_clock|high_resolution_clock)::now\b",
    "sleep()": r"(?<![\w.>])::sleep\s*\(|\b(?:usleep|nanosleep|sleep_for|sleep_until)\s*\(",
}
ALL = set(BANNED)
BANNED_ALLOWED = {  # file or folder -> what it may use
    "io/posix": ALL,  # the real world
    "io/tls": ALL,
    "supervisor": ALL,  # stands alone, without the io interfaces, so that it stays tiny
    "app": ALL,  # main() reads the configuration once and builds the real world
    "client/files.cc": {"getenv()"},  # the command line's own environment, read in this one place
    # A command line waits in its own process, and may start a browser.
    "cli/server_commands.cc": {"sleep()"},
    "cli/job_commands.cc": {"system()"},
    # Both block on threads of their own, apart from the loop and its clock.
    "agent/supervisor_link.cc": {"sleep()"},
    "agent/environment/again.cc": {"sleep()"},
    "agent/environment/prepare.cc": {"sleep()"},
    "environment/programs.cc": {"fork()"},
    "agent/environment/fetch_uv.cc": {"sleep()"},
}

UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")


def sources(*suffixes):
    return sorted(p for p in SRC.rglob("*") if p.is_file() and p.suffix in suffixes)


def short(path):
    return str(path.relative_to(ROOT))


def folder_of(relative):
    """The layer that a path below src/ belongs to."""
    parts = relative.split("/")
    two = "/".join(parts[:2])
    return two if two in LAYERS and len(parts) > 2 else parts[0]


def without_comments_and_texts(text):
    """The same text with comments and string literals blanked; lines stay where they are."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\((?:.|\n)*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S
    )
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def layer_findings(relative, text):
    """`relative` is a path below src/."""
    folder = folder_of(relative)
    if folder == "app":
        return
    allowed = LAYERS.get(folder)
    if allowed is None:
        yield f"src/{relative}: folder {folder} is in no layer of tests/tidy/tidy.py"
        return
    is_test = relative.endswith("_test.cc") or "test" in Path(relative).stem.split("_")
    for number, line in enumerate(text.split("\n"), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not found or "/" not in found[1]:
            continue
        target = folder_of(found[1])
        if target == folder or target in allowed or (is_test and target in FOR_TESTS):
            continue
        yield f"src/{relative}:{number}: {folder} must not include {found[1]}"


def banned_findings(relative, text):
    if relative.endswith("_test.cc"):
        return
    allowed = set()
    for place, names in BANNED_ALLOWED.items():
        if relative == place or relative.startswith(place + "/"):
            allowed |= names
    for number, line in enumerate(without_comments_and_texts(text).split("\n"), 1):
        for name, pattern in BANNED.items():
            if name not in allowed and re.search(pattern, line):
                yield f"src/{relative}:{number}: {name} outside src/io"


def text_findings(name, text):
    for number, line in enumerate(text.split("\n"), 1):
        if UNFINISHED.search(line):
            yield f"{name}:{number}: unfinished work is an issue, not a comment"
        if line.rstrip("\r") != line or "\t" in line:
            yield f"{name}:{number}: tab or carriage return"


def document_findings(name, text, exists, words):
    """Every `code` span that looks like a path or a symbol must exist."""
    text = re.sub(r"```.*?```", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    for number, line in enumerate(text.split("\n"), 1):
        for span in re.findall(r"`([^`]+)`", line):
            first = span.split()[0]
            if re.fullmatch(r"[A-Za-z_][\w]*(?:::~?\w+)*(?:\(\))?", span):
                parts = re.sub(r"\(\)$", "", span).split("::")
                missing = [part for part in parts if part not in words and not exists(part)]
                if missing:
                    yield f"{name}:{number}: `{span}`: nothing is called {missing[0]}"
            elif re.fullmatch(r"\.?/?[\w.*{}$-]+(?:/[\w.*{}-]*)+|[\w-]+\.(?:h|cc|py|md|txt|json)", first):
                if "{" in first or "$" in first or first.startswith(("/", "~")):
                    continue  # a route or a pattern, not a file
                if not exists(first.removeprefix("./")):
                    yield f"{name}:{number}: `{first}` does not exist"


def check_layers():
    for path in sources(".h", ".cc", ".c"):
        yield from layer_findings(str(path.relative_to(SRC)), path.read_text())


def check_banned():
    for path in sources(".h", ".cc", ".c"):
        yield from banned_findings(str(path.relative_to(SRC)), path.read_text())


def own_files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    if len(listed) < 2:
        raise SystemExit("tidy: git names no files here: is this a checkout, and yours?")
    for name in listed:
        path = ROOT / name
        if name and path.is_file() and path.suffix in (".h", ".cc", ".c", ".py", ".sh", ".cmake"):
            yield path


def format_findings(program, paths):
    """The first place of each file that .clang-format would change."""
    done = subprocess.run(
        [program, "--dry-run", "-Werror", "--ferror-limit=1", *paths], cwd=ROOT, capture_output=True, text=True
    )
    found = re.findall(r"^(.+:\d+):\d+: error: code should be clang-formatted", done.stderr, re.M)
    for place in found:
        yield f"{place}: not as .clang-format says: scripts/format"
    if done.returncode != 0 and not found:
        yield f"clang-format failed: {done.stderr.strip()[:200]}"


def check_format():
    program = ROOT / ".venv" / "bin" / "clang-format"
    if not program.exists():
        yield "there is no .venv/bin/clang-format: scripts/python-env .venv"
        return
    paths = [short(path) for path in own_files() if path.suffix in (".h", ".cc", ".c")]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        parts = [paths[at : at + 50] for at in range(0, len(paths), 50)]
        for findings in pool.map(lambda part: list(format_findings(str(program), part)), parts):
            yield from findings


def check_text():
    for path in own_files():
        if path != Path(__file__).resolve():
            yield from text_findings(short(path), path.read_text())


def check_documents():
    words = set()
    for folder in ("src", "tests", "scripts", "bench", "fuzz", "examples"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".h", ".cc", ".c", ".py", ".txt", ""):
                try:
                    words.update(re.findall(r"\w+", path.read_text()))
                except UnicodeDecodeError:
                    pass
    for name in ("CMakeLists.txt", "CMakePresets.json"):
        words.update(re.findall(r"\w+", (ROOT / name).read_text()))

    def exists(name):
        name = name.rstrip("/")
        return any(any(base.glob(name)) if "*" in name else (base / name).exists() for base in (ROOT, SRC))

    for name in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        path = ROOT / name
        if not path.exists():
            yield f"{name} is missing"
        else:
            yield from document_findings(name, path.read_text(), exists, words)


def kind_findings(files):
    for kind, places in counts.job_kind_places(files).items():
        if len(places) > counts.MOST_PLACES:
            yield f"{kind} is named in {len(places)} places, at most {counts.MOST_PLACES}: {', '.join(places)}"


def check_kinds():
    files = counts.read_product()
    if not counts.job_kind_places(files):
        yield "model/job_kind.h names no kinds of jobs"
    yield from kind_findings(files)


def compile_alone(header):
    command = os.environ.get("CXX", "g++").split() + [
        "-std=gnu++23", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-I", str(SRC),
        "-I", str(SUPPORT), "-x", "c++", "-",
    ]
    done = subprocess.run(
        command, input=f'#include "{header.relative_to(SRC)}"\n', capture_output=True, text=True, timeout=300
    )
    return done.returncode == 0, done.stderr.strip().split("\n")[0]


def closure(header, seen):
    """The header and all project headers below it."""
    if header in seen or not header.is_file():
        return seen
    seen.add(header)
    for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', header.read_text(), re.M):
        found = (base / name for base in (SRC, SUPPORT) if (base / name).is_file())
        closure(next(found, header.parent / name), seen)
    return seen


def check_headers():
    cache_file = ROOT / "build" / "tidy-headers.json"
    try:
        cache = set(json.loads(cache_file.read_text()))
    except (OSError, ValueError):
        cache = set()
    keys = {}
    for header in sources(".h"):
        digest = hashlib.sha256()
        for part in sorted(closure(header, set())):
            digest.update(os.path.relpath(part, SRC).encode() + b"\0" + part.read_bytes())
        keys[header] = digest.hexdigest()
    todo = [header for header, key in keys.items() if key not in cache]
    good = {key for key in keys.values() if key in cache}
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for header, (fine, why) in zip(todo, pool.map(compile_alone, todo)):
            if fine:
                good.add(keys[header])
            else:
                yield f"{short(header)} does not compile alone: {why}"
    cache_file.parent.mkdir(exist_ok=True)
    cache_file.write_text(json.dumps(sorted(good)))


def check_itself():
    """Each rule finds what it is there to find, and leaves good text alone."""

    def expect(findings, count, what):
        if len(list(findings)) != count:
            yield f"the rule for {what} is broken"

    yield from expect(layer_findings("base/a.h", '#include "io/loop.h"\n'), 1, "layers")
    yield from expect(layer_findings("io/a.cc", '#include "io/posix/loop.h"\n'), 1, "layers")
    yield from expect(layer_findings("model/a.h", '#include "base/json.h"\n#include <map>\n'), 0, "layers")
    yield from expect(layer_findings("nowhere/a.h", "\n"), 1, "layers")
    yield from expect(banned_findings("api/a.cc", "auto t = std::chrono::system_clock::now();"), 1, "banned calls")
    yield from expect(banned_findings("api/a.cc", 'x = getenv("HOME"); y = ::fork();'), 2, "banned calls")
    yield from expect(banned_findings("api/a.cc", '// fork() here\ncall("rand()"); clock.time(0);'), 0, "banned calls")
    yield from expect(text_findings("a", "// TO" + "DO: more\n\tx\n"), 2, "text")
    program = ROOT / ".venv" / "bin" / "clang-format"
    if program.exists():
        with tempfile.TemporaryDirectory(dir=ROOT) as folder:
            bad, good = Path(folder) / "bad.cc", Path(folder) / "good.cc"
            bad.write_text("int  a;\nint  b;\n")
            good.write_text("int a;\n")
            yield from expect(format_findings(str(program), [str(bad), str(good)]), 1, "formatting")
            yield from expect(format_findings(str(program), [str(Path(folder) / "none.cc")]), 1, "formatting")
    kinds = [("model/job_kind.h", "enum class JobType { Run, Sweep };")]
    named = [(f"a/{name}.cc", "x = JobType::Sweep;") for name in "bcd"]
    yield from expect(kind_findings(kinds + named), 0, "kinds of jobs")
    yield from expect(kind_findings(kinds + named + [("e/e.h", 'if (type == "Sweep")')]), 1, "kinds of jobs")
    yield from expect(kind_findings(kinds + named + [("b/b.h", "// JobType::Sweep")]), 0, "kinds of jobs")
    yield from expect(kind_findings(kinds + named + [("e/sweep_e.h", "JobType::Sweep")]), 0, "kinds of jobs")
    there = {"src/a.h", "a.h"}.__contains__
    yield from expect(document_findings("d", "`src/a.h` `Thing` `Thing::run()`", there, {"Thing", "run"}), 0, "documents")
    yield from expect(document_findings("d", "`src/b.h` `Absent`", there, set()), 2, "documents")


CHECKS = {
    "itself": check_itself,
    "layers": check_layers,
    "banned calls": check_banned,
    "format": check_format,
    "text": check_text,
    "documents": check_documents,
    "kinds of jobs": check_kinds,
    "headers compile alone": check_headers,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--notes")
    notes = parser.parse_args().notes
    failed = 0
    for name, check in CHECKS.items():
        findings = list(check())
        for finding in findings[:40]:
            print(f"tidy {name}: {finding}")
        verdict = "failed" if findings else "passed"
        failed += bool(findings)
        if notes:
            reason = f"{len(findings)} findings, the first: {findings[0]}" if findings else ""
            with open(notes, "a", encoding="utf-8") as out:
                out.write(f"{verdict}\ttidy {name}\t{reason}\n")
    print(f"tidy: {len(CHECKS) - failed} rules hold, {failed} do not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""usage: tests/tidy/counts.py

What an addition costs and what the source weighs, counted: the places that name a kind of job, the
places that name a kind of document, long lines, long files, and what the compiler took when
`bench/build` last measured it. Places per kind of job are also a rule of tests/tidy/tidy.py.
"""
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

# What one place is. A kind of job is named by its enumerator (`JobType::Sweep`) or by its wire name
# as a text of its own ("Sweep"); a header and its source are one place, however often they name it,
# since one looks there once. Not counted is what a new kind brings along: its descriptions, all of
# which are in src/resources, and the files that are about it alone, whose names begin with its own
# (sweep_job.cc). Nor are tests.
MOST_PLACES = 4


def is_test(path):
    return path.stem.endswith("_test") or path.stem.startswith("test_")


def product():
    return [p for p in sorted(SRC.rglob("*")) if p.suffix in (".h", ".cc", ".c") and not is_test(p)]


def without_comments(text):
    text = re.sub(r"^\s*#\s*include[^\n]*", "", text, flags=re.M)
    return re.sub(r'//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\\n])*")', lambda m: m.group(1) or " ", text, flags=re.S)


def job_kinds(text):
    """The enumerators of JobType, in the text of model/job_kind.h."""
    found = re.search(r"enum class JobType \{([^}]*)\}", text)
    return re.findall(r"\w+", found[1]) if found else []


def names_job_kind(text, kind):
    # A heading "Command" stands above a command line.
    return re.search(rf'\bJobType::{kind}\b|(?<!heading\()"{kind}"', without_comments(text)) is not None


def places_of_job_kind(kind, files):
    """`files`: (path below src/, text)."""
    places = set()
    for path, text in files:
        stem = Path(path).stem
        if path.startswith("resources/") or re.match(rf"{kind.lower()}(?:_|$)", stem):
            continue
        if names_job_kind(text, kind) or (path == "model/job_kind.h" and kind in job_kinds(text)):
            places.add(str(Path(path).with_suffix("")))
    return sorted(places)


def read_product():
    return [(str(p.relative_to(SRC)), p.read_text()) for p in product()]


def job_kind_places(files):
    kinds = job_kinds(dict(files).get("model/job_kind.h", ""))
    return {kind: places_of_job_kind(kind, files) for kind in kinds}


# A kind of document is named by a text that is its word, or by a path with its word in it, as
# "/models/{name}"; each such text is a place.
DOCUMENTS = {
    "data": ("data",),
    "model": ("model", "models"),
    "environment": ("environment", "environments"),
    "component": ("component", "components"),
    "datastore": ("datastore", "datastores"),
    "compute": ("compute", "computes"),
    "workspace": ("workspace", "workspaces"),
}


def places_of_document(words, text):
    alternatives = "|".join(words)
    count = 0
    for literal in re.findall(r'"((?:\\.|[^"\\\n])*)"', without_comments(text)):
        if " " not in literal and re.search(rf"(?:^|/)(?:{alternatives})(?:/|$)", literal):
            count += 1
    return count


def lines_of(paths):
    return sum(p.read_bytes().count(b"\n") for p in paths)


def compiler_words():
    try:
        last = json.loads((ROOT / "bench" / "results" / "build.json").read_text())
        return f"{last['cpu_seconds_per_1000_lines']:.1f} at {last['commit']} ({last['lines']:,} lines)"
    except (OSError, ValueError, KeyError):
        return "not measured: bench/build"


def main():
    files = read_product()
    print("places that name a kind of job (at most 4, see tests/tidy/counts.py)")
    for kind, places in job_kind_places(files).items():
        print(f"  {kind:12} {len(places):4}   {', '.join(places)}")
    print("places that name a kind of document")
    for word, words in DOCUMENTS.items():
        counts = [n for n in (places_of_document(words, text) for _, text in files) if n]
        print(f"  {word:12} {sum(counts):4}   in {len(counts)} files")
    everything = [
        p
        for folder in ("src", "tests", "fuzz", "bench")
        for p in sorted((ROOT / folder).rglob("*"))
        if p.suffix in (".h", ".cc", ".c") and p.is_file()
    ]
    long_lines = sum(len(line) > 100 for p in everything for line in p.read_text().split("\n"))
    long_files = [(lines_of([p]), p.relative_to(ROOT)) for p in everything if lines_of([p]) > 900]
    built = product()
    print(f"lines over 100 columns                  {long_lines:>7,}")
    print(f"lines of C and C++ that are built       {lines_of(built):>7,}")
    print(f"lines of C and C++ in tests             {lines_of(set(everything) - set(built)):>7,}")
    print(f"compiler CPU seconds per 1,000 lines    {compiler_words():>7}")
    print(f"files over 900 lines                    {len(long_files):>7}")
    for count, path in sorted(long_files, reverse=True):
        print(f"  {count:6,}  {path}")


if __name__ == "__main__":
    main()

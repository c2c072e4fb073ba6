#!/usr/bin/env python3
"""usage: bench/readme.py [--check]

Writes the figures of README.md, in plain words, from bench/results/latest.json: the lines between the
two `figures` marks. `bench/run` calls it; with --check it only tells whether they are what it would write.
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures: written by bench/readme.py -->\n", "<!-- /figures -->\n"


def sentences(results):
    raw = {result["figure"]: result["raw"] for result in results}
    beside = {result["figure"]: result["beside"] for result in results}
    submit, start, jobs, held = raw["submit"], raw["start"], raw["jobs"], raw["held"]
    memory = raw["memory"]
    others = [f"{name} {raw[key]['rate']:,.0f}" for key, name in (("ray", "Ray"), ("slurm", "Slurm")) if raw.get(key, {}).get("rate")]
    mlflow = beside["start"].rsplit("median ", 1)[-1].removesuffix(" ms").replace(",", "")
    return [
        f"**{submit['p50_ms']:.0f} ms** from submitting a job to its first line of output, on a node that is there.",
        f"**{start['median_ms']:.0f} ms** from `turnout up` to the first answer, with a thousand jobs in its store"
        + (f" (`mlflow server`: {float(mlflow) / 1000:.0f} s)" if mlflow.isdigit() else "")
        + f"; {memory['server'] + memory['agent'] + memory['supervisor']:.0f} MiB for server and node together when idle.",
        f"**{jobs['rate']:,.0f} jobs a second** from submission to recorded end, each with a log and an exit code that survive a crash; a bare loop that"
        f" only starts the same programs does {jobs['loop']:,.0f}" + (f"; {' and '.join(others)} on the same machine" if others else "") + ".",
        f"**{held['count'] / 1e6:.0f} million jobs** can wait in {held['most_mib']:,.0f} MiB, and are all there again {held['recovery_s']:.0f} s after the server was killed.",
    ]


def written(text, results):
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit("README.md has no place for the figures")
    return text[: text.index(BEGIN)] + BEGIN + "".join(f"* {one}\n" for one in sentences(results)) + text[text.index(END):]


def main():
    readme = ROOT / "README.md"
    text = readme.read_text()
    now = written(text, json.loads((ROOT / "bench" / "results" / "latest.json").read_text())["results"])
    if "--check" in sys.argv:
        if now != text:
            raise SystemExit("the figures of README.md are not those of bench/results/latest.json: run bench/readme.py")
    else:
        readme.write_text(now)


if __name__ == "__main__":
    main()

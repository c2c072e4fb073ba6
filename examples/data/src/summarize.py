"""Reads a table, a folder and an address; writes a folder and a file."""
import argparse
import csv
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("table", "letters", "uri", "unit", "scores", "note"):
    parser.add_argument("--" + name, required=True)
args = parser.parse_args()

with open(args.table) as file:
    rows = list(csv.DictReader(file))
mean = sum(float(row[args.unit]) for row in rows) / len(rows)
print(f"{len(rows)} cities, {mean:.1f} {args.unit} on average")
print("letters:", ", ".join(path.read_text().strip() for path in sorted(Path(args.letters).iterdir())))
print("direct is an address:", args.uri.split("://")[0] + "://…/" + args.uri.rsplit("/", 1)[-1])

scores = Path(args.scores)
scores.mkdir(parents=True, exist_ok=True)
(scores / "mean.txt").write_text(f"{mean:.1f}\n")
Path(args.note).write_text(f"from {len(rows)} rows\n")

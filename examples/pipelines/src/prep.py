"""Keeps the rows of a table that can be read."""
import csv
import os
import sys

raw, rows, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
kept = [row for row in csv.DictReader(open(raw)) if row["temperature"]][:rows]
with open(os.path.join(out, "table.csv"), "w", newline="") as file:
    writer = csv.DictWriter(file, kept[0])
    writer.writeheader()
    writer.writerows(kept)
print("kept", len(kept), "rows")

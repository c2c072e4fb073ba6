"""Fits a line through the temperatures of the days, by gradient descent."""
import argparse
import csv
import json
import os

parser = argparse.ArgumentParser()
parser.add_argument("--table")
parser.add_argument("--rate", type=float)
parser.add_argument("--model")
parser.add_argument("--note", default="")
args = parser.parse_args()
values = [float(row["temperature"]) for row in csv.DictReader(open(os.path.join(args.table, "table.csv")))]
middle = (len(values) - 1) / 2
slope, offset = 0.0, 0.0
for _ in range(5000):
    errors = [slope * (day - middle) + offset - value for day, value in enumerate(values)]
    slope -= args.rate * sum(e * (day - middle) for day, e in enumerate(errors)) / len(values)
    offset -= args.rate * sum(errors) / len(values)
loss = sum(e * e for e in errors) / len(values)
with open(os.path.join(args.model, "model.json"), "w") as file:
    json.dump({"slope": slope, "offset": offset, "loss": loss, "rate": args.rate}, file)
print(f"rate {args.rate}: {slope:+.2f} degrees a day, loss {loss:.2f} {args.note}".rstrip())

"""Learns from heights (cm) and ages (years) what people weigh (kg); the people are made up."""
import argparse
from pathlib import Path

import joblib
import numpy
from sklearn.linear_model import LinearRegression

arguments = argparse.ArgumentParser()
arguments.add_argument("--model", type=Path, required=True)
arguments.add_argument("--people", type=int, default=500)
arguments = arguments.parse_args()

random = numpy.random.default_rng(7)
people = numpy.column_stack([random.normal(170, 10, arguments.people), random.uniform(18, 80, arguments.people)])
weights = 0.9 * people[:, 0] + 0.1 * people[:, 1] - 85 + random.normal(0, 4, arguments.people)
model = LinearRegression().fit(people, weights)
print(f"R2 is {model.score(people, weights):.2f}")
arguments.model.mkdir(parents=True, exist_ok=True)
joblib.dump(model, arguments.model / "weights.joblib")

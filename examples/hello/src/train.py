"""Fits a line to noisy points by gradient descent; logs the loss, leaves the line in outputs/."""
import argparse
import json
from pathlib import Path

import mlflow
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--noise", type=float, default=0.1)
parser.add_argument("--steps", type=int, default=50)
args = parser.parse_args()

random = np.random.default_rng(0)
x = np.linspace(-1, 1, 200)
y = 3 * x + 1 + random.normal(0, args.noise, x.size)

slope = intercept = 0.0
with mlflow.start_run():
    mlflow.log_params({"noise": args.noise, "steps": args.steps})
    for step in range(args.steps):
        error = slope * x + intercept - y
        slope -= 0.5 * float(np.mean(error * x))
        intercept -= 0.5 * float(np.mean(error))
        mlflow.log_metric("loss", float(np.mean(error**2)), step=step)
        if step % 10 == 0:
            print(f"step {step:3d}   loss {np.mean(error**2):.4f}", flush=True)

Path("outputs").mkdir(exist_ok=True)
Path("outputs/line.json").write_text(json.dumps({"slope": slope, "intercept": intercept}))
print(f"y = {slope:.2f} x + {intercept:.2f}")

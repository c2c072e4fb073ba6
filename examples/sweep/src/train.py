"""One trial: gradient descent with momentum on a narrow valley. The metric is what is left after 30 steps."""
import argparse

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, required=True)
parser.add_argument("--momentum", type=float, required=True)
args = parser.parse_args()

x, y, speed_x, speed_y = 4.0, 4.0, 0.0, 0.0
for step in range(30):
    loss = 0.5 * (x * x + 0.1 * y * y)
    mlflow.log_metric("loss", loss, step=step)
    speed_x = args.momentum * speed_x - args.rate * x
    speed_y = args.momentum * speed_y - args.rate * 0.1 * y
    x, y = x + speed_x, y + speed_y
loss = 0.5 * (x * x + 0.1 * y * y)
mlflow.log_metric("loss", loss, step=30)
print(f"rate {args.rate}   momentum {args.momentum}   loss {loss:.4f}")

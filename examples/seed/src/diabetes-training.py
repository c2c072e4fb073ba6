"""Trains on scikit-learn's own diabetes data: a gradient-boosted model that predicts how the disease
progressed after one year. Logs with plain MLflow; the model and a plot go to outputs/."""
import json
import time
from pathlib import Path

import joblib
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mlflow
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

parameters = {"n_estimators": 200, "learning_rate": 0.02, "max_depth": 2, "subsample": 0.8}
outputs = Path("outputs")
outputs.mkdir(exist_ok=True)

data = load_diabetes()
x_train, x_test, y_train, y_test = train_test_split(
    data.data, data.target, test_size=0.25, random_state=0
)
print(f"data: {len(x_train)} patients to train on, {len(x_test)} to test on", flush=True)

with mlflow.start_run():
    mlflow.log_params(parameters)
    mlflow.log_param("patients", len(data.target))

    begin = time.perf_counter()
    model = GradientBoostingRegressor(random_state=0, **parameters)
    model.fit(x_train, y_train)

    # The error after each tree, on data that the model has not seen.
    errors = []
    for step, predicted in enumerate(model.staged_predict(x_test), start=1):
        errors.append(mean_squared_error(y_test, predicted))
        if step % 20 == 0:
            mlflow.log_metric("test_mse", errors[-1], step=step)
            mlflow.log_metric("train_mse", float(model.train_score_[step - 1]), step=step)
            print(f"trees {step:3d}   test mse {errors[-1]:8.1f}", flush=True)

    predicted = model.predict(x_test)
    result = {
        "mse": mean_squared_error(y_test, predicted),
        "mae": mean_absolute_error(y_test, predicted),
        "r2": r2_score(y_test, predicted),
        "training_seconds": time.perf_counter() - begin,
    }
    mlflow.log_metrics(result)

    joblib.dump(model, outputs / "diabetes-model.joblib")
    (outputs / "metrics.json").write_text(json.dumps(result, indent=4))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    left.plot(range(1, len(errors) + 1), errors)
    left.set(title="error by number of trees", xlabel="trees", ylabel="test mse")
    right.scatter(y_test, predicted, s=12)
    right.plot([0, 350], [0, 350], color="grey", linewidth=1)
    right.set(title="progression after one year", xlabel="measured", ylabel="predicted")
    figure.tight_layout()
    figure.savefig(outputs / "diabetes.png", dpi=110)
    mlflow.set_tag("model", "outputs/diabetes-model.joblib")

print("r2 %(r2).3f   mae %(mae).1f   mse %(mse).1f" % result, flush=True)

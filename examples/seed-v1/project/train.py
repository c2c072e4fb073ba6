"""Step 1: a training script. It is not tied to any compute target."""
import argparse
import os

import joblib
from azureml.core import Run
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, default=0.5)
alpha = parser.parse_args().alpha

run = Run.get_context()
x, y = load_diabetes(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0)
model = Ridge(alpha=alpha).fit(x_train, y_train)
mse = mean_squared_error(y_test, model.predict(x_test))
run.log("alpha", alpha)
run.log("mse", mse)
print(f"alpha is {alpha:.2f}, and mse is {mse:.1f}")

os.makedirs("outputs", exist_ok=True)
joblib.dump(model, "outputs/ridge.joblib")

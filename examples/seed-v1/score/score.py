"""Step 6: what the deployment runs: init() once in each instance, run() for each request."""
import json
import os
from pathlib import Path

import joblib


def init():
    global model
    model = joblib.load(next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("ridge.joblib")))


def run(raw_data):
    return [round(value) for value in model.predict(json.loads(raw_data)["data"]).tolist()]

"""What a deployment runs: init() once in each instance, run() for each request."""
import json
import os
from pathlib import Path

import joblib


def init():
    global model
    file = next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("weights.joblib"))
    model = joblib.load(file)
    print("the model is loaded")


def run(raw_data):
    people = json.loads(raw_data)["data"]
    return [round(weight, 1) for weight in model.predict(people).tolist()]

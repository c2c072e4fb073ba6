"""A trial: chooses an algorithm and its settings by what was found before, compares it with the
others by the same rows, trains it with all of them, and logs what there is to know of it."""

import argparse
import json
import os
import shutil
import sys
import time

import numpy
import pandas

from . import planner, spaces
from .features import make_features
from .tables import Refused

HERE = os.path.dirname(os.path.abspath(__file__))


class Data:
    """What the setup wrote down."""

    def __init__(self, folder):
        with open(os.path.join(folder, "setup.json"), encoding="utf-8") as file:
            self.setup = json.load(file)
        self.settings = self.setup["settings"]
        self.task = self.setup["task"]
        self.target = self.setup["target"]
        self.metric = self.settings["metric"]
        self.training = pandas.read_parquet(os.path.join(folder, "training.parquet"))
        self.validation = self.optional(folder, "validation")
        self.test = self.optional(folder, "test")
        self.names = [c["name"] for c in self.setup["columns"] if c["kind"] != "drop"]

    @staticmethod
    def optional(folder, name):
        path = os.path.join(folder, name + ".parquet")
        return pandas.read_parquet(path) if os.path.exists(path) else None

    @property
    def blocked(self):
        return (self.settings.get("featurizationSettings") or {}).get("blockedTransformers") or ()

    def splits(self):
        """Rows to train with and rows to compare by, fold by fold; the latter may be a table of
        their own."""
        kind = self.setup["folds"]
        if kind == "validation":
            return [(self.training, self.validation, None)]
        numbers = (
            [numpy.asarray(one) for one in self.setup["splits"]]
            if kind == "splits"
            else [
                (numpy.asarray(self.setup["number"]) != fold).astype(int)
                for fold in range(max(self.setup["number"]) + 1)
            ]
        )
        return [
            (self.training[mask == 1], self.training[mask == 0], numpy.flatnonzero(mask == 0))
            for mask in numbers
        ]

    def compared(self):
        """All rows by which models are compared, in the order of their predictions."""
        return pandas.concat([held for _, held, _ in self.splits()], ignore_index=True)


SMALL = 200_000  # cells of a table, for which threads cost more than they bring


def cores(data):
    """How many threads algorithms may use; all libraries are told."""
    from threadpoolctl import threadpool_limits

    most = (data.settings.get("limitSettings") or {}).get("maxCoresPerTrial") or -1
    count = len(os.sched_getaffinity(0))
    if data.training.size <= SMALL:
        count = 1
    count = max(1, min(count, most) if most > 0 else count)
    threadpool_limits(count)
    return count


def parse(arguments, more=()):
    parser = argparse.ArgumentParser()
    for name in ("index", "data", "history", "result", "model", *more):
        parser.add_argument("--" + name)
    parser.add_argument("--models", nargs="*", default=[])
    return parser.parse_args(arguments)


class Run:
    """The run of this job, where all is logged; nothing where there is none."""

    def __init__(self):
        self.id = os.environ.get("MLFLOW_RUN_ID")
        if self.id:
            from mlflow.tracking import MlflowClient

            self.client = MlflowClient()

    def said(self):
        """What an earlier attempt of the same trial has chosen."""
        if not self.id:
            return None
        text = self.client.get_run(self.id).data.tags.get("automl_choice")
        return json.loads(text) if text else None

    def tags(self, tags):
        if self.id:
            from mlflow.entities import RunTag

            self.client.log_batch(self.id, tags=[RunTag(*pair) for pair in tags.items()])

    def metrics(self, scores):
        if self.id:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            self.client.log_batch(
                self.id,
                metrics=[
                    Metric(name, float(value), now, 0)
                    for name, value in scores.items()
                    if numpy.isfinite(value)
                ],
            )


def main(arguments):
    args = parse(arguments)
    data = Data(args.data)
    if data.task == "forecasting":
        from . import forecasts

        return forecasts.trial(args, data)
    index = int(args.index)
    run = Run()
    choice = run.said()
    if choice is None:
        choice = planner.choose(
            index,
            planner.read_history(args.history),
            data.settings["algorithms"],
            data.settings["maximize"],
            data.settings["job"],
            len(data.training),
        )
    algorithm, settings = choice
    run.tags(
        {
            "run_algorithm": algorithm,
            "automl_choice": json.dumps([algorithm, settings]),
            "automl_settings": json.dumps(settings),
        }
    )
    print(f"{algorithm}: {json.dumps(settings)}")
    began = time.monotonic()
    count, seed = cores(data), index

    def fresh():
        return pipeline(data, algorithm, settings, count, seed)

    folds, predictions, scores = compare(data, fresh)
    model = fresh().fit(data.training[data.names], data.training[data.target])
    took = time.monotonic() - began
    finish(args, data, run, index, algorithm, settings, model, predictions, scores, folds, took)


def pipeline(data, algorithm, settings, count, seed):
    from sklearn.pipeline import Pipeline

    features = make_features(
        data.setup["columns"], spaces.SCALING.get(spaces.family(algorithm), "none"), data.blocked
    )
    model = spaces.make_model(algorithm, settings, data.task, count, seed)
    return Pipeline([("features", features), ("model", model)])


def compare(data, fresh):
    """Scores of each fold, the predictions of all rows that were held back, and the mean scores."""
    folds, predictions = [], []
    for number, (train, held, _) in enumerate(data.splits()):
        model = fresh().fit(train[data.names], train[data.target])
        predicted = predict(model, data, held)
        predictions.append(predicted)
        folds.append(score(data, held[data.target], predicted))
        print(f"  fold {number + 1}: {data.metric} = {folds[-1].get(data.metric):.6g}", flush=True)
    from .scores import mean_of

    return folds, numpy.concatenate(predictions), mean_of(folds)


def predict(model, data, frame):
    """Numbers; of classes the probability of each that the training data has."""
    if data.task != "classification":
        return numpy.asarray(model.predict(frame[data.names]), float)
    given = model.predict_proba(frame[data.names])
    classes = list(data.setup["classes"])
    out = numpy.zeros((len(frame), len(classes)))
    for column, known in enumerate(model.classes_):
        out[:, classes.index(known.item() if hasattr(known, "item") else known)] = given[:, column]
    return out


def score(data, y, predicted):
    from . import scores

    if data.task == "classification":
        return scores.of_classes(y, predicted, data.setup["classes"])
    return scores.of_numbers(y, predicted, data.setup["spread"])


def finish(args, data, run, index, algorithm, settings, model, predictions, scores, folds, took):
    """Everything that a trial or an ensemble leaves behind; the primary metric comes last, since
    the job goes by it."""
    from . import charts, script

    os.makedirs("outputs", exist_ok=True)
    if data.metric not in scores or not numpy.isfinite(scores[data.metric]):
        raise Refused(f"{data.metric} cannot be told of these rows")
    held = data.compared()
    charts.draw(data, held[data.target], predictions, algorithm)
    if data.test is not None:
        tested = score(data, data.test[data.target], predict(model, data, data.test))
        run.metrics({"test_" + name: value for name, value in tested.items()})
        print("by test_data: " + f"{data.metric} = {tested.get(data.metric, float('nan')):.6g}")
    explain = (data.settings.get("trainingSettings") or {}).get("enableModelExplainability")
    if explain is not False and is_best(args, data, scores[data.metric]):
        importance(data, model, held, run)
    script.write(data, algorithm, settings, index)
    save(data, model, run)
    leave(args, index, algorithm, settings, model, predictions, scores, data.metric, took)
    run.metrics({"fit_time": took, **{n: v for n, v in scores.items() if n != data.metric}})
    for number, fold in enumerate(folds):
        run.metrics({f"fold_{number + 1}_{data.metric}": fold[data.metric]})
    run.metrics({data.metric: scores[data.metric]})
    print(f"{data.metric} = {scores[data.metric]:.6g} after {took:.1f} s")


def leave(args, index, algorithm, settings, model, predictions, scores, metric, took):
    import cloudpickle

    os.makedirs(args.model, exist_ok=True)
    with open(os.path.join(args.model, "model.pkl"), "wb") as file:
        cloudpickle.dump(model, file)
    numpy.save(os.path.join(args.model, "predictions.npy"), predictions)
    told = {
        "index": index,
        "algorithm": algorithm,
        "settings": settings,
        "score": scores[metric],
        "seconds": took,
    }
    with open(os.path.join(args.model, "trial.json"), "w", encoding="utf-8") as file:
        json.dump(told, file)
    os.makedirs(args.result, exist_ok=True)
    with open(os.path.join(args.result, f"{index}.json"), "w", encoding="utf-8") as file:
        json.dump(told, file)


def is_best(args, data, score):
    """Whether no trial that has ended is better: only such a one can be the best of all."""
    sign = 1 if data.settings["maximize"] else -1
    folder = args.history or args.result
    return all(sign * score >= sign * one["score"] for one in planner.read_history(folder).values())


IMPORTANT_ROWS, REPEATS = 1_000, 2


def importance(data, model, held, run):
    """By how much the score falls when a column is shuffled (permutation importance)."""
    from sklearn.inspection import permutation_importance

    rows = held if len(held) <= IMPORTANT_ROWS else held.sample(IMPORTANT_ROWS, random_state=0)
    sign = 1 if data.settings["maximize"] else -1

    def scorer(model, X, y):
        return sign * score(data, y, predict(model, data, X)).get(data.metric, 0.0)

    names = data.names
    if len(names) > 100:
        return
    found = permutation_importance(
        model, rows[names], rows[data.target], scoring=scorer, n_repeats=REPEATS, random_state=0
    )
    ranked = sorted(zip(names, found.importances_mean), key=lambda pair: -pair[1])
    write_json(
        "feature_importance.json", [{"column": name, "importance": float(v)} for name, v in ranked]
    )
    from . import charts

    charts.bars("feature_importance", ranked[:20], f"what {data.metric} loses without the column")
    print("columns that matter most: " + ", ".join(f"{n} {v:.4f}" for n, v in ranked[:5]))


def write_json(name, value):
    with open(os.path.join("outputs", name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)


def requirements(more=()):
    """The packages that the model needs, as they are here."""
    from importlib.metadata import PackageNotFoundError, version

    out = []
    for name in ("scikit-learn", "pandas", "numpy", "scipy", "cloudpickle", *more):
        try:
            out.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            pass
    return out


def used_packages(model):
    text = repr(model) + " ".join(type(m).__module__ for m in parts_of(model))
    more = []
    if "LGBM" in text or "lightgbm" in text:
        more.append("lightgbm")
    if "XGB" in text or "xgboost" in text:
        more.append("xgboost-cpu")
    return more


def parts_of(model):
    steps = [step for _, step in getattr(model, "steps", [])]
    inner = [getattr(step, "model", None) for step in steps] + list(
        getattr(model, "models", None) or []
    )
    for one in [*steps, *inner]:
        if one is not None:
            yield one
            yield from parts_of(one)


MODEL = os.path.join("outputs", "mlflow-model")


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def shipped(names=("features",)):
    """Those modules, as the package that the model's own code is in."""
    folder = os.path.join("shipped", "turnout_automl")
    os.makedirs(folder, exist_ok=True)
    for name in ("__init__", *names):
        shutil.copyfile(os.path.join(HERE, name + ".py"), os.path.join(folder, name + ".py"))
    return folder


def save(data, model, run):
    """As an MLflow model at outputs/mlflow-model of the run's artifacts, where Azure has it."""
    import mlflow.sklearn
    from mlflow.models import infer_signature

    example = data.training[data.names].head(5)
    signature = infer_signature(example, model.predict(example))
    options = {
        "signature": signature,
        "input_example": None,
        "code_paths": [shipped()],
        "pip_requirements": [
            f"mlflow-skinny=={mlflow.__version__}",
            *requirements(used_packages(model)),
        ],
    }
    mlflow.sklearn.save_model(model, emptied(MODEL), **options)
    run.tags({"automl_model": "outputs/mlflow-model"})


if __name__ == "__main__":
    main(sys.argv[1:])

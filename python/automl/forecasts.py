"""Trials and ensembles of forecasts: compared by the same origins, from each of which the horizon
is forecast; regressors look at earlier values of the target."""

import json
import os
import time

import numpy
import pandas

from .forecaster import SERIES, Forecaster, VoteOfForecasts, as_pyfunc, series_of

OF_SERIES = (
    "Naive",
    "SeasonalNaive",
    "Average",
    "SeasonalAverage",
    "ExponentialSmoothing",
    "AutoArima",
    "Arimax",
)


def usual(algorithm):
    from . import spaces

    if algorithm == "ExponentialSmoothing":
        return {"trend": True, "seasonal": True, "damped": True}
    return {} if algorithm in OF_SERIES else spaces.usual(algorithm)


def draw(trial, algorithm):
    from . import spaces

    if algorithm == "ExponentialSmoothing":
        return {
            key: trial.suggest_categorical(f"ExponentialSmoothing.{key}", [True, False])
            for key in ("trend", "seasonal", "damped")
        }
    return {} if algorithm in OF_SERIES else spaces.draw(trial, algorithm)


def forecaster(data, algorithm, settings, cores, seed):
    from sklearn.pipeline import Pipeline

    from . import spaces
    from .features import make_features

    setup = data.setup
    columns = [c for c in setup["columns"] if c["kind"] != "drop"]
    made = dict(
        time=setup["time"],
        ids=setup["ids"],
        target=data.target,
        frequency=setup["frequency"],
        season=setup["season"],
        lags=setup["lags"],
        windows=setup["windows"],
        columns=columns,
        algorithm=algorithm,
        settings=settings,
    )
    if algorithm in OF_SERIES:
        return Forecaster(**made)
    seen = seen_by_regressor(data)
    features = make_features(
        seen, spaces.SCALING.get(spaces.family(algorithm), "none"), data.blocked
    )
    model = spaces.make_model(algorithm, settings, "regression", cores, seed)
    return Forecaster(**made, regressor=Pipeline([("features", features), ("model", model)]))


def seen_by_regressor(data):
    """The columns of Forecaster.table, and what they are."""
    setup = data.setup
    seen = [{"name": f"{data.target} {lag} before", "kind": "numeric"} for lag in setup["lags"]]
    seen += [{"name": f"mean of {window} before", "kind": "numeric"} for window in setup["windows"]]
    seen += [
        {"name": part, "kind": "numeric"}
        for part in ("year", "month", "day", "weekday", "dayofyear", "hour", "minute", "quarter")
    ]
    seen += [c for c in setup["columns"] if c["kind"] != "drop"]
    if setup["ids"]:
        seen.append({"name": SERIES, "kind": "categorical" if setup["series"] <= 40 else "many"})
    return seen


def trial(args, data):
    from . import planner
    from .trial import Run, cores

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
            draw,
            usual,
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
    count = cores(data)
    folds, predictions = [], []
    for number, (train, held, _) in enumerate(data.splits()):
        model = forecaster(data, algorithm, settings, count, index).fit(train)
        predictions.append(known(model.predict(held), held, train, data))
        folds.append(score_of(data, held, predictions[-1]))
        print(f"  origin {number + 1}: {data.metric} = {folds[-1][data.metric]:.6g}", flush=True)
    model = forecaster(data, algorithm, settings, count, index).fit(data.training)
    leave(
        args,
        data,
        run,
        index,
        algorithm,
        settings,
        model,
        predictions,
        folds,
        time.monotonic() - began,
    )


def known(predicted, held, train, data):
    """Of a series that could not be learned, the mean of all."""
    if numpy.isnan(predicted).any():
        predicted = numpy.where(numpy.isnan(predicted), float(train[data.target].mean()), predicted)
    return predicted


def score_of(data, held, predicted):
    from . import scores

    return scores.of_numbers(held[data.target], predicted, data.setup["spread"])


def error_of(data, predictions):
    """Of each step ahead: half the width of an interval that 90 % of what was held back lies in."""
    found = {}
    for (_, held, _), predicted in zip(data.splits(), predictions):
        step = held.groupby(series_of(held, data.setup["ids"]), sort=False).cumcount()
        for number, miss in zip(step, numpy.abs(predicted - held[data.target].to_numpy(float))):
            found.setdefault(int(number), []).append(float(miss))
    everything = [miss for misses in found.values() for miss in misses]
    usual_error = float(numpy.quantile(everything, 0.9))
    out, widest = [], 0.0
    for number in range(max(found) + 1):
        misses = found.get(number, [])
        widest = max(
            widest, float(numpy.quantile(misses, 0.9)) if len(misses) >= 5 else usual_error
        )
        out.append(widest)
    return out


def leave(args, data, run, index, algorithm, settings, model, predictions, folds, took):
    from . import charts, script, trial as trials
    from .scores import mean_of

    scores = mean_of(folds)
    model.error = error_of(data, predictions)
    os.makedirs("outputs", exist_ok=True)
    held = data.compared()
    whole = numpy.concatenate(predictions)
    charts.of_numbers(held[data.target].to_numpy(float), whole)
    _, last, _ = data.splits()[0]
    name = series_of(last, data.setup["ids"])
    first = (name == name.iloc[0]).to_numpy()
    shown = last[first].copy()
    shown["predicted"] = predictions[0][first]
    width = numpy.array([model.error[min(i, len(model.error) - 1)] for i in range(len(shown))])
    shown["low"], shown["high"] = shown["predicted"] - width, shown["predicted"] + width
    charts.forecast(shown, data.setup["time"], data.target)
    if data.test is not None:
        predicted = known(model.predict(data.test), data.test, data.training, data)
        tested = score_of(data, data.test, predicted)
        run.metrics({"test_" + n: v for n, v in tested.items()})
        print(f"by test_data: {data.metric} = {tested[data.metric]:.6g}")
    script.write(data, algorithm, settings, index)
    save(data, model)
    trials.leave(args, index, algorithm, settings, model, whole, scores, data.metric, took)
    run.metrics({"fit_time": took, **{n: v for n, v in scores.items() if n != data.metric}})
    run.metrics({data.metric: scores[data.metric]})
    print(f"{data.metric} = {scores[data.metric]:.6g} after {took:.1f} s")


def save(data, model):
    import mlflow.pyfunc
    from mlflow.models import infer_signature

    from .trial import MODEL, emptied, requirements, shipped

    names = [
        data.setup["time"],
        *data.setup["ids"],
        *[c["name"] for c in data.setup["columns"] if c["kind"] != "drop"],
    ]
    example = data.training[names].tail(3).copy()
    example[data.setup["time"]] = pandas.to_datetime(example[data.setup["time"]]).dt.strftime(
        "%Y-%m-%dT%H:%M:%S"
    )
    out = pandas.DataFrame({"predicted": [0.0], "low": [0.0], "high": [0.0]})
    mlflow.pyfunc.save_model(
        emptied(MODEL),
        python_model=as_pyfunc(model),
        code_paths=[shipped(("features", "forecaster"))],
        signature=infer_signature(example, out),
        pip_requirements=[
            f"mlflow-skinny=={mlflow.__version__}",
            *requirements(["statsmodels", "lightgbm", "xgboost-cpu"]),
        ],
    )


def ensemble(args, data, run, parts, began):
    """A vote: the mean of the models that are the best together."""
    from .ensemble import load

    bounds = numpy.cumsum([0, *[len(held) for _, held, _ in data.splits()]])
    held = data.compared()
    sign = 1 if data.settings["maximize"] else -1

    def value(whole):
        folds = [score_of(data, held.iloc[a:b], whole[a:b]) for a, b in zip(bounds, bounds[1:])]
        return sign * float(numpy.mean([fold[data.metric] for fold in folds])), folds

    counts, total, best = {}, None, None
    for _ in range(10):
        tried = []
        for i, (_, predictions, _) in enumerate(parts):
            mean = (
                predictions if total is None else (total + predictions) / (sum(counts.values()) + 1)
            )
            tried.append((*value(mean), i, mean))
        now = max(tried, key=lambda one: one[0])
        if best is not None and now[0] <= best[0] + 1e-12:
            break
        best, i = now, now[2]
        counts[i] = counts.get(i, 0) + 1
        total = parts[i][1] if total is None else total + parts[i][1]
    settings = {
        f"{parts[i][0]['algorithm']} ({parts[i][0]['index']})": count for i, count in counts.items()
    }
    model = VoteOfForecasts([load(parts[i]) for i in counts], list(counts.values()))
    run.tags({"automl_settings": json.dumps(settings)})
    used = ", ".join(f"{name} × {count}" for name, count in settings.items())
    print(f"VotingEnsemble of {used}")
    predictions = [best[3][a:b] for a, b in zip(bounds, bounds[1:])]
    leave(
        args,
        data,
        run,
        int(args.index),
        "VotingEnsemble",
        settings,
        model,
        predictions,
        best[1],
        time.monotonic() - began,
    )

"""Ensembles of the best trials. A vote takes, again and again, the model that makes the whole
better by the rows that were held back
(Caruana et al., Ensemble Selection from Libraries of Models, 2004);
a stack is a linear model on top of all predictions."""

import json
import os
import pickle
import sys
import time

import numpy

from . import features
from .tables import Refused
from .trial import Data, Run, finish, parse, score

ROUNDS = 15


def main(arguments):
    args = parse(arguments, ("method",))
    data = Data(args.data)
    run = Run()
    run.tags({"run_algorithm": args.method})
    began = time.monotonic()
    parts = []
    for folder in args.models:
        with open(os.path.join(folder, "trial.json"), encoding="utf-8") as file:
            told = json.load(file)
        predictions = numpy.load(os.path.join(folder, "predictions.npy"))
        parts.append((told, predictions, folder))
    if data.task == "forecasting":
        from . import forecasts

        return forecasts.ensemble(args, data, run, parts, began)
    held = [len(table) for _, table, _ in data.splits()]
    bounds = numpy.cumsum([0, *held])
    y = data.compared()[data.target].to_numpy()
    if args.method == "VotingEnsemble":
        chosen, predictions, folds = vote(data, parts, y, bounds)
        used = [(parts[i], weight) for i, weight in chosen.items()]
        models = [load(part) for part, _ in used]
        kind = features.VoteOfClasses if data.task == "classification" else features.VoteOfNumbers
        model = kind(models, [weight for _, weight in used])
        settings = {
            part[0]["algorithm"] + f" ({part[0]['index']})": weight for part, weight in used
        }
    else:
        model, predictions, folds = stack(data, parts, y, bounds)
        settings = {f"{told['algorithm']} ({told['index']})": 1 for told, _, _ in parts}
    from .scores import mean_of

    scores = mean_of(folds)
    run.tags({"automl_settings": json.dumps(settings)})
    print(
        f"{args.method} of " + ", ".join(f"{name} × {weight}" for name, weight in settings.items())
    )
    took = time.monotonic() - began
    finish(
        args,
        data,
        run,
        int(args.index),
        args.method,
        settings,
        model,
        predictions,
        scores,
        folds,
        took,
    )


def load(part):
    with open(os.path.join(part[2], "model.pkl"), "rb") as file:
        return pickle.load(file)


def scores_of(data, y, predictions, bounds):
    return [score(data, y[a:b], predictions[a:b]) for a, b in zip(bounds, bounds[1:])]


def vote(data, parts, y, bounds):
    sign = 1 if data.settings["maximize"] else -1

    def value(predictions):
        folds = scores_of(data, y, predictions, bounds)
        return sign * float(numpy.mean([fold[data.metric] for fold in folds])), folds

    counts, total, best = {}, None, (-numpy.inf, None)
    for _ in range(ROUNDS):
        found = None
        for i, (_, predictions, _) in enumerate(parts):
            mean = (
                predictions if total is None else (total + predictions) / (sum(counts.values()) + 1)
            )
            now, folds = value(mean)
            if found is None or now > found[0] + 1e-12:
                found = (now, i, mean, folds)
        if counts and found[0] <= best[0] + 1e-9:
            break
        counts[found[1]] = counts.get(found[1], 0) + 1
        total = parts[found[1]][1] if total is None else total + parts[found[1]][1]
        best = (found[0], found[2], found[3])
    return counts, best[1], best[2]


def stack(data, parts, y, bounds):
    """Its own score is by the same folds: each time the others teach the model on top."""
    from sklearn.linear_model import LogisticRegression, RidgeCV

    below = numpy.hstack([p if p.ndim == 2 else p[:, None] for _, p, _ in parts])

    def top():
        if data.task == "classification":
            return LogisticRegression(C=1.0, max_iter=1000)
        return RidgeCV(alphas=numpy.logspace(-3, 3, 13))

    classes = list(data.setup["classes"]) if data.task == "classification" else None
    number = numpy.empty(len(y), dtype=int)
    for fold, (a, b) in enumerate(zip(bounds, bounds[1:])):
        number[a:b] = fold
    if len(bounds) == 2:  # rows that are held back, once: halved for this alone
        number = numpy.random.default_rng(0).permutation(len(y)) % 5
    out = numpy.zeros((len(y), len(classes)) if classes else len(y))
    for fold in range(number.max() + 1):
        rows = number == fold
        if classes and len(set(y[~rows])) < 2:
            raise Refused("the rows that are held back have one class alone: no stack")
        model = top().fit(below[~rows], y[~rows])
        if classes:
            given = model.predict_proba(below[rows])
            for column, known in enumerate(model.classes_):
                known = known.item() if hasattr(known, "item") else known
                out[numpy.flatnonzero(rows), classes.index(known)] = given[:, column]
        else:
            out[rows] = model.predict(below[rows])
    kind = features.StackOfClasses if classes else features.StackOfNumbers
    model = kind([load(part) for part in parts], top().fit(below, y))
    return model, out, scores_of(data, y, out, bounds)


if __name__ == "__main__":
    main(sys.argv[1:])

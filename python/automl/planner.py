"""Which algorithm a trial tries, and with what settings. It keeps no state: what it answers follows
from the finished trials, the trial's number and the seed, so it may be ended at any time.

First each algorithm is tried as it is usual, the most promising first; then Optuna's tree-
structured Parzen estimator chooses by what was found (https://optuna.readthedocs.io)."""

import glob
import json
import os
import zlib

from . import spaces


def read_history(folder):
    """What finished trials wrote there, by their index."""
    found = {}
    for file in glob.glob(os.path.join(folder, "**", "*.json"), recursive=True):
        try:
            with open(file, encoding="utf-8") as opened:
                one = json.load(opened)
        except ValueError:
            continue
        if one.get("algorithm") and one.get("score") is not None:
            found[int(one["index"])] = one
    return found


def choose(index, history, algorithms, maximize, job, rows=0, draw=spaces.draw, usual=spaces.usual):
    """Of trial `index`, from 1: its algorithm and settings."""
    algorithms = [one for one in algorithms if spaces.fits(one, rows)] or list(algorithms)[:1]
    if index <= len(algorithms):
        name = algorithms[index - 1]
        return name, usual(name)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        seed=zlib.crc32(f"{job}/{index}".encode()),
        multivariate=True,
        group=True,
        constant_liar=True,
        n_startup_trials=0,
    )
    study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
    # A space of its own for each algorithm: which one, first; then its settings.
    promising = best_first(history, algorithms, maximize, usual)
    for one in sorted(history.values(), key=lambda one: one["index"]):
        if one["algorithm"] not in algorithms:
            continue
        told = replayed(one["algorithm"], one["settings"], promising, draw)
        if told is not None:
            params, distributions = told
            study.add_trial(
                optuna.trial.create_trial(
                    params=params, distributions=distributions, value=one["score"]
                )
            )
    trial = study.ask()
    name = trial.suggest_categorical("algorithm", promising)
    return name, draw(trial, name)


def best_first(history, algorithms, maximize, usual=spaces.usual):
    """Those that can still win: the better half of what was tried, at least three; without a
    result, all."""
    best = {}
    for one in history.values():
        name, score = one["algorithm"], one["score"] if maximize else -one["score"]
        best[name] = max(score, best.get(name, float("-inf")))
    tried = sorted((name for name in algorithms if name in best), key=lambda name: -best[name])
    if not tried:
        tried = list(algorithms)
    # One without settings is tried once.
    tried = [name for name in tried if usual(name)] or tried
    keep = max(3, (len(tried) + 1) // 2)
    return sorted(tried[:keep])


class Told:
    """Stands for a trial whose settings are known: the space tells what they were drawn from."""

    def __init__(self, known):
        self.known, self.params, self.distributions = known, {}, {}

    def value(self, name, distribution):
        key = name.split(".", 1)[1]
        value = self.known.get(key)
        if value is None or not self.inside(value, distribution):
            raise KeyError(name)
        self.params[name], self.distributions[name] = value, distribution
        return value

    @staticmethod
    def inside(value, distribution):
        try:
            return distribution._contains(distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            return False

    def suggest_float(self, name, low, high, log=False):
        import optuna

        return self.value(name, optuna.distributions.FloatDistribution(low, high, log=log))

    def suggest_int(self, name, low, high, log=False):
        import optuna

        return self.value(name, optuna.distributions.IntDistribution(low, high, log=log))

    def suggest_categorical(self, name, choices):
        import optuna

        return self.value(name, optuna.distributions.CategoricalDistribution(choices))


def replayed(algorithm, settings, algorithms, draw):
    import optuna

    told = Told(settings)
    try:
        draw(told, algorithm)
    except KeyError:  # a usual setting that no draw can be
        return None
    if algorithm in algorithms:
        told.params["algorithm"] = algorithm
        told.distributions["algorithm"] = optuna.distributions.CategoricalDistribution(algorithms)
    return told.params, told.distributions

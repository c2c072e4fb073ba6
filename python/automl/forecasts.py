"""Forecasts: the table is made regular in time, series by series; models are compared by the same
origins, from which each forecasts the horizon; regressors look at earlier values of the target."""

import json
import os
import sys
import time

import numpy
import pandas
from sklearn.base import BaseEstimator

SEASONS = {"min": 60, "T": 60, "h": 24, "H": 24, "D": 7, "B": 5, "W": 52, "M": 12, "MS": 12, "ME": 12, "Q": 4, "QS": 4, "QE": 4}
SERIES = "__series__"


# ---- what a model needs to forecast: this part comes with it ----


def series_of(frame, ids):
    """One text for each row, by which series are told from each other."""
    if not ids:
        return pandas.Series([""] * len(frame), index=frame.index)
    return frame[ids].astype(str).agg(" | ".join, axis=1)


def offset_of(frequency):
    return pandas.tseries.frequencies.to_offset(frequency)


class Naive:
    """The last value, that of a season ago, or the mean of the last ones."""

    def __init__(self, how, season):
        self.how, self.season = how, max(1, season)

    def fit(self, values, exog):
        values = numpy.asarray(values, float)
        if self.how == "Naive":
            self.tail = values[-1:]
        elif self.how == "SeasonalNaive":
            self.tail = values[-self.season :]
        elif self.how == "Average":
            self.tail = numpy.array([values[-10 * self.season :].mean()])
        else:
            seasons = min(4, max(1, len(values) // self.season))
            last = values[-seasons * self.season :]
            last = last[len(last) % self.season :] if len(last) >= self.season else last
            self.tail = last.reshape(-1, self.season).mean(axis=0) if len(last) >= self.season else last
        return self

    def forecast(self, steps, exog):
        return numpy.resize(self.tail, steps)


class Smoothing:
    """Exponential smoothing (statsmodels, Holt and Winters)."""

    def __init__(self, settings, season):
        self.settings, self.season = settings, season

    def fit(self, values, exog):
        from statsmodels.tsa.holtwinters import ExponentialSmoothing

        values = numpy.asarray(values, float)
        seasonal = "add" if self.settings.get("seasonal") and self.season > 1 and len(values) >= 2 * self.season else None
        trend = "add" if self.settings.get("trend") else None
        model = ExponentialSmoothing(values, trend=trend, damped_trend=bool(trend and self.settings.get("damped")), seasonal=seasonal, seasonal_periods=self.season if seasonal else None, initialization_method="estimated")
        self.fitted = model.fit()
        return self

    def forecast(self, steps, exog):
        return numpy.asarray(self.fitted.forecast(steps))


class Arima:
    """ARIMA by the order that Akaike's criterion likes best, with other columns if there are any."""

    ORDERS = [(1, 0, 0), (2, 0, 1), (0, 1, 1), (1, 1, 1), (2, 1, 2)]

    def __init__(self, with_exog, season):
        self.with_exog, self.season = with_exog, season

    def fit(self, values, exog):
        from statsmodels.tsa.statespace.sarimax import SARIMAX

        values = numpy.asarray(values, float)
        given = exog if self.with_exog and exog is not None and exog.shape[1] else None
        # Of long seasons the state is large: they are left to other models.
        seasonal = (1, 0, 0, self.season) if 1 < self.season <= 12 and len(values) > 3 * self.season else (0, 0, 0, 0)
        best = None
        for order in self.ORDERS:
            try:
                fitted = SARIMAX(values[-500:], exog=None if given is None else given[-500:], order=order, seasonal_order=seasonal, trend="c" if order[1] == 0 else None, enforce_stationarity=False, enforce_invertibility=False).fit(disp=False, maxiter=30)
            except (ValueError, numpy.linalg.LinAlgError):
                continue
            if best is None or fitted.aic < best.aic:
                best = fitted
        if best is None:
            raise ValueError("no ARIMA fits the series")
        self.fitted, self.given = best, given is not None
        return self

    def forecast(self, steps, exog):
        return numpy.asarray(self.fitted.forecast(steps, exog=exog[:steps] if self.given else None))


class Forecaster(BaseEstimator):
    """Forecasts each series of a table with the columns `time`, `ids` and those in `columns`.

    `make`: a regressor over all series, with its features; or, of one for each series, its name.
    """

    def __init__(self, time, ids, target, frequency, season, lags, windows, columns, algorithm, settings, regressor=None):
        self.time, self.ids, self.target = time, ids, target
        self.frequency, self.season = frequency, season
        self.lags, self.windows, self.columns = lags, windows, columns
        self.algorithm, self.settings, self.regressor = algorithm, settings, regressor
        self.error = None  # of each step, by what was held back

    def numbers(self, frame):
        """The columns beside the target, for models of one series."""
        names = [c["name"] for c in self.columns if c["kind"] == "numeric" and c["name"] in frame]
        if not names:
            return numpy.zeros((len(frame), 0))
        return frame[names].apply(pandas.to_numeric, errors="coerce").ffill().bfill().fillna(0).to_numpy(float)

    def fit(self, frame):
        frame = frame.copy()
        frame[self.time] = pandas.to_datetime(frame[self.time])
        frame[SERIES] = series_of(frame, self.ids)
        frame = frame.sort_values([SERIES, self.time])
        need = max([*self.lags, *[window for window in self.windows], self.season, 1]) + 1
        self.history, self.models = {}, {}
        for name, one in frame.groupby(SERIES, sort=False):
            values = one[self.target].to_numpy(float)
            self.history[name] = (one[self.time].iloc[-1], values[-need:])
            if self.regressor is None:
                self.models[name] = self.of_series().fit(values, self.numbers(one))
        if self.regressor is not None:
            table = self.table(frame)
            known = table[self.lag_names()].notna().all(axis=1) if self.lags else slice(None)
            y = frame[self.target].to_numpy(float)
            rows = table[known] if self.lags and known.sum() >= 10 else table
            y = y[known.to_numpy()] if self.lags and known.sum() >= 10 else y
            self.regressor.fit(rows, y)
        return self

    def of_series(self):
        if self.algorithm == "ExponentialSmoothing":
            return Smoothing(self.settings, self.season)
        if self.algorithm in ("AutoArima", "Arimax"):
            return Arima(self.algorithm == "Arimax", self.season)
        return Naive(self.algorithm, self.season)

    def lag_names(self):
        return [f"{self.target} {lag} before" for lag in self.lags]

    def calendar(self, when, out):
        out["year"] = when.dt.year.astype(float)
        for part in ("month", "day", "weekday", "dayofyear", "hour", "minute", "quarter"):
            out[part] = getattr(when.dt, part).astype(float)

    def table(self, frame):
        """What the regressor sees of rows whose earlier values are in the same table."""
        out = pandas.DataFrame(index=frame.index)
        groups = frame.groupby(SERIES, sort=False)[self.target]
        for lag, name in zip(self.lags, self.lag_names()):
            out[name] = groups.shift(lag)
        for window in self.windows:
            out[f"mean of {window} before"] = groups.transform(
                lambda v, w=window: v.shift(1).rolling(w, min_periods=1).mean()
            )
        return self.with_the_rest(out, frame)

    def with_the_rest(self, out, frame):
        self.calendar(frame[self.time], out)
        for column in self.columns:
            out[column["name"]] = frame[column["name"]] if column["name"] in frame else numpy.nan
        if self.ids:
            out[SERIES] = frame[SERIES].to_numpy()
        return out

    def predict(self, frame):
        """One number for each row: of the time and the series that it names."""
        frame = frame.copy().reset_index(drop=True)
        frame[self.time] = pandas.to_datetime(frame[self.time])
        frame[SERIES] = series_of(frame, self.ids).to_numpy()
        offset = offset_of(self.frequency)
        out = numpy.full(len(frame), numpy.nan)
        plans, steps = {}, 0
        for name, one in frame.groupby(SERIES, sort=False):
            if name not in self.history:
                continue  # a series that was not learned
            last = self.history[name][0]
            end = one[self.time].max()
            if end <= last:
                continue
            times = pandas.date_range(last, end, freq=offset)
            times = times[times > last]
            if len(times) == 0:
                continue
            future = one.drop_duplicates(self.time).set_index(self.time).reindex(times)
            more = [c["name"] for c in self.columns if c["name"] in future]
            future[more] = future[more].ffill().bfill()
            future[SERIES] = name
            plans[name] = future.rename_axis(self.time).reset_index()
            steps = max(steps, len(times))
        found = {}
        if self.regressor is None:
            for name, future in plans.items():
                found[name] = self.models[name].forecast(len(future), self.numbers(future))
        else:
            found = self.step_by_step(plans, steps)
        for name, values in found.items():
            at = dict(zip(plans[name][self.time], values))
            rows = numpy.flatnonzero((frame[SERIES] == name).to_numpy())
            out[rows] = [at.get(when, numpy.nan) for when in frame[self.time].iloc[rows]]
        return out

    def step_by_step(self, plans, steps):
        """Each step of all series at a time; what was forecast is an earlier value of the next."""
        values = {name: list(self.history[name][1]) for name in plans}
        begin = {name: len(v) for name, v in values.items()}
        for step in range(steps):
            names = [name for name in plans if step < len(plans[name])]
            now = pandas.concat([plans[name].iloc[[step]] for name in names], ignore_index=True)
            out = pandas.DataFrame(index=now.index)
            for lag, title in zip(self.lags, self.lag_names()):
                out[title] = [values[n][-lag] if len(values[n]) >= lag else numpy.nan for n in names]
            for window in self.windows:
                out[f"mean of {window} before"] = [float(numpy.mean(values[n][-window:])) for n in names]
            predicted = self.regressor.predict(self.with_the_rest(out, now))
            for name, value in zip(names, predicted):
                values[name].append(float(value))
        return {name: values[name][begin[name] :] for name in plans}

    def steps(self, frame):
        """How far each row is from what was learned."""
        when, names = pandas.to_datetime(frame[self.time]), series_of(frame, self.ids)
        offset = offset_of(self.frequency)
        out = []
        for moment, name in zip(when, names):
            last = self.history.get(name, (moment, None))[0]
            out.append(max(1, len(pandas.date_range(last, moment, freq=offset)) - 1) if moment > last else 1)
        return numpy.array(out)


class VoteOfForecasts(BaseEstimator):
    def __init__(self, models=None, weights=None):
        self.models, self.weights, self.error = models, weights, None

    def predict(self, frame):
        return sum(w * m.predict(frame) for w, m in zip(self.weights, self.models)) / sum(self.weights)

    def steps(self, frame):
        return self.models[0].steps(frame)


def as_pyfunc(model):
    """The model as MLflow serves it: a forecast of each row, and between what it will be with 90 %."""
    from mlflow.pyfunc import PythonModel

    class Forecasts(PythonModel):
        def __init__(self, forecaster):
            self.forecaster = forecaster

        def predict(self, context, model_input, params=None):
            predicted = self.forecaster.predict(model_input)
            steps = self.forecaster.steps(model_input)
            error = self.forecaster.error
            width = numpy.array([error[min(step, len(error)) - 1] for step in steps])
            return pandas.DataFrame({"predicted": predicted, "low": predicted - width, "high": predicted + width})

    return Forecasts(model)


# ---- the setup of the data ----


def cleaned(frame, setup):
    """Columns of a second table as those of the first."""
    frame = frame.copy()
    frame[setup["time"]] = pandas.to_datetime(frame[setup["time"]], errors="coerce")
    frame[setup["target"]] = pandas.to_numeric(frame[setup["target"]], errors="coerce")
    frame = frame[frame[setup["time"]].notna() & frame[setup["target"]].notna()]
    for column in setup["columns"]:
        if column["name"] not in frame.columns:
            frame[column["name"]] = numpy.nan
    return frame.sort_values([*setup["ids"], setup["time"]]).reset_index(drop=True)


def prepare(frame, settings, setup, rails):
    from .setup import imputers, kind_of
    from .tables import Refused

    said = settings.get("forecastingSettings") or {}
    time_column, target = said["timeColumnName"], setup["target"]
    ids = list(said.get("timeSeriesIdColumnNames") or [])
    for column in [time_column, *ids]:
        if column not in frame.columns:
            raise Refused(f"forecasting: training_data has no column '{column}': it has {', '.join(frame.columns[:20])}")
    frame = frame.copy()
    when = pandas.to_datetime(frame[time_column], errors="coerce")
    if when.isna().any():
        raise Refused(f"'{time_column}': expected times, found {frame[time_column][when.isna()].iloc[0]!r}")
    frame[time_column] = when.dt.tz_localize(None) if getattr(when.dt, "tz", None) else when
    numbers = pandas.to_numeric(frame[target], errors="coerce")
    if numbers.isna().any():
        raise Refused(f"'{target}': expected numbers, found {frame[target][numbers.isna()].iloc[0]!r}")
    frame[target] = numbers.astype(float)
    unknown = [name for name in said.get("featuresUnknownAtForecastTime") or [] if name in frame.columns]
    frame = frame.drop(columns=unknown)
    featurization = settings.get("featurizationSettings") or {}
    rules = imputers(featurization, frame, target)
    others = [c for c in frame.columns if c not in (time_column, target, *ids)]
    function = str(said.get("targetAggregateFunction") or "none").lower()
    if frame.duplicated([*ids, time_column]).any():
        if function == "none":
            one = frame[frame.duplicated([*ids, time_column])].iloc[0]
            raise Refused(
                f"'{time_column}': expected one row for each time of a series, found two for {one[time_column]}: "
                "name time_series_id_column_names, or a target_aggregate_function"
            )
        how = {target: function, **{c: "mean" if pandas.api.types.is_numeric_dtype(frame[c]) else "first" for c in others}}
        frame = frame.groupby([*ids, time_column], as_index=False, sort=True).agg(how)
        rails.say("rows of one time", "done", f"put together by {function}")
    frame = frame.sort_values([*ids, time_column]).reset_index(drop=True)
    names = series_of(frame, ids)
    sizes = names.value_counts()
    frequency = said.get("frequency") or guessed(frame[names == sizes.index[0]][time_column])
    if frequency is None:
        raise Refused(f"'{time_column}': the step of time cannot be told: say `frequency`, such as D or W-THU")
    try:
        offset_of(frequency)
    except ValueError as why:
        raise Refused(f"frequency: expected a step of time as pandas writes it, such as D or W-THU, found '{frequency}'") from why
    given = said.get("seasonality") or {}
    season = int(given["value"]) if given.get("value") else season_of(frequency, int(sizes.median()))
    given = said.get("forecastHorizon") or {}
    horizon = int(given["value"]) if given.get("value") else (max(1, min(season, int(sizes.median()) // 10)) if given else 1)
    given = settings.get("nCrossValidations") or {}
    folds = int(given["value"]) if given.get("value") else 3
    step = int(said.get("cvStepSize") or horizon)
    short = sizes[sizes < horizon + max(3, step)]
    if len(short) == len(sizes):
        raise Refused(f"forecast_horizon: a series of {sizes.max()} rows is too short for a horizon of {horizon}")
    if len(short):
        rails.say("short series", "done", f"{len(short)} of {len(sizes)} series are too short and left out")
        frame = frame[~names.isin(short.index)].reset_index(drop=True)
    frame, filled = regular(frame, ids, time_column, target, others, frequency, rules)
    rails.say("regular times", "done" if filled else "passed", f"{filled:,} steps without a row were filled in" if filled else f"each series has a row for each step ({frequency})")
    names = series_of(frame, ids)
    least = int(names.value_counts().min())
    folds = max(1, min(folds, (least - max(3, season)) // step if least > season + step else 1))
    lags = said.get("targetLags")
    if lags and lags.get("values"):
        lags = sorted(set(int(lag) for lag in lags["values"]))
    else:
        lags = sorted({1, 2, 3, season} if season > 1 else {1, 2, 3})
    lags = [lag for lag in lags if lag < max(2, least // 3)] or [1]
    window = said.get("targetRollingWindowSize") or {}
    windows = [int(window["value"])] if window.get("value") else ([season] if season > 1 and window else [])
    columns = []
    types = {k: v.lower() for k, v in (featurization.get("columnNameAndTypes") or {}).items()}
    for name in others:
        kind, why = kind_of(frame[name])
        kind = {"numeric": "numeric", "categorical": "categorical", "ignore": "drop"}.get(types.get(name), kind)
        kind = kind if kind in ("numeric", "categorical", "many") else "drop"
        columns.append({"name": name, "kind": kind, "why": why, **({"impute": rules[name]} if name in rules else {})})
    values = frame[target].to_numpy(float)
    spread = float(values.max() - values.min())
    if spread == 0:
        raise Refused(f"training_data: all values of '{target}' are {values[0]}")
    # 1: to learn from, 0: to compare by, 2: neither, of each fold.
    place = frame.groupby(names, sort=False).cumcount(ascending=False).to_numpy()
    splits = []
    for fold in range(folds):
        held = (place >= fold * step) & (place < fold * step + horizon)
        splits.append(numpy.where(held, 0, numpy.where(place >= fold * step + horizon, 1, 2)).tolist())
    setup.update(time=time_column, ids=ids, frequency=frequency, season=season, horizon=horizon, lags=lags, windows=windows, spread=spread, columns=columns, also=[time_column, *ids], folds="splits", splits=splits, by=f"{folds} origins, {horizon} steps from each", series=int(names.nunique()))
    if settings.get("validationData"):
        setup.update(folds="validation", by="validation_data")
    rails.say("series", "passed", f"{names.nunique()} series of {least} steps or more ({frequency}), a season of {season}, lags {lags}")
    return frame


def guessed(times):
    times = pandas.DatetimeIndex(times.drop_duplicates().sort_values())
    if len(times) < 3:
        return None
    found = pandas.infer_freq(times)
    if found:
        return found
    steps = pandas.Series(times).diff().dropna()
    usual = steps.mode().iloc[0]
    whole = pandas.date_range(times[0], times[-1], freq=usual)
    return usual.resolution_string and whole.freqstr if times.isin(whole).mean() > 0.9 else None


def season_of(frequency, rows):
    name = offset_of(frequency).name.split("-")[0]
    season = SEASONS.get(name, 1)
    return season if rows >= 2 * season + 2 else 1


def regular(frame, ids, time_column, target, others, frequency, rules):
    """A row for each step of each series; what is missing is what stood before it, unless an imputer
    says otherwise."""
    from .tables import Refused

    parts, filled = [], 0
    names = series_of(frame, ids)
    for _, one in frame.groupby(names, sort=False):
        times = pandas.date_range(one[time_column].iloc[0], one[time_column].iloc[-1], freq=offset_of(frequency))
        known = one.set_index(time_column)
        inside = known.index.isin(times)
        if inside.mean() < 0.5:
            raise Refused(f"frequency: '{frequency}' does not fit the times of '{time_column}', such as {one[time_column].iloc[0]}")
        whole = known[inside].reindex(times)
        filled += len(whole) - int(inside.sum())
        rule = rules.get(target) or {}
        if rule.get("strategy") == "constant":
            whole[target] = whole[target].fillna(float(rule.get("fill_value") or 0))
        whole[[*ids, *others, target]] = whole[[*ids, *others, target]].ffill().bfill()
        parts.append(whole.rename_axis(time_column).reset_index())
    return pandas.concat(parts, ignore_index=True), filled


# ---- trials ----

OF_SERIES = ("Naive", "SeasonalNaive", "Average", "SeasonalAverage", "ExponentialSmoothing", "AutoArima", "Arimax")


def usual(algorithm):
    from . import spaces

    if algorithm == "ExponentialSmoothing":
        return {"trend": True, "seasonal": True, "damped": True}
    return {} if algorithm in OF_SERIES else spaces.usual(algorithm)


def draw(trial, algorithm):
    from . import spaces

    if algorithm == "ExponentialSmoothing":
        return {key: trial.suggest_categorical(f"ExponentialSmoothing.{key}", [True, False]) for key in ("trend", "seasonal", "damped")}
    return {} if algorithm in OF_SERIES else spaces.draw(trial, algorithm)


def forecaster(data, algorithm, settings, cores, seed):
    from sklearn.pipeline import Pipeline

    from . import spaces
    from .features import make_features

    setup = data.setup
    columns = [c for c in setup["columns"] if c["kind"] != "drop"]
    made = dict(time=setup["time"], ids=setup["ids"], target=data.target, frequency=setup["frequency"], season=setup["season"], lags=setup["lags"], windows=setup["windows"], columns=columns, algorithm=algorithm, settings=settings)
    if algorithm in OF_SERIES:
        return Forecaster(**made)
    seen = seen_by_regressor(data)
    features = make_features(seen, spaces.SCALING.get(spaces.family(algorithm), "none"), data.blocked)
    model = spaces.make_model(algorithm, settings, "regression", cores, seed)
    return Forecaster(**made, regressor=Pipeline([("features", features), ("model", model)]))


def seen_by_regressor(data):
    """The columns of Forecaster.table, and what they are."""
    setup = data.setup
    seen = [{"name": f"{data.target} {lag} before", "kind": "numeric"} for lag in setup["lags"]]
    seen += [{"name": f"mean of {window} before", "kind": "numeric"} for window in setup["windows"]]
    seen += [{"name": part, "kind": "numeric"} for part in ("year", "month", "day", "weekday", "dayofyear", "hour", "minute", "quarter")]
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
        choice = planner.choose(index, planner.read_history(args.history), data.settings["algorithms"], data.settings["maximize"], data.settings["job"], len(data.training), draw, usual)
    algorithm, settings = choice
    run.tags({"run_algorithm": algorithm, "automl_choice": json.dumps([algorithm, settings]), "automl_settings": json.dumps(settings)})
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
    leave(args, data, run, index, algorithm, settings, model, predictions, folds, time.monotonic() - began)


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
        widest = max(widest, float(numpy.quantile(misses, 0.9)) if len(misses) >= 5 else usual_error)
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

    names = [data.setup["time"], *data.setup["ids"], *[c["name"] for c in data.setup["columns"] if c["kind"] != "drop"]]
    example = data.training[names].tail(3).copy()
    example[data.setup["time"]] = pandas.to_datetime(example[data.setup["time"]]).dt.strftime("%Y-%m-%dT%H:%M:%S")
    out = pandas.DataFrame({"predicted": [0.0], "low": [0.0], "high": [0.0]})
    mlflow.pyfunc.save_model(
        emptied(MODEL),
        python_model=as_pyfunc(model),
        code_paths=[shipped(("features", "forecasts"))],
        signature=infer_signature(example, out),
        pip_requirements=[f"mlflow-skinny=={mlflow.__version__}", *requirements(["statsmodels", "lightgbm", "xgboost-cpu"])],
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
            mean = predictions if total is None else (total + predictions) / (sum(counts.values()) + 1)
            tried.append((*value(mean), i, mean))
        now = max(tried, key=lambda one: one[0])
        if best is not None and now[0] <= best[0] + 1e-12:
            break
        best, i = now, now[2]
        counts[i] = counts.get(i, 0) + 1
        total = parts[i][1] if total is None else total + parts[i][1]
    settings = {f"{parts[i][0]['algorithm']} ({parts[i][0]['index']})": count for i, count in counts.items()}
    model = VoteOfForecasts([load(parts[i]) for i in counts], list(counts.values()))
    run.tags({"automl_settings": json.dumps(settings)})
    print("VotingEnsemble of " + ", ".join(f"{name} × {count}" for name, count in settings.items()))
    predictions = [best[3][a:b] for a, b in zip(bounds, bounds[1:])]
    leave(args, data, run, int(args.index), "VotingEnsemble", settings, model, predictions, best[1], time.monotonic() - began)


if __name__ == "__main__":
    trial(*sys.argv[1:])

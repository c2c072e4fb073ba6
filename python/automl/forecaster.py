"""Models that forecast the series of a table. This module comes with each model."""

import numpy
import pandas
from sklearn.base import BaseEstimator

SERIES = "__series__"


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
            self.tail = (
                last.reshape(-1, self.season).mean(axis=0) if len(last) >= self.season else last
            )
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
        seasonal = (
            "add"
            if self.settings.get("seasonal") and self.season > 1 and len(values) >= 2 * self.season
            else None
        )
        trend = "add" if self.settings.get("trend") else None
        model = ExponentialSmoothing(
            values,
            trend=trend,
            damped_trend=bool(trend and self.settings.get("damped")),
            seasonal=seasonal,
            seasonal_periods=self.season if seasonal else None,
            initialization_method="estimated",
        )
        self.fitted = model.fit()
        return self

    def forecast(self, steps, exog):
        return numpy.asarray(self.fitted.forecast(steps))


class Arima:
    """ARIMA by the order that Akaike's criterion likes best, with other columns if asked for."""

    ORDERS = [(1, 0, 0), (2, 0, 1), (0, 1, 1), (1, 1, 1), (2, 1, 2)]

    def __init__(self, with_exog, season):
        self.with_exog, self.season = with_exog, season

    def fit(self, values, exog):
        from statsmodels.tsa.statespace.sarimax import SARIMAX

        values = numpy.asarray(values, float)
        given = exog if self.with_exog and exog is not None and exog.shape[1] else None
        # Of long seasons the state is large: they are left to other models.
        seasonal = (
            (1, 0, 0, self.season)
            if 1 < self.season <= 12 and len(values) > 3 * self.season
            else (0, 0, 0, 0)
        )
        best = None
        for order in self.ORDERS:
            try:
                fitted = SARIMAX(
                    values[-500:],
                    exog=None if given is None else given[-500:],
                    order=order,
                    seasonal_order=seasonal,
                    trend="c" if order[1] == 0 else None,
                    enforce_stationarity=False,
                    enforce_invertibility=False,
                ).fit(disp=False, maxiter=30)
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

    def __init__(
        self,
        time,
        ids,
        target,
        frequency,
        season,
        lags,
        windows,
        columns,
        algorithm,
        settings,
        regressor=None,
    ):
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
        return (
            frame[names]
            .apply(pandas.to_numeric, errors="coerce")
            .ffill()
            .bfill()
            .fillna(0)
            .to_numpy(float)
        )

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
                out[title] = [
                    values[n][-lag] if len(values[n]) >= lag else numpy.nan for n in names
                ]
            for window in self.windows:
                out[f"mean of {window} before"] = [
                    float(numpy.mean(values[n][-window:])) for n in names
                ]
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
            out.append(
                max(1, len(pandas.date_range(last, moment, freq=offset)) - 1)
                if moment > last
                else 1
            )
        return numpy.array(out)


class VoteOfForecasts(BaseEstimator):
    def __init__(self, models=None, weights=None):
        self.models, self.weights, self.error = models, weights, None

    def predict(self, frame):
        return sum(w * m.predict(frame) for w, m in zip(self.weights, self.models)) / sum(
            self.weights
        )

    def steps(self, frame):
        return self.models[0].steps(frame)


def as_pyfunc(model):
    """The model as MLflow serves it: a forecast of each row, and where 90 % will lie."""
    from mlflow.pyfunc import PythonModel

    class Forecasts(PythonModel):
        def __init__(self, forecaster):
            self.forecaster = forecaster

        def predict(self, context, model_input, params=None):
            predicted = self.forecaster.predict(model_input)
            steps = self.forecaster.steps(model_input)
            error = self.forecaster.error
            width = numpy.array([error[min(step, len(error)) - 1] for step in steps])
            return pandas.DataFrame(
                {"predicted": predicted, "low": predicted - width, "high": predicted + width}
            )

    return Forecasts(model)

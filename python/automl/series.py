"""The table of a forecast: made regular in time, series by series, and cut into what is learned and
what models are compared by."""

import numpy
import pandas

from .forecaster import offset_of, series_of

SEASONS = {
    "min": 60,
    "T": 60,
    "h": 24,
    "H": 24,
    "D": 7,
    "B": 5,
    "W": 52,
    "M": 12,
    "MS": 12,
    "ME": 12,
    "Q": 4,
    "QS": 4,
    "QE": 4,
}


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
            raise Refused(
                f"forecasting: training_data has no column '{column}': "
                f"it has {', '.join(frame.columns[:20])}"
            )
    frame = frame.copy()
    when = pandas.to_datetime(frame[time_column], errors="coerce")
    if when.isna().any():
        raise Refused(
            f"'{time_column}': expected times, found {frame[time_column][when.isna()].iloc[0]!r}"
        )
    frame[time_column] = when.dt.tz_localize(None) if getattr(when.dt, "tz", None) else when
    numbers = pandas.to_numeric(frame[target], errors="coerce")
    if numbers.isna().any():
        raise Refused(
            f"'{target}': expected numbers, found {frame[target][numbers.isna()].iloc[0]!r}"
        )
    frame[target] = numbers.astype(float)
    unknown = [
        name for name in said.get("featuresUnknownAtForecastTime") or [] if name in frame.columns
    ]
    frame = frame.drop(columns=unknown)
    featurization = settings.get("featurizationSettings") or {}
    rules = imputers(featurization, frame, target)
    others = [c for c in frame.columns if c not in (time_column, target, *ids)]
    function = str(said.get("targetAggregateFunction") or "none").lower()
    if frame.duplicated([*ids, time_column]).any():
        if function == "none":
            one = frame[frame.duplicated([*ids, time_column])].iloc[0]
            raise Refused(
                f"'{time_column}': expected one row for each time of a series, found two for "
                f"{one[time_column]}: "
                "name time_series_id_column_names, or a target_aggregate_function"
            )
        how = {
            target: function,
            **{
                c: "mean" if pandas.api.types.is_numeric_dtype(frame[c]) else "first"
                for c in others
            },
        }
        frame = frame.groupby([*ids, time_column], as_index=False, sort=True).agg(how)
        rails.say("rows of one time", "done", f"put together by {function}")
    frame = frame.sort_values([*ids, time_column]).reset_index(drop=True)
    names = series_of(frame, ids)
    sizes = names.value_counts()
    frequency = said.get("frequency") or guessed(frame[names == sizes.index[0]][time_column])
    if frequency is None:
        raise Refused(
            f"'{time_column}': the step of time cannot be told: say `frequency`, such as D or W-THU"
        )
    try:
        offset_of(frequency)
    except ValueError as why:
        raise Refused(
            "frequency: expected a step of time as pandas writes it, such as D or W-THU, "
            f"found '{frequency}'"
        ) from why
    given = said.get("seasonality") or {}
    season = (
        int(given["value"]) if given.get("value") else season_of(frequency, int(sizes.median()))
    )
    given = said.get("forecastHorizon") or {}
    horizon = (
        int(given["value"])
        if given.get("value")
        else (max(1, min(season, int(sizes.median()) // 10)) if given else 1)
    )
    given = settings.get("nCrossValidations") or {}
    folds = int(given["value"]) if given.get("value") else 3
    step = int(said.get("cvStepSize") or horizon)
    short = sizes[sizes < horizon + max(3, step)]
    if len(short) == len(sizes):
        raise Refused(
            f"forecast_horizon: a series of {sizes.max()} rows is too short for {horizon} steps"
        )
    if len(short):
        rails.say(
            "short series",
            "done",
            f"{len(short)} of {len(sizes)} series are too short and left out",
        )
        frame = frame[~names.isin(short.index)].reset_index(drop=True)
    frame, filled = regular(frame, ids, time_column, target, others, frequency, rules)
    rails.say(
        "regular times",
        "done" if filled else "passed",
        f"{filled:,} steps without a row were filled in"
        if filled
        else f"each series has a row for each step ({frequency})",
    )
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
    windows = (
        [int(window["value"])]
        if window.get("value")
        else ([season] if season > 1 and window else [])
    )
    columns = []
    types = {k: v.lower() for k, v in (featurization.get("columnNameAndTypes") or {}).items()}
    for name in others:
        kind, why = kind_of(frame[name])
        kind = {"numeric": "numeric", "categorical": "categorical", "ignore": "drop"}.get(
            types.get(name), kind
        )
        kind = kind if kind in ("numeric", "categorical", "many") else "drop"
        columns.append(
            {
                "name": name,
                "kind": kind,
                "why": why,
                **({"impute": rules[name]} if name in rules else {}),
            }
        )
    values = frame[target].to_numpy(float)
    spread = float(values.max() - values.min())
    if spread == 0:
        raise Refused(f"training_data: all values of '{target}' are {values[0]}")
    # 1: to learn from, 0: to compare by, 2: neither, of each fold.
    place = frame.groupby(names, sort=False).cumcount(ascending=False).to_numpy()
    splits = []
    for fold in range(folds):
        held = (place >= fold * step) & (place < fold * step + horizon)
        splits.append(
            numpy.where(held, 0, numpy.where(place >= fold * step + horizon, 1, 2)).tolist()
        )
    setup.update(
        time=time_column,
        ids=ids,
        frequency=frequency,
        season=season,
        horizon=horizon,
        lags=lags,
        windows=windows,
        spread=spread,
        columns=columns,
        also=[time_column, *ids],
        folds="splits",
        splits=splits,
        by=f"{folds} origins, {horizon} steps from each",
        series=int(names.nunique()),
    )
    if settings.get("validationData"):
        setup.update(folds="validation", by="validation_data")
    rails.say(
        "series",
        "passed",
        f"{names.nunique()} series of {least} steps or more ({frequency}), a season of {season}, "
        f"lags {lags}",
    )
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
    """A row for each step of each series; what is missing is what stood before it, unless an
    imputer says otherwise."""
    from .tables import Refused

    parts, filled = [], 0
    names = series_of(frame, ids)
    for _, one in frame.groupby(names, sort=False):
        times = pandas.date_range(
            one[time_column].iloc[0], one[time_column].iloc[-1], freq=offset_of(frequency)
        )
        known = one.set_index(time_column)
        inside = known.index.isin(times)
        if inside.mean() < 0.5:
            raise Refused(
                f"frequency: '{frequency}' does not fit the times of '{time_column}', such as "
                f"{one[time_column].iloc[0]}"
            )
        whole = known[inside].reindex(times)
        filled += len(whole) - int(inside.sum())
        rule = rules.get(target) or {}
        if rule.get("strategy") == "constant":
            whole[target] = whole[target].fillna(float(rule.get("fill_value") or 0))
        whole[[*ids, *others, target]] = whole[[*ids, *others, target]].ffill().bfill()
        parts.append(whole.rename_axis(time_column).reset_index())
    return pandas.concat(parts, ignore_index=True), filled

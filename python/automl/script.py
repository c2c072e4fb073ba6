"""The generated code of a model: a script to read, and to run with the training data."""

import json
import os

from . import spaces

HERE = os.path.dirname(os.path.abspath(__file__))

HEAD = '''"""Trains {algorithm}, trial {index} of the AutoML job {job}, again: {what}.

    python script.py training.csv

It needs the packages of requirements.txt beside it."""

import sys

'''

TAIL = """

COLUMNS = {columns}
TARGET = {target!r}


def make_model():
    features = make_features(COLUMNS, {scaling!r}, {blocked!r})
    return Pipeline([("features", features), ("model", {expression})])


def main(path):
    frame = pandas.read_parquet(path) if path.endswith(".parquet") else pandas.read_csv(path)
    frame = frame[frame[TARGET].notna()]
    names = [column["name"] for column in COLUMNS if column["kind"] != "drop"]
    train, held = train_test_split(frame, test_size=0.2, random_state=0)
    model = make_model().fit(train[names], train[TARGET])
    print("{score} of a fifth that was held back:", model.score(held[names], held[TARGET]))
    model = make_model().fit(frame[names], frame[TARGET])
    joblib.dump(model, "model.joblib")
    print("trained with all rows: model.joblib")


if __name__ == "__main__":
    main(sys.argv[1])
"""


FORECAST = """

COLUMNS = {columns}


def make_model():
    return Forecaster(
        time={time!r}, ids={ids!r}, target={target!r}, frequency={frequency!r}, season={season!r},
        lags={lags!r}, windows={windows!r}, columns={used}, algorithm={algorithm!r},
        settings={settings!r}, regressor={regressor},
    )


def main(path):
    frame = pandas.read_parquet(path) if path.endswith(".parquet") else pandas.read_csv(path)
    frame[{time!r}] = pandas.to_datetime(frame[{time!r}])
    model = make_model().fit(frame)
    joblib.dump(model, "model.joblib")
    future = frame.groupby({ids!r}).tail(1) if {ids!r} else frame.tail(1)
    offset = offset_of({frequency!r})
    times = [future[{time!r}] + offset * (i + 1) for i in range({horizon!r})]
    steps = [future.assign(**{{{time!r}: one}}) for one in times]
    future = pandas.concat(steps, ignore_index=True)
    future[{target!r}] = model.predict(future)
    print(future[[{time!r}, *{ids!r}, {target!r}]].to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1])
"""


def own_text(module, begin, end=None):
    """Of a module of ours the part between these two."""
    with open(os.path.join(HERE, module + ".py"), encoding="utf-8") as file:
        text = file.read().split(begin, 2 if begin == '"""' else 1)[-1]
    return (text.split(end, 1)[0] if end else text).strip("\n") + "\n"


def of_forecast(data, algorithm, settings, index):
    from .forecasts import OF_SERIES, seen_by_regressor

    setup = data.setup
    regressor, imports = "None", ""
    columns = []
    if algorithm not in OF_SERIES:
        expression, imports = spaces.code_of(algorithm, settings, "regression", -1, index)
        columns = seen_by_regressor(data)
        scaling = spaces.SCALING.get(spaces.family(algorithm), "none")
        features = f"make_features(COLUMNS, {scaling!r})"
        regressor = f'Pipeline([("features", {features}), ("model", {expression})])'
    used = [
        {k: v for k, v in c.items() if k in ("name", "kind", "impute")}
        for c in setup["columns"]
        if c["kind"] != "drop"
    ]
    names = ("time", "ids", "frequency", "season", "lags", "windows", "horizon")
    return (
        HEAD.format(
            algorithm=algorithm,
            index=index,
            job=data.settings["job"],
            what=f"forecasts of {data.target!r}",
        )
        + f"import joblib\nfrom sklearn.pipeline import Pipeline\n{imports}\n"
        + own_text("features", '"""')
        + own_text("forecaster", '"""', "def as_pyfunc")
        + FORECAST.format(
            columns="[\n" + "".join(f"    {c!r},\n" for c in columns) + "]",
            used=used,
            target=data.target,
            algorithm=algorithm,
            settings=settings,
            regressor=regressor,
            **{name: setup[name] for name in names},
        )
    )


def write(data, algorithm, settings, index):
    folder = os.path.join("outputs", "generated_code")
    os.makedirs(folder, exist_ok=True)
    from .trial import requirements

    packages = requirements(["lightgbm", "xgboost-cpu", "joblib"])
    with open(os.path.join(folder, "requirements.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(packages) + "\n")
    with open(os.path.join(folder, "script.py"), "w", encoding="utf-8") as file:
        file.write(text(data, algorithm, settings, index))


def text(data, algorithm, settings, index):
    if algorithm.endswith("Ensemble"):
        return (
            f'"""{algorithm} of the AutoML job {data.settings["job"]} puts models together:\n'
            'each has a script of its own, and a weight here."""\n\n'
            f"MODELS = {json.dumps(settings, indent=4)}\n"
        )
    if data.task == "forecasting":
        return of_forecast(data, algorithm, settings, index)
    features = own_text("features", '"""')
    expression, imports = spaces.code_of(algorithm, settings, data.task, -1, index)
    columns = [
        {key: value for key, value in column.items() if key in ("name", "kind", "impute")}
        for column in data.setup["columns"]
        if column["kind"] != "drop"
    ]
    shown = "[\n" + "".join(f"    {column!r},\n" for column in columns) + "]"
    more = (
        "import joblib\nfrom sklearn.model_selection import train_test_split\n"
        f"from sklearn.pipeline import Pipeline\n{imports}\n"
    )
    return (
        HEAD.format(
            algorithm=algorithm,
            index=index,
            job=data.settings["job"],
            what=f"{data.task} of {data.target!r}",
        )
        + more
        + features.rstrip("\n")
        + "\n"
        + TAIL.format(
            columns=shown,
            target=data.target,
            scaling=spaces.SCALING.get(spaces.family(algorithm), "none"),
            blocked=list(data.blocked),
            expression=expression,
            score="accuracy" if data.task == "classification" else "R2",
        )
    )

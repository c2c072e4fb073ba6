"""The first child of an AutoML job: reads the tables, says what stands out in them, decides what
each column is and by which rows models are compared, and writes it all down for the trials."""

import argparse
import json
import os
import sys

import numpy
import pandas

from .tables import Refused, looks_like_dates, read

FEW = 40  # different values of a column of categories that each get a column of their own
IMBALANCED = 0.05
LOOKED_AT = 20_000  # rows that decide what a column is
KINDS = {
    "numeric": "numeric",
    "categorical": "categorical",
    "categoricalhash": "many",
    "datetime": "datetime",
    "text": "text",
    "ignore": "drop",
}


def main(arguments):
    parser = argparse.ArgumentParser(prog="setup")
    for name in ("training", "validation", "test"):
        parser.add_argument("--" + name)
    parser.add_argument("--data", required=True)
    parser.add_argument("--result", required=True)
    args = parser.parse_args(arguments)
    settings = json.loads(os.environ["AZUREML_AUTOML_SETTINGS"])
    prepare(args, settings)


def prepare(args, settings):
    task = settings["taskType"].lower()
    target = settings["targetColumnName"]
    rails = Rails()
    training = with_target(read(args.training, "training_data"), target, "training_data", rails)
    validation = test = None
    if args.validation:
        validation = with_target(
            read(args.validation, "validation_data"), target, "validation_data", rails
        )
    if args.test:
        test = read(args.test, "test_data")
        test = test[test[target].notna()] if target in test.columns else None
        if test is None:
            rails.say("test data", "warning", f"test_data has no column '{target}': it is not used")
    setup = {"settings": settings, "task": task, "target": target, "version": 1}
    seed = sum(map(ord, settings.get("job", "")))
    random = numpy.random.default_rng(seed)
    if settings.get("testDataSize") and task != "forecasting":
        rows = random.permutation(len(training))
        count = max(1, int(len(training) * settings["testDataSize"]))
        test, training = training.iloc[rows[:count]], training.iloc[rows[count:]]
        training = training.reset_index(drop=True)
    if task == "forecasting":
        from . import series

        training = series.prepare(training, settings, setup, rails)
        validation = None if validation is None else series.cleaned(validation, setup)
        test = None if test is None else series.cleaned(test, setup)
    else:
        if task == "regression":
            training = with_numbers(training, target)
            validation = None if validation is None else with_numbers(validation, target)
            test = None if test is None else with_numbers(test, target)
            values = training[target].to_numpy(float)
            setup["spread"] = float(values.max() - values.min())
            if setup["spread"] == 0:
                raise Refused(f"training_data: all values of '{target}' are {values[0]}")
        else:
            for frame in (training, validation, test):
                if frame is not None:
                    frame[target] = as_classes(frame[target])
            classes(training, validation, target, settings, setup, rails)
        setup["columns"] = columns_of(training, target, settings, rails, task)
        missing(training, setup["columns"], rails)
        comparison(training, validation, settings, setup, random, rails)
    if len(training) < 10:
        raise Refused(f"training_data: expected 10 rows or more, found {len(training)}")
    for frame, name in ((training, "training"), (validation, "validation"), (test, "test")):
        if frame is not None:
            typed(frame, setup).to_parquet(os.path.join(made(args.data), f"{name}.parquet"))
    setup["rails"] = rails.all
    with open(os.path.join(args.data, "setup.json"), "w", encoding="utf-8") as file:
        json.dump(setup, file)
    with open(os.path.join(made(args.result), "setup.json"), "w", encoding="utf-8") as file:
        json.dump({"index": 0, "job": settings.get("job")}, file)
    with open(os.path.join(made("outputs"), "guardrails.json"), "w", encoding="utf-8") as file:
        json.dump(rails.all, file, indent=2)
    shape = ", ".join(
        f"{name} {len(frame):,} rows"
        for frame, name in ((training, "training"), (validation, "validation"), (test, "test"))
        if frame is not None
    )
    used = [c for c in setup["columns"] if c["kind"] != "drop"]
    print(f"{task} of '{target}' by {len(used)} columns: {shape}; compared by {setup['by']}")
    for column in setup["columns"]:
        print(
            f"  {column['name']}: {column['kind']}"
            + (f" ({column['why']})" if column.get("why") else "")
        )
    print("guard rails:")
    for rail in rails.all:
        print(f"  {rail['status']}: {rail['check']}: {rail['words']}")


def made(folder):
    os.makedirs(folder, exist_ok=True)
    return folder


class Rails:
    """What stands out in the data, each in a sentence: passed, warning or done."""

    def __init__(self):
        self.all = []

    def say(self, check, status, words):
        self.all.append({"check": check, "status": status, "words": words})


def with_target(frame, target, what, rails):
    if target not in frame.columns:
        import difflib

        near = difflib.get_close_matches(target, list(frame.columns), 1)
        names = ", ".join(list(frame.columns)[:20])
        raise Refused(
            f"{what}: expected a column '{target}' (target_column_name), found {names}"
            + (f"; did you mean '{near[0]}'?" if near else "")
        )
    there = frame[target].notna()
    if not there.all():
        rails.say(
            "missing targets",
            "done",
            f"{what}: {int((~there).sum()):,} rows without '{target}' are left out",
        )
    frame = frame[there].reset_index(drop=True)
    if frame.empty:
        raise Refused(f"{what}: no row has a value of '{target}'")
    return frame


def with_numbers(frame, target):
    numbers = pandas.to_numeric(frame[target], errors="coerce")
    if numbers.isna().any():
        wrong = frame[target][numbers.isna()].iloc[0]
        raise Refused(f"'{target}': expected numbers, found {wrong!r}: is it a classification?")
    frame = frame.copy()
    frame[target] = numbers.astype(float)
    return frame


def as_classes(values):
    """Whole numbers stay numbers; all else is texts."""
    if pandas.api.types.is_bool_dtype(values):
        return values.astype(str)
    if pandas.api.types.is_numeric_dtype(values):
        numbers = values.astype(float)
        if (numbers == numbers.round()).all():
            return numbers.astype("int64")
    return values.astype(str)


def classes(training, validation, target, settings, setup, rails):
    counts = training[target].value_counts()
    if len(counts) < 2:
        raise Refused(f"training_data: '{target}' has one class alone, {counts.index[0]!r}")
    if len(counts) > 1000 or (len(counts) > 50 and len(counts) > len(training) / 3):
        raise Refused(
            f"training_data: '{target}' has {len(counts):,} different values in "
            f"{len(training):,} rows: is it a regression?"
        )
    rare = counts[counts < 2]
    if len(rare):
        rails.say(
            "rare classes",
            "warning",
            f"classes with one row alone are left out: {', '.join(map(str, rare.index[:10]))}",
        )
        drop = training.index[training[target].isin(rare.index)]
        training.drop(index=drop, inplace=True)
        training.reset_index(drop=True, inplace=True)
        counts = counts[counts >= 2]
    setup["classes"] = [
        value.item() if hasattr(value, "item") else value for value in sorted(counts.index)
    ]
    positive = settings.get("positiveLabel")
    if positive is not None and str(positive) not in map(str, setup["classes"]):
        raise Refused(
            f"positive_label: expected one of {', '.join(map(str, setup['classes'][:20]))}, "
            f"found '{positive}'"
        )
    if validation is not None:
        known = validation[target].isin(setup["classes"])
        if not known.all():
            found = validation[target][~known].iloc[0]
            raise Refused(f"validation_data: class {found!r} is not in the training data")
    share = counts.min() / counts.sum()
    words = (
        f"{len(counts)} classes; the smallest, {counts.idxmin()!r}, has {counts.min():,} of "
        f"{counts.sum():,} rows"
    )
    if share < IMBALANCED or (len(counts) == 2 and share < 0.2):
        rails.say(
            "class balance",
            "warning",
            words + ": accuracy says little of it; AUC_weighted or norm_macro_recall say more",
        )
    else:
        rails.say("class balance", "passed", words)


def columns_of(frame, target, settings, rails, task):
    featurization = settings.get("featurizationSettings") or {}
    off = str(featurization.get("mode", "auto")).lower() == "off"
    said = featurization.get("columnNameAndTypes") or {}
    split = settings.get("cvSplitColumnNames") or []
    rules = imputers(featurization, frame, target)
    for column in said:
        if column not in frame.columns:
            raise Refused(f"column_name_and_types: training_data has no column '{column}'")
    columns, dropped, many = [], [], []
    sample = frame if len(frame) <= LOOKED_AT else frame.sample(LOOKED_AT, random_state=0)
    for name in frame.columns:
        if name == target or name in split:
            continue
        kind, why = (
            (KINDS[said[name].lower()], "as column_name_and_types says")
            if name in said
            else kind_of(sample[name], off)
        )
        if off and kind not in ("numeric", "drop"):
            raise Refused(
                f"featurization: mode off takes columns as they are, and '{name}' has no numbers"
            )
        column = {"name": name, "kind": kind, "why": why}
        if name in rules:
            column["impute"] = rules[name]
        columns.append(column)
        if kind == "drop":
            dropped.append(f"'{name}' ({why})")
        if kind == "many":
            many.append(f"'{name}' ({sample[name].nunique():,} values)")
    if all(column["kind"] == "drop" for column in columns):
        raise Refused("training_data: no column is left to learn from")
    if dropped:
        rails.say("columns left out", "done", ", ".join(dropped))
    rails.say(
        "high cardinality",
        "done" if many else "passed",
        (", ".join(many) + ": each value becomes the mean of its targets")
        if many
        else "no column of categories has many values",
    )
    leaks(sample, target, columns, task, rails)
    return columns


def imputers(featurization, frame, target):
    rules = {}
    for name, uses in (featurization.get("transformerParams") or {}).items():
        for use in uses:
            for field in use.get("fields") or []:
                if field != target and field not in frame.columns:
                    raise Refused(f"imputer: training_data has no column '{field}'")
                rules[field] = {
                    key: value
                    for key, value in (use.get("parameters") or {}).items()
                    if value is not None
                }
    return rules


def kind_of(values, off=False):
    there = values.dropna()
    distinct = there.nunique()
    if distinct == 0:
        return "drop", "it has no values"
    if distinct == 1 and len(there) == len(values):
        return "drop", "all its values are the same"
    if pandas.api.types.is_bool_dtype(there) and not off:
        return "categorical", ""
    if pandas.api.types.is_numeric_dtype(there):
        return "numeric", ""
    if pandas.api.types.is_datetime64_any_dtype(there):
        return "datetime", ""
    texts = there.astype(str)
    numbers = pandas.to_numeric(texts, errors="coerce")
    if numbers.notna().mean() > 0.95:
        return "numeric", "texts that are numbers"
    if looks_like_dates(texts.head(100)):
        return "datetime", "texts that are dates"
    share = distinct / len(there)
    words = texts.head(1000).str.count(r"\s+").mean() + 1
    if words >= 3 and share > 0.3 and distinct > FEW:
        return "text", f"{words:.0f} words on average"
    if share > 0.9 and distinct > 20:
        return "drop", "nearly every row has its own value: an id"
    return ("categorical", "") if distinct <= FEW else ("many", f"{distinct:,} values")


def leaks(frame, target, columns, task, rails):
    """A column that alone nearly tells the target is more often a leak than a find."""
    from sklearn.feature_selection import mutual_info_classif  # noqa: F401
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    found = []
    y = frame[target]
    if task == "classification":
        codes = pandas.factorize(y)[0]
        base = numpy.bincount(codes).max() / len(codes)
    half = len(frame) // 2
    for column in columns:
        if column["kind"] not in ("numeric", "categorical", "many") or half < 20:
            continue
        values = frame[column["name"]]
        x = (
            pandas.to_numeric(values, errors="coerce").fillna(-1e9).to_numpy(float)
            if column["kind"] == "numeric"
            else pandas.factorize(values)[0].astype(float)
        )[:, None]
        if task == "classification":
            tree = DecisionTreeClassifier(max_depth=6, random_state=0)
            score = tree.fit(x[:half], codes[:half]).score(x[half:], codes[half:])
            leak = score > 0.99 and score - base > 0.1
        else:
            tree = DecisionTreeRegressor(max_depth=8, random_state=0)
            leak = tree.fit(x[:half], y[:half]).score(x[half:], y[half:]) > 0.995
        if leak:
            found.append(column["name"])
    if found:
        rails.say(
            "leakage",
            "warning",
            f"{', '.join(found)} alone nearly tells '{target}': is it known when the model is "
            "asked? If not, set its type to Ignore in column_name_and_types",
        )
    else:
        rails.say("leakage", "passed", f"no column alone tells '{target}'")


def missing(frame, columns, rails):
    shares = {
        column["name"]: float(frame[column["name"]].isna().mean())
        for column in columns
        if column["kind"] != "drop"
    }
    lacking = {name: share for name, share in shares.items() if share > 0}
    if not lacking:
        return rails.say("missing values", "passed", "none is missing")
    worst = sorted(lacking.items(), key=lambda pair: -pair[1])[:10]
    rails.say(
        "missing values",
        "done",
        f"{len(lacking)} column{'s lack' if len(lacking) > 1 else ' lacks'} values and "
        f"get{'' if len(lacking) > 1 else 's'} the usual one in their place: "
        + ", ".join(f"'{name}' {share:.1%}" for name, share in worst),
    )


def comparison(training, validation, settings, setup, random, rails):
    """By which rows models are compared: `folds` says of each row to which fold it belongs."""
    rows = len(training)
    task, target = setup["task"], setup["target"]
    split = settings.get("cvSplitColumnNames") or []
    if validation is not None:
        setup["by"] = f"validation_data ({len(validation):,} rows)"
        setup["folds"] = "validation"
        return
    if split:
        for column in split:
            if column not in training.columns:
                raise Refused(f"cv_split_column_names: training_data has no column '{column}'")
            if not set(training[column].unique()) <= {0, 1}:
                raise Refused(f"cv_split_column_names: expected 0 and 1 in '{column}'")
        setup["by"] = f"{len(split)} folds of cv_split_column_names"
        setup["splits"] = [training[column].astype(int).tolist() for column in split]
        setup["folds"] = "splits"
        training.drop(columns=split, inplace=True)
        return
    said = settings.get("nCrossValidations") or {}
    folds = int(said.get("value") or 0) if str(said.get("mode", "")).lower() == "custom" else 0
    share = settings.get("validationDataSize")
    if not folds and not share and rows > 20_000:
        share = 0.1
    if share and not folds:
        order = random.permutation(rows)
        if task == "classification":
            order = spread_by_class(training[target], order)
        held = numpy.zeros(rows, dtype=int)
        step = max(2, round(1 / share))
        held[order[::step]] = 1
        setup["by"] = f"{int(held.sum()):,} rows that are held back"
        setup["splits"] = [(1 - held).tolist()]
        setup["folds"] = "splits"
        return
    folds = folds or (10 if rows < 1000 else 3)
    if folds > rows // 2:
        raise Refused(
            f"n_cross_validations: expected at most {rows // 2} for {rows} rows, found {folds}"
        )
    order = random.permutation(rows)
    if task == "classification":
        least = int(training[target].value_counts().min())
        if least < folds:
            rails.say(
                "folds",
                "warning",
                f"the smallest class has {least} rows: not each of {folds} folds has one",
            )
        order = spread_by_class(training[target], order)
    number = numpy.empty(rows, dtype=int)
    number[order] = numpy.arange(rows) % folds
    setup["by"] = f"{folds} folds"
    setup["number"] = number.tolist()
    setup["folds"] = "number"


def spread_by_class(target, order):
    """That order, so that the rows of each class follow each other: dealt out, each fold has its
    share of every class."""
    codes = pandas.factorize(target, sort=True)[0]
    return order[numpy.argsort(codes[order], kind="stable")]


def typed(frame, setup):
    """Columns as models are trained with them: numbers as doubles, all else as texts or times."""
    frame = frame.copy()
    for column in setup["columns"]:
        name = column["name"]
        if name not in frame.columns:
            if column["kind"] == "drop":
                continue
            raise Refused(f"a table has no column '{name}', which the training data has")
        if column["kind"] == "numeric":
            frame[name] = pandas.to_numeric(frame[name], errors="coerce").astype(float)
        elif column["kind"] != "datetime" or frame[name].dtype == object:
            frame[name] = (
                frame[name].map(lambda v: None if v is None or v != v else str(v)).astype(object)
            )
    keep = [c["name"] for c in setup["columns"] if c["kind"] != "drop"]
    more = [name for name in setup.get("also", []) if name in frame.columns]
    return frame[keep + more + [setup["target"]]].reset_index(drop=True)


if __name__ == "__main__":
    main(sys.argv[1:])

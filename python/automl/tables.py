"""Tables: an MLTable folder, CSV, JSON lines or Parquet, read into a pandas data frame."""

import glob
import os
import re


class Refused(Exception):
    """What the data or the settings have that AutoML cannot work with, in words for people."""


DELIMITED = (".csv", ".tsv", ".txt", ".data")


def read(place, what):
    """The table at that file or folder; `what` names it in messages."""
    if os.path.isdir(place):
        declared = os.path.join(place, "MLTable")
        if os.path.isfile(declared):
            return read_mltable(place, declared, what)
        files = sorted(
            file
            for file in glob.glob(os.path.join(place, "**", "*"), recursive=True)
            if os.path.isfile(file)
        )
        if not files:
            raise Refused(f"{what}: expected a table, found an empty folder")
        return together([read_file(file, {}, what) for file in files], what)
    return read_file(place, {}, what)


def together(frames, what):
    import pandas

    frame = frames[0] if len(frames) == 1 else pandas.concat(frames, ignore_index=True)
    if frame.empty:
        raise Refused(f"{what}: expected rows, found none")
    frame.columns = [str(column) for column in frame.columns]
    return frame


def read_file(file, options, what, kind=None):
    import pandas

    lower = file.lower()
    try:
        if kind == "parquet" or (kind is None and lower.endswith((".parquet", ".pq"))):
            return pandas.read_parquet(file)
        if kind == "json" or (kind is None and lower.endswith((".jsonl", ".json"))):
            return pandas.read_json(file, lines=True)
        if kind == "delimited" or lower.endswith(DELIMITED) or "." not in os.path.basename(lower):
            if lower.endswith(".tsv"):
                options = {"sep": "\t", **options}
            return pandas.read_csv(file, **options)
    except Refused:
        raise
    except Exception as why:
        raise Refused(f"{what}: '{os.path.basename(file)}' cannot be read: {why}") from why
    raise Refused(
        f"{what}: expected CSV, TSV, JSON lines or Parquet, found '{os.path.basename(file)}'"
    )


def read_mltable(folder, declared, what):
    """What MLTable's YAML says of `paths` and `transformations`; others are refused by name."""
    import yaml

    with open(declared, encoding="utf-8") as file:
        said = yaml.safe_load(file) or {}
    files = []
    for path in said.get("paths") or []:
        (kind, text), *_ = path.items()
        if kind not in ("file", "folder", "pattern") or "://" in text.replace("file://", ""):
            raise Refused(
                f"{what}: MLTable: paths: expected file, folder or pattern beneath the table's "
                f"own folder, found '{kind}: {text}'"
            )
        whole = os.path.join(folder, text.replace("file://", ""))
        found = (
            sorted(glob.glob(os.path.join(whole, "**", "*"), recursive=True))
            if kind == "folder"
            else sorted(glob.glob(whole, recursive=True))
        )
        found = [file for file in found if os.path.isfile(file)]
        if not found:
            raise Refused(f"{what}: MLTable: paths: nothing is at '{text}'")
        files += found
    if not files:
        raise Refused(f"{what}: MLTable: expected `paths`, found none")
    frame = None
    for step in said.get("transformations") or []:
        name, options = (step, {}) if isinstance(step, str) else next(iter(step.items()))
        options = options or {}
        if name.startswith("read_"):
            frame = together([read_by(name, options, file, what) for file in files], what)
            continue
        if frame is None:
            frame = together([read_file(file, {}, what) for file in files], what)
        frame = transformed(frame, name, options, what)
    if frame is None:
        frame = together([read_file(file, {}, what) for file in files], what)
    return frame


def read_by(name, options, file, what):
    if name == "read_parquet":
        return read_file(file, {}, what, "parquet")
    if name == "read_json_lines":
        return read_file(file, {}, what, "json")
    if name == "read_delimited":
        header = str(options.get("header", "all_files_same_headers")).lower()
        encoding = {"ascii": "ascii", "utf8": "utf-8", "utf8bom": "utf-8-sig"}.get(
            str(options.get("encoding", "utf8")).lower(), str(options.get("encoding", "utf8"))
        )
        more = {"sep": options.get("delimiter", ","), "encoding": encoding}
        if header in ("no_header", "none", "false"):
            more["header"] = None
        frame = read_file(file, more, what, "delimited")
        if "header" in more:
            frame.columns = [f"Column{i + 1}" for i in range(len(frame.columns))]
        return frame
    raise Refused(
        f"{what}: MLTable: expected read_delimited, read_parquet or read_json_lines, found '{name}'"
    )


def transformed(frame, name, options, what):
    import pandas

    if name in ("drop_columns", "keep_columns"):
        columns = [options] if isinstance(options, str) else list(options)
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise Refused(f"{what}: MLTable: {name}: there is no column {missing}")
        return frame.drop(columns=columns) if name == "drop_columns" else frame[columns]
    if name in ("take", "skip"):
        count = int(options if not isinstance(options, dict) else options.get("count", 0))
        return frame.head(count) if name == "take" else frame.iloc[count:]
    if name == "convert_column_types":
        for one in options:
            columns = one["columns"] if isinstance(one["columns"], list) else [one["columns"]]
            kind = one["column_type"]
            kind = kind if isinstance(kind, str) else next(iter(kind))
            for column in columns:
                if kind in ("int", "float"):
                    frame[column] = pandas.to_numeric(frame[column], errors="coerce")
                elif kind == "datetime":
                    frame[column] = pandas.to_datetime(frame[column], errors="coerce")
                elif kind in ("string", "boolean"):
                    frame[column] = frame[column].astype(str)
        return frame
    raise Refused(
        f"{what}: MLTable: expected drop_columns, keep_columns, take, skip or "
        f"convert_column_types, found '{name}'"
    )


DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?Z?)?")


def looks_like_dates(values):
    """Whether all of these texts are days, or days with a time."""
    values = [str(value).strip() for value in values]
    return bool(values) and all(DATE.fullmatch(value) for value in values)

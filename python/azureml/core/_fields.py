"""Sections of a run configuration: which members there are, and how each is called in a .runconfig file."""
from __future__ import annotations

import difflib
from typing import Any, ClassVar, Dict, Tuple

from azureml.exceptions import RunConfigurationException


class Section:
    """`FIELDS` says of each member its name in files and what it is at first. A member that does not exist is refused,
    since a misspelled one would silently do nothing."""

    FIELDS: ClassVar[Dict[str, Tuple[str, Any]]] = {}
    _others: Dict[str, Any]

    def __init__(self) -> None:
        object.__setattr__(self, "_others", {})  # of a file, by names that are not known here: kept, and written again
        for name, (_, first) in self.FIELDS.items():
            setattr(self, name, first() if callable(first) else first)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self.FIELDS and not isinstance(getattr(type(self), name, None), property):
            near = difflib.get_close_matches(name, self.FIELDS, 1)
            raise AttributeError(f"{type(self).__name__} has no '{name}'" + (f": did you mean '{near[0]}'?" if near else
                                                                             f", only {', '.join(self.FIELDS)}"))
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._to_file()})"

    def _to_file(self) -> Dict[str, Any]:
        out: Dict[str, Any] = {}
        for name, (called, _) in self.FIELDS.items():
            value = getattr(self, name)
            out[called] = value._to_file() if isinstance(value, Section) else value
        return {**out, **self._others}

    def _from_file(self, said: Any, place: str) -> None:
        if said is None:
            return
        if not isinstance(said, dict):
            raise RunConfigurationException(f"{place}: expected a mapping, found {said!r}")
        names = {called: name for name, (called, _) in self.FIELDS.items()}
        for called, value in said.items():
            name = names.get(called)
            if name is None:
                self._others[called] = value
            elif isinstance(getattr(self, name), Section):
                getattr(self, name)._from_file(value, f"{place}.{called}")
            elif value is not None:
                setattr(self, name, value)

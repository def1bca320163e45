"""Rows of a table that users call by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from fundus_ray.errors import DataError

T = TypeVar("T")


def by_name(table: Mapping[str, T], name: str, *, what: str) -> T:
    """The row of this name. Raises DataError with the nearest name, or all of them; `what`: what the table holds."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name.lower(), table, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(table)}"
    raise DataError(f"no {what} is called {name!r}; {hint}")

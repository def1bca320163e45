"""Scored groups as the loop took them, whole enough to be trained on again: RUN_DIR/recorded/step-000001.parquet.

In: the groups that one step took. Out: one file a step, one row a group (recorded_rows.py), in the order in which the
step took them; and back.

Files are Parquet, read without unpickling anything. One that is damaged, of another form or contradicts itself raises
DataError with its name and the row.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fundus_ray.errors import DataError
from fundus_ray.obs.recorded_rows import SCHEMA, RecordedGroup, group_of_row, row_of
from fundus_ray.types import ScoredGroup

FOLDER = "recorded"
FORM = "1"  # raise it whenever a reader of before would misread a file
_FORM_KEY, _STEP_KEY = b"fundus_ray.recorded", b"fundus_ray.step"


def recorded_file(run_dir: Path, step: int) -> Path:
    """Where the groups of this update lie."""
    return run_dir / FOLDER / f"step-{step:06d}.parquet"


def recorded_steps(run_dir: Path) -> int:
    """How many updates were recorded, from the first one on. Raises DataError where there are none, or one between
    them is missing."""
    found = sorted(step_of(path) for path in (run_dir / FOLDER).glob("step-*.parquet"))
    if not found:
        raise DataError(
            f"{run_dir} holds no recorded rollouts ({FOLDER}/step-000001.parquet); record with run.record=true"
        )
    missing = next((step for step, there in enumerate(found, start=1) if step != there), None)
    if missing is not None:
        raise DataError(
            f"{recorded_file(run_dir, missing)} is missing, so the recording cannot be followed from its start"
        )
    return len(found)


def step_of(path: Path) -> int:
    """The update that a recorded file is of."""
    return int(path.stem.removeprefix("step-"))


def cut_recorded(run_dir: Path, upto_step: int) -> None:
    """Remove what was recorded after the step."""
    for path in (run_dir / FOLDER).glob("step-*.parquet"):
        if step_of(path) > upto_step:
            path.unlink()


def write_recorded(run_dir: Path, step: int, groups: Sequence[ScoredGroup]) -> None:
    """All groups that the step took, trained or dropped, in its order. The file is there as a whole or not at all."""
    path = recorded_file(run_dir, step)
    path.parent.mkdir(exist_ok=True)
    schema = SCHEMA.with_metadata({_FORM_KEY: FORM, _STEP_KEY: str(step)})
    part = path.with_name(f".{path.name}.part")
    pq.write_table(pa.Table.from_pylist([row_of(group) for group in groups], schema=schema), part, compression="zstd")
    os.replace(part, path)


def read_recorded(run_dir: Path, step: int) -> list[RecordedGroup]:
    """The groups of one step, in the order in which it took them. Raises DataError naming the file and the row."""
    path = recorded_file(run_dir, step)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as err:
        raise DataError(f"{path} cannot be read as recorded rollouts: {' '.join(str(err).split())[:200]}") from None
    told = table.schema.metadata or {}
    if told.get(_FORM_KEY, b"none") != FORM.encode():
        form = told.get(_FORM_KEY, b"none").decode(errors="replace")
        raise DataError(f"{path} has form {form} of recorded rollouts, this version reads form {FORM}")
    if not table.schema.equals(SCHEMA):
        raise DataError(f"{path} has other columns than recorded rollouts of form {FORM}: {_difference(table.schema)}")
    if told.get(_STEP_KEY) != str(step).encode():
        raise DataError(
            f"{path} was recorded by update {told.get(_STEP_KEY, b'?').decode(errors='replace')}, not {step}"
        )
    return [group_of_row(row, where=f"{path} row {number}") for number, row in enumerate(table.to_pylist())]


def _difference(schema: pa.Schema) -> str:
    """The first column that is not as it should be."""
    for name in sorted({*SCHEMA.names, *schema.names}):
        expected, found = ([s.field(name).type] if name in s.names else [] for s in (SCHEMA, schema))
        if expected != found:
            return f"{name} is {found[0] if found else 'missing'}, expected {expected[0] if expected else 'none'}"
    return "they stand in another order"

"""What a check found, and the table of all findings.

In: findings of single machines. Out: rows, machines of which the same was found in one; text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from fundus_ray.errors import ConfigError

NAMED = 3  # machines that a row names; further ones are counted
EVERYWHERE = "cluster"


class Verdict(str, Enum):
    """Whether a run can work."""

    OK = "ok"
    WARN = "warn"  # it can, or it is not known; a person should look
    FAIL = "fail"  # it cannot


@dataclass(frozen=True, slots=True)
class Finding:
    """One row. `remedy` is empty where nothing is wrong."""

    check: str
    where: str
    found: str
    verdict: Verdict = Verdict.OK
    remedy: str = ""


def warn(check: str, where: str, found: str, remedy: str) -> Finding:
    """A row that a person should look at."""
    return Finding(check, where, found, Verdict.WARN, remedy)


def fail(check: str, where: str, found: str, remedy: str) -> Finding:
    """A row that ends the run."""
    return Finding(check, where, found, Verdict.FAIL, remedy)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Rows that differ in `where` alone as one, in the order of the first of each."""
    rows: dict[tuple[str, str, Verdict, str], list[str]] = {}
    for one in findings:
        rows.setdefault((one.check, one.found, one.verdict, one.remedy), []).append(one.where)
    return [Finding(key[0], _named(where), *key[1:]) for key, where in rows.items()]


def table(findings: Sequence[Finding]) -> str:
    """For a terminal: a line a row, and under it what to do where something is to be done."""
    header = ("verdict", "check", "where", "found")
    rows = [header, *((one.verdict.value, one.check, one.where, one.found) for one in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    indent = " " * (widths[0] + 2)
    remedies = [f"\n{indent}-> {one.remedy}" if one.remedy else "" for one in findings]
    return "\n".join(line + remedy for line, remedy in zip(lines, ["", *remedies], strict=True))


def counted(findings: Sequence[Finding]) -> str:
    """As `11 checks: 9 ok, 1 warn, 1 fail`."""
    counts = {verdict: sum(one.verdict is verdict for one in findings) for verdict in Verdict}
    parts = [f"{count} {verdict.value}" for verdict, count in counts.items() if count]
    return f"{len(findings)} checks: {', '.join(parts)}"


def raise_failures(findings: Sequence[Finding]) -> None:
    """Raises ConfigError with the first failure and the number of others, if there is any."""
    failed = [one for one in findings if one.verdict is Verdict.FAIL]
    if failed:
        first, *others = failed
        more = f" (and {len(others)} more)" if others else ""
        raise ConfigError(f"this run cannot work: {first.check}, {first.where}: {first.found}; {first.remedy}{more}")


def _named(places: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(places))
    more = f" and {len(distinct) - NAMED} more" if len(distinct) > NAMED else ""
    return ", ".join(distinct[:NAMED]) + more

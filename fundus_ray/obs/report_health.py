"""The report's section on the reward itself: how it went from the first updates to the last, and its alarms.

In: a `RunRecord`. Out: Markdown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fundus_ray.obs.report_table import table
from fundus_ray.obs.run_record import RunRecord, column, total

END_STEPS = 5  # at either end of the run, whose mean is shown
SHARES = (
    ("relations supported by knowledge", "claims/supported"),
    ("relations contradicted", "claims/contradicted"),
    ("relations not found", "claims/not_found"),
    ("findings that fit the answer but are not on the image", "health/recital_rate"),
    ("groups without signal (all rollouts score the same)", "health/no_signal_share"),
    ("queries and claims answered by the cache", "search/hit_rate"),
)
NUMBERS = (
    ("relations a chain", "claims/per_chain"),
    ("tokens a chain", "completion/tokens_mean"),
    ("deviation of the total within a group", "health/group_deviation"),
)
COUNTS = (
    ("groups held for the search", "outage/held"),
    ("of them dropped", "outage/dropped"),
    ("of them scored without knowledge", "outage/masked"),
    ("searches and checks that failed", "search/failures"),
)
AGREEMENT = "health/with_accuracy_"


def health_section(record: RunRecord) -> str:
    """Alarms first; then means of the first and last updates; then what outages did."""
    title = "## Health of the reward"
    if not record.steps:
        return f"{title}\n\nNo policy update was made in this run, so there is nothing to judge."
    rows = [(label, *_ends(record, name, "{:.1%}")) for label, name in SHARES]
    rows += [(label, *_ends(record, name, "{:.3g}")) for label, name in NUMBERS]
    parts = sorted({name for step in record.steps for name in step if name.startswith(AGREEMENT)})
    rows += [
        (f"correlation of {name.removeprefix(AGREEMENT)} with accuracy", *_ends(record, name, "{:.2f}"))
        for name in parts
    ]
    counts = ", ".join(f"{label}: {total(record, name):g}" for label, name in COUNTS)
    return "\n\n".join(
        [
            title,
            _alarms(record),
            table(("", f"first {END_STEPS} updates", f"last {END_STEPS}"), [r for r in rows if set(r[1:]) != {"-"}]),
            f"Outages: {counts}. No rollout is scored zero because of one.",
        ]
    )


def _alarms(record: RunRecord) -> str:
    if not record.alarms:
        return "No alarm was raised."
    return "\n".join(f"- **Alarm at update {a['step']}, {a['kind']}:** {a['text']}" for a in record.alarms)


def _ends(record: RunRecord, name: str, form: str) -> tuple[str, str]:
    _, values = column(record, name)
    return _mean(values[:END_STEPS], form), _mean(values[-END_STEPS:], form)


def _mean(values: Sequence[float], form: str) -> str:
    there = [value for value in values if math.isfinite(value)]
    return form.format(math.fsum(there) / len(there)) if there else "-"

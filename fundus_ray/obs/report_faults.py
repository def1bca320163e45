"""The report's section on workers that died and samples that were left out.

In: a `RunRecord`. Out: Markdown, or nothing where all went well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from fundus_ray.obs.report_table import table
from fundus_ray.obs.run_record import RunRecord

SHOWN = 10  # samples that are named


def faults_section(record: RunRecord) -> str:
    """One row a kind of fault; then the samples that are left out, with their reasons."""
    if not record.faults and not record.quarantined:
        return ""
    parts = ["## Faults"]
    if record.faults:
        kinds = sorted({(fault["role"], fault["kind"]) for fault in record.faults})
        rows = [
            _row(kind, [fault for fault in record.faults if (fault["role"], fault["kind"]) == kind]) for kind in kinds
        ]
        parts.append(table(("worker", "fault", "times", "groups done again", "seconds to recover", "at most"), rows))
        parts.append(f"Each with its cause and the ids of its groups: `{record.path}/faults.jsonl`.")
    if record.quarantined:
        reasons: dict[str, str] = {}
        for line in record.quarantined:
            reasons.setdefault(line["sample"], line["reason"])
        named = [f"- `{sample}`: {reason}" for sample, reason in list(reasons.items())[:SHOWN]]
        if len(reasons) > SHOWN:
            named.append(f"- and {len(reasons) - SHOWN} more in `{record.path}/quarantine.jsonl`")
        said = f"{len(record.quarantined)} groups of {len(reasons)} samples were left out, as these cannot be used:"
        parts += [said, "\n".join(named)]
    return "\n\n".join(parts)


def _row(kind: tuple[str, str], faults: Sequence[Mapping[str, Any]]) -> tuple[object, ...]:
    took = [fault["recover_s"] for fault in faults if fault["recover_s"] is not None]
    middle, most = (f"{median(took):.1f}", f"{max(took):.1f}") if took else ("-", "-")
    return (*kind, len(faults), sum(len(fault["requeued"]) for fault in faults), middle, most)

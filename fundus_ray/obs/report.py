"""The end of a run: curves.png, report.md and summary.json, made from the run folder alone.

In: a run folder, also one of a run that was stopped, had no learner step or no evaluation. Out: three files in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fundus_ray.obs.curves import draw_curves
from fundus_ray.obs.report_chains import chains_section, photo_section
from fundus_ray.obs.report_faults import faults_section
from fundus_ray.obs.report_health import health_section
from fundus_ray.obs.report_table import table
from fundus_ray.obs.run_record import (
    RunRecord,
    lag_counts,
    non_finite,
    read_run,
    run_ceiling,
    summary,
    time_weighted,
    total,
)
from fundus_ray.obs.strict_json import write_json, write_text

EVALUATION_ROWS = (
    ("accuracy", "accuracy"),
    ("finding F1", "finding_f1"),
    ("finding recall", "finding_recall"),
    ("finding precision", "finding_precision"),
    ("recital rate", "recital_rate"),
    ("well-formed chains", "format_rate"),
)
SHOWN_CONFIG = (
    ("data", "data.source"),
    ("policy", "policy.path"),
    ("LoRA rank", "policy.lora_rank"),
    ("SFT steps", "sft.steps"),
    ("prompts a step", "loop.groups_per_step"),
    ("rollouts a prompt", "rollout.group_size"),
    ("rollout workers", "rollout.workers"),
    ("reward workers", "reward.workers"),
    ("asynchronous ratio", "loop.async_ratio"),
    ("algorithm", "learner.algorithm"),
    ("off-policy correction", "learner.correction"),
    ("learning rate", "learner.learning_rate"),
    ("seed", "run.seed"),
)


def write_report(run_dir: Path) -> None:
    """Make the three files, replacing older ones. Raises DataError where the folder is none of a run or is broken."""
    record = read_run(run_dir)
    write_json(run_dir / "summary.json", summary(record))
    draw_curves(record, run_dir / "curves.png")
    sections = [
        _headline(record),
        _what_ran(record),
        _before_after(record),
        "## Curves\n\n![six panels: reward, held-out results, staleness, idle shares, step time, mismatch](curves.png)",
        _stages(record),
        _traces(record),
        _asynchronous(record),
        faults_section(record),
        health_section(record),
        chains_section(record),
        photo_section(record),
        _go_on(record),
    ]
    write_text(run_dir / "report.md", "\n\n".join(s for s in sections if s) + "\n")


def _headline(record: RunRecord) -> str:
    lines = [f"# Run {record.path.resolve().name}", _verdict(record)]
    bad = non_finite(record)
    if bad:
        found = "; ".join(f"`{name}` at step {', '.join(map(str, steps[:5]))}" for name, steps in bad.items())
        lines.append(f"**Warning:** not finite: {found}.")
    return "\n\n".join(lines)


def _verdict(record: RunRecord) -> str:
    """One sentence that may be quoted: what was gained, on what, how surely."""
    before, after = (e.get("accuracy") if e else None for e in (record.before, record.after))
    if before is None and after is None:
        return "This run has no held-out evaluation, so it shows nothing about what was learned."
    if before is None or after is None:
        which, there = ("after", before) if after is None else ("before", after)
        return f"Held-out accuracy {there:.1%}; there is no evaluation {which} RL, so no change can be given."
    text = f"Held-out accuracy **{before:.1%} → {after:.1%}** in {len(record.steps)} policy updates"
    if record.change is None:
        return text + "."
    c = record.change
    return f"{text}: {_points(c.mean)} points, 95 % interval {_points(c.low)} to {_points(c.high)} (paired, n = {c.n})."


def _what_ran(record: RunRecord) -> str:
    planned = _config_value(record, "loop.steps")
    rows = [("policy updates", f"{len(record.steps)} of {planned}" if planned != "?" else len(record.steps))]
    if replay := record.facts.get("replay"):
        rows.append(("replay of", replay["of"]))
    rows += [(label, _config_value(record, key)) for label, key in SHOWN_CONFIG]
    git = record.versions.get("git")
    if git:
        rows.append(("commit", f"{git['commit'][:12]}{' with local changes' if git['dirty'] else ''}"))
    packages = {k: v for k, v in record.versions.get("packages", {}).items() if v}
    if packages:
        rows.append(("packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    if record.versions:
        rows.append(("machine", f"{record.versions.get('platform')}, {record.versions.get('cpu_count')} CPUs"))
    return "## What was run\n\n" + table(("", ""), rows)


def _before_after(record: RunRecord) -> str:
    title = "## Held-out results, before and after RL\n\n"
    there = [e for e in (record.before, record.after) if e]
    if not there:
        return title + "Not evaluated in this run."
    missing = [w for w, e in (("before", record.before), ("after", record.after)) if not e]
    note = f"There is no evaluation {missing[0]} RL in this run.\n\n" if missing else ""
    rows: list[tuple[object, ...]] = []
    for label, key in EVALUATION_ROWS:
        first, second = ((e.get(key) if e else None) for e in (record.before, record.after))
        change = "-" if first is None or second is None else f"{_points(second - first)} points"
        rows.append((label, _with_interval(record.before, key), _with_interval(record.after, key), change))
    for label, key in (("samples scored (n)", "n"), ("of them with annotated findings", "finding_n")):
        rows.append((label, *(_plain(e.get(key)) if e else "-" for e in (record.before, record.after)), ""))
    failed = [_counts(e.get("failed", {})) if e else "-" for e in (record.before, record.after)]
    rows.append(("samples that could not be scored", *failed, ""))
    rendered = table(("", "before", "after", "change"), rows)
    legend = (
        "\n\nIn brackets: 95 % intervals (shares: Wilson; finding F1, recital rate: bootstrap over samples). Recital "
        "rate: of the stated findings, those that fit the chain's own answer but are not on the image."
    )
    return title + note + rendered + legend + _by_update(record) + _per_class(record)


def _by_update(record: RunRecord) -> str:
    """How it grew; nothing where no checkpoint was evaluated."""
    if not record.checkpoints:
        return ""
    points = [(0, record.before), *record.checkpoints.items(), (len(record.steps), record.after)]
    rows = [(step, _with_interval(e, "accuracy"), _with_interval(e, "finding_f1")) for step, e in points if e]
    return "\n\n" + table(("updates", "accuracy", "finding F1"), rows)


def _per_class(record: RunRecord) -> str:
    sides = [(e or {}).get("per_class", {}) for e in (record.before, record.after)]
    names = sorted({*sides[0], *sides[1]})
    rows = []
    for name in names:
        scores = [side.get(name, {}) for side in sides]
        cells = [_share(s.get(key)) for key in ("sensitivity", "specificity") for s in scores]
        rows.append((name, *cells, scores[1].get("positives", scores[0].get("positives"))))
    if not rows:
        return ""
    header = ("answer", "sensitivity before", "after", "specificity before", "after", "samples")
    return "\n\n" + table(header, rows)


def _stages(record: RunRecord) -> str:
    if not record.wall_s:
        return "## Time by stage\n\nNo stage times were written."
    whole = sum(record.wall_s.values())
    rows = [(name, f"{seconds:.1f}", f"{seconds / whole:.0%}") for name, seconds in record.wall_s.items()]
    return "## Time by stage\n\n" + table(
        ("stage", "wall seconds", "share"), [*rows, ("**total**", f"**{whole:.1f}**", "")]
    )


def _traces(record: RunRecord) -> str:
    """What became of the traces that a model wrote; nothing where none did."""
    facts = record.facts.get("traces", {})
    verdicts: Mapping[str, int] = facts.get("verdicts", {})
    written = sum(verdicts.values())
    if not written:
        return ""
    rows = [(name.replace("_", " "), n, f"{n / written:.0%}") for name, n in sorted(verdicts.items())]
    verdict_rows = table(("verdict", "traces", "share"), rows)
    origin = f"Written by a model, filtered by knowledge; all of them in `{facts['folder']}`."
    return f"## Reasoning traces\n\n{origin}\n\n{verdict_rows}"


def _asynchronous(record: RunRecord) -> str:
    title = "## Asynchronous running\n\n"
    facts = summary(record)
    if not record.steps:
        return title + "No policy update was made in this run, so there is nothing to measure."
    lags = lag_counts(record)
    share = sum(n for lag, n in lags.items() if lag > 0) / sum(lags.values()) if sum(lags.values()) else None
    ceiling = run_ceiling(record)
    rows = [
        ("asynchronous ratio (setting)", _plain(facts["async_ratio"])),
        ("trained on older versions (measured)", _share(share)),
        ("lag histogram [versions: rollouts]", ", ".join(f"{lag}: {n:,}" for lag, n in lags.items()) or "-"),
        ("largest lag", _plain(facts["lag_max"])),
        ("learner idle (waits for groups)", _share(time_weighted(record, "idle/learner"))),
        ("rollout workers idle (no request)", _share(time_weighted(record, "idle/generator"))),
        ("seconds a step, mean", f"{total(record, 'time/step') / len(record.steps):.2f}"),
        ("ceiling of the speed-up by overlap", "-" if ceiling is None else f"{ceiling:.2f}x"),
        ("adapters published", _plain(facts["adapter_publishes"])),
        ("adapter deliveries proven", _plain(facts["adapter_deliveries_proven"])),
        ("engines started again", f"{total(record, 'engine_restarts'):.0f}"),
        ("groups dropped, by reason", _counts(facts["dropped"])),
    ]
    note = (
        "\n\nCeiling: (Tg + Tr + Tt + Ts) / max(Tg, Tr, Tt + Ts) of generation, reward, update and weight sync, summed "
        "over the run. Stages that share CPU cores slow one another down, which this figure does not see."
    )
    return title + table(("", ""), rows) + note


def _go_on(record: RunRecord) -> str:
    folder = record.path
    more = 2 * max(1, len(record.steps), int(record.config.get("loop", {}).get("steps", 0)))
    return "\n".join(
        [
            "## How to go on",
            "",
            f"- Every scored rollout with its evidence: `{folder}/rollouts/`; every number: `{folder}/metrics.jsonl`.",
            f"- Curves as they grow: `tensorboard --logdir {folder.parent}`.",
            f"- Who waited for whom: open `{folder}/trace.json` in https://ui.perfetto.dev.",
            f"- More updates, from the last checkpoint: `fundus-ray train --resume {folder} loop.steps={more}`.",
            f"- Another image: `fundus-ray generate --policy {folder} --image FILE`.",
            f"- Again, with one thing changed: `fundus-ray train --config {folder}/config.yaml loop.async_ratio=0`.",
        ]
    )


def _config_value(record: RunRecord, key: str) -> str:
    section, _, name = key.partition(".")
    return str(record.config.get(section, {}).get(name, "?"))


def _with_interval(evaluation: Mapping[str, Any] | None, key: str) -> str:
    if not evaluation or evaluation.get(key) is None:
        return "-"
    low, high = evaluation.get(f"{key}_low"), evaluation.get(f"{key}_high")
    interval = "" if low is None or high is None else f" [{low:.1%}, {high:.1%}]"
    return f"{evaluation[key]:.1%}{interval}"


def _points(change: float) -> str:
    return f"{100 * change:+.1f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _plain(value: object) -> str:
    return "-" if value is None else str(value)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {n}" for reason, n in sorted(counts.items()) if n) or "none"

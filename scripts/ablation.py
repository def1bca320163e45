#!/usr/bin/env python
"""Traces, process rewards, knowledge and grounding, each left out in turn: every arm over several seeds.

    python scripts/ablation.py [--seeds 0,1,2] [--readme] [section.key=value ...]

From each of three warm starts RLVR goes on under several rewards, with equally many prompts, rollouts and updates:

    traces    the quickstart's: a model reads the images, knowledge links and filters what it saw
    answers   the bare answers of the very same samples, for as many steps
    gaps      traces whose writer knows the label but overlooks half of the findings (simulated), so that chain and
              answer disagree: what is left for a process reward to mend

All arms are read on the same held-out samples by greedy chains. The knowledge base is drawn smaller for the reward
alone (the warm start is the same), and without grounding, so that knowledge is all that the process reward rests on.
Recited findings are judged by the whole knowledge base in every arm.

What is finished is kept in RUN_DIR, so that a second call goes on. Writes RUN_DIR/ablation/ablation.md and
ablation.png; with --readme also the section of README.md and its picture.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablation_report import PICTURE, SCRIPT, SHOWS, ArmResult, KnowledgeSize, write_report
from finished_runs import facts_of, finished
from paired_difference import check_paired
from readme_section import write_section_with_picture

from fundus_ray.config import load
from fundus_ray.data.source import load_data
from fundus_ray.evaluate.metrics import EvalRow
from fundus_ray.knowledge.records import Records, load_records
from fundus_ray.knowledge.store import build_store, records_of
from fundus_ray.reward.health import recited
from fundus_ray.traces.store import stored_traces
from fundus_ray.types import ImageRef, Modality, ModelReply, ModelRequest
from fundus_ray.write_traces import Reader, TraceWriter

ROOT = Path(__file__).parents[1]
RECIPES = {name: ROOT / "configs" / f"{name}.yaml" for name in ("quickstart", "simulated")}
UPDATES = 25
LEARNING_RATE = 0.003  # three times the recipes': few updates must show what a reward leads to
SHARES = (0.1, 0.25, 0.5, 1.0)
MODALITY = Modality.CFP  # of every phantom

OUTCOME = ("reward.consistency=0", "reward.grounding=0")
UNGROUNDED = ("reward.consistency=0.5", "reward.knowledge=0.2", "reward.coherence=0.2", "reward.grounding=0")
PROCESS = (*UNGROUNDED[:-1], "reward.grounding=0.5")
GAPS = (
    "data.train_samples=2048",
    "sft.steps=300",
    "sft.label_blind=0",
    "sft.drop_finding=0.5",
)


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of the table. No `reward`: the warm start itself."""

    name: str
    start: str  # traces | answers | gaps
    reward: tuple[str, ...] = ()
    share: float = 1.0  # of the knowledge base, for the reward


ARMS = (
    Arm("traces", "traces"),
    Arm("traces, outcome reward", "traces", OUTCOME),
    Arm("traces, outcome + process reward", "traces", PROCESS),
    Arm("answers", "answers"),
    Arm("answers, outcome reward", "answers", OUTCOME),
    Arm("answers, outcome + process reward", "answers", PROCESS),
    Arm("traces with gaps", "gaps"),
    Arm("gaps, outcome reward", "gaps", OUTCOME),
    Arm("gaps, process with grounding", "gaps", PROCESS),
    *(Arm(f"gaps, process without grounding, {s:.0%} of knowledge", "gaps", UNGROUNDED, s) for s in reversed(SHARES)),
)


def main() -> None:
    """Run what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated (default 0,1,2)")
    parser.add_argument("--readme", action="store_true", help="also write the section of README.md and its picture")
    parser.add_argument("overrides", nargs="*", help="for every arm; sft.* for the warm starts")
    args = parser.parse_intermixed_args()
    rows: dict[str, list[list[EvalRow]]] = {arm.name: [] for arm in ARMS}
    sizes: list[dict[float, KnowledgeSize]] = []
    out = Path(load(RECIPES["quickstart"], args.overrides).run.dir).resolve() / "ablation"
    records = load_records()
    for seed in map(int, args.seeds.split(",")):
        starts = warm_starts(seed, args.overrides)
        for arm in ARMS:
            folder = trained(arm, starts, seed=seed, overrides=args.overrides) if arm.reward else starts[arm.start]
            rows[arm.name].append(held_out(folder, "after" if arm.reward else "before", records=records))
        sizes.append(asyncio.run(knowledge_sizes(starts["traces"], seed=seed, overrides=args.overrides)))
    check_paired(rows)
    results = [
        ArmResult(arm.name, arm.start, rows[arm.name], trained=bool(arm.reward), share=arm.share) for arm in ARMS
    ]
    updates = load(RECIPES["quickstart"], [f"loop.steps={UPDATES}", *args.overrides])
    rollouts = updates.loop.steps * updates.loop.groups_per_step * updates.rollout.group_size
    text = write_report(results, sizes, folder=out, updates=updates.loop.steps, rollouts=rollouts)
    print("\n" + text)
    print(f"\nwritten to {out}/ablation.md and ablation.png")
    if args.readme:
        write_section_with_picture(
            text, script=SCRIPT, picture=out / PICTURE.name, place=PICTURE, shows=SHOWS, root=ROOT
        )
        print(f"written to README.md and {PICTURE}")


def warm_starts(seed: int, overrides: Sequence[str]) -> dict[str, Path]:
    """The run folders that end before RL, evaluated, by name."""
    shared = [*overrides, f"run.seed={seed}", "run.name=ablation", "evaluate.photo=false", "loop.steps=0"]
    traces = finished(load(RECIPES["quickstart"], shared), evaluated="before")
    of_traces = facts_of(traces)["traces"]["folder"]
    answers = [*shared, "sft.target=answers", f"sft.traces={of_traces}"]
    return {
        "traces": traces,
        "answers": finished(load(RECIPES["quickstart"], answers), evaluated="before"),
        "gaps": finished(load(RECIPES["simulated"], [*GAPS, *shared]), evaluated="before"),
    }


def trained(arm: Arm, starts: dict[str, Path], *, seed: int, overrides: Sequence[str]) -> Path:
    """The run folder of RLVR from the arm's warm start under its reward."""
    settings = [
        f"loop.steps={UPDATES}",
        f"learner.learning_rate={LEARNING_RATE}",
        *(setting for setting in overrides if not setting.startswith("sft.")),  # of the warm starts
        f"policy.path={facts_of(starts[arm.start])['policy']['base']}",
        "sft.steps=0",
        f"run.seed={seed}",
        "run.name=ablation",
        "evaluate.photo=false",
        "evaluate.before=false",
        *arm.reward,
        *drawn(arm.share, seed=seed),
    ]
    print(f"\n== seed {seed}: {arm.name}", flush=True)
    return finished(load(RECIPES["quickstart"], settings), evaluated="after")


def held_out(folder: Path, when: str, *, records: Records) -> list[EvalRow]:
    """The rows of an evaluation, in the samples' order, their recited findings judged by all of knowledge."""
    found = []
    for line in (folder / f"evaluation-{when}-rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        own = [records.get(option, MODALITY) for option in row["answer"] or ()]
        found.append(EvalRow(**{**row, "recited": recited(row["findings"], own, annotated=row["gold_findings"])}))
    return found


async def knowledge_sizes(folder: Path, *, seed: int, overrides: Sequence[str]) -> dict[float, KnowledgeSize]:
    """By share of the knowledge base: what it knows of the labels, and what is left of the warm start's traces, the
    model's replies being those of then: linked, cited and filtered anew."""
    stored = {one.trace.sample_id: one for one in stored_traces(Path(facts_of(folder)["traces"]["folder"]))}
    found = {}
    for share in SHARES:
        config = load(RECIPES["quickstart"], [*overrides, f"run.seed={seed}", *drawn(share, seed=seed)])
        cache_dir, records = Path(config.run.dir).resolve() / "cache", records_of(config.knowledge)
        samples = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids).train
        replies = {sample.image.sha256: stored[sample.id].reply for sample in samples}

        store = await build_store(config.knowledge, folder=cache_dir / "knowledge")
        try:
            labels = {label for sample in samples for label in sample.options}
            writer = TraceWriter(config, labels=labels, records=records, retriever=store, read=words_of_then(replies))
            outcomes = [await writer.write(replace(sample, findings=None)) for sample in samples]
        finally:
            await store.close()
        found[share] = KnowledgeSize(
            labels=sum(records.get(label, MODALITY) is not None for label in labels),
            of_labels=len(labels),
            kept=sum(not outcome.rejected for outcome in outcomes) / len(outcomes),
        )
    return found


def words_of_then(replies: Mapping[str, str]) -> Reader:
    """A reader that says again what it said: replies by the image's sha256."""

    async def read(image: ImageRef, _: ModelRequest) -> ModelReply:
        return ModelReply(text=replies[image.sha256], complete=True)

    return read


def drawn(share: float, *, seed: int) -> list[str]:
    """The settings of a smaller knowledge base."""
    return [f"knowledge.share={share}", f"knowledge.share_seed={seed}"] if share < 1 else []


if __name__ == "__main__":
    main()

"""The two policies that both sides start from, made once and kept.

In: the simulated recipe, or a checkpoint that is given. Out: folders of a tiny Qwen2.5-VL.

The one for long chains goes on from the other with traces whose list of findings is stretched: after the writer's own
findings come more, drawn at random, their number geometric. What the policy learns of it is a chance to go on that does
not depend on what was written, so its lengths have a long tail and both sides meet the same one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from side_by_side_work import DATA, WORKLOADS

from fundus_ray.config import Config, load
from fundus_ray.data.cache import content_key
from fundus_ray.data.source import load_data
from fundus_ray.first_policy import first_policy
from fundus_ray.knowledge.records import Records
from fundus_ray.knowledge.store import records_of
from fundus_ray.policy.load import load_policy
from fundus_ray.sft.checkpoint import TRAINED, fingerprint, save_policy, trained_once
from fundus_ray.sft.tiny_base import finding_names
from fundus_ray.sft.train import reshuffled, train_on_examples
from fundus_ray.sft.warm_start import trace_examples, traces_of
from fundus_ray.traces.writer import Trace
from fundus_ray.types import Sample

ROOT = Path(__file__).parents[1]
# A warm start that reinforcement can mend, so that a final reward says something.
WARM_START = ("sft.steps=300", "sft.vision_warmup_steps=300")
MEAN_MORE, MOST_MORE = 62, 240  # findings that are added to a trace; two tokens each
STRETCH_STEPS, STRETCH_RATE, STRETCH_BATCH = 100, 1e-3, 16
END_OF_FINDINGS = ". Conclusion:"


def policies(names: Sequence[str], *, given: Path | None, run_dir: str) -> dict[str, Path]:
    """Workload -> checkpoint. `given` stands for the warm start."""
    recipe = ROOT / "configs" / "simulated.yaml"
    config = load(recipe, [*DATA, *WARM_START, f"run.dir={run_dir}"])
    cache_dir = Path(run_dir).resolve() / "cache"
    records = records_of(config.knowledge)
    samples = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids).train
    start = given
    if start is None:
        made = first_policy(config, samples, records=records, cache_dir=cache_dir, stage=lambda *_: nullcontext())
        start = made.model_path
    found = {"short": start.resolve()}
    if "long" in names:
        found["long"] = _long(config, samples, records=records, start=start, cache_dir=cache_dir)
    return {name: found[name] for name in names}


def stretched(trace: Trace, names: Sequence[str], *, rng: random.Random) -> Trace:
    """The trace with more findings in its list. Raises ValueError where it has no such list."""
    head, mark, tail = trace.text.partition(END_OF_FINDINGS)
    if not mark:
        raise ValueError(f"the trace of {trace.sample_id} has no list of findings that ends with {END_OF_FINDINGS!r}")
    more = "".join(f", {rng.choice(names)}" for _ in range(extra_findings(rng)))
    return replace(trace, text=f"{head}{more}{mark}{tail}")


def extra_findings(rng: random.Random) -> int:
    """Geometric on 0, 1, ... with mean MEAN_MORE, at most MOST_MORE."""
    count = 0
    while count < MOST_MORE and rng.random() >= 1 / (MEAN_MORE + 1):
        count += 1
    return count


def _long(config: Config, samples: Sequence[Sample], *, records: Records, start: Path, cache_dir: Path) -> Path:
    names = sorted(finding_names(samples, records))
    key = content_key(
        start=fingerprint(start),
        names=",".join(names),
        made=json.dumps([MEAN_MORE, MOST_MORE, STRETCH_STEPS, STRETCH_RATE, STRETCH_BATCH]),
    )

    def train(part: Path) -> None:
        policy = load_policy(start)
        used = samples[: STRETCH_STEPS * STRETCH_BATCH]
        rng = random.Random(0)
        traces = [stretched(trace, names, rng=rng) for trace in traces_of(config, used, records=records)]
        examples = trace_examples(used, traces, processor=policy.processor)
        most = WORKLOADS["long"].max_tokens
        examples = [example for example in examples if len(example.completion_ids) <= most]
        settings = replace(config, sft=replace(config.sft, batch_size=STRETCH_BATCH))
        train_on_examples(
            settings,
            policy,
            examples,
            steps=STRETCH_STEPS,
            learning_rate=STRETCH_RATE,
            name="long traces",
            rows=reshuffled(len(examples), seed=settings.run.seed),
        )
        save_policy(policy, part / TRAINED)

    return trained_once(cache_dir / f"side-by-side-{key}", train)

"""`fundus-ray reward`: why a chain got its score, the score of one chain, past rollouts scored again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fundus_ray.cli.arguments import add, take_overrides, topic
from fundus_ray.errors import ConfigError, FundusRayError


def register(commands: Any) -> None:
    """Add the topic."""
    group = topic(commands, "reward", "why a chain got its score; score one, or past ones again")
    command = add(group, "explain", _explain, "print one scored rollout of a run for a person to read")
    command.add_argument(
        "rollouts", type=Path, metavar="FILE", help="RUN_DIR/rollouts/step-000001.jsonl, or the folder"
    )
    command.add_argument("--id", required=True, metavar="ID", help="GROUP.PLACE as in the file, or a sample's id")

    command = add(group, "score", _score, "score the chain on standard input and print JSON")
    command.add_argument("--modality", required=True, metavar="NAME", help="cfp, oct or uwf")
    command.add_argument("--question", required=True, metavar="TEXT")
    command.add_argument("--options", default="", metavar="TEXT", help='"A. ..., B. ..."; none for a free-text answer')
    command.add_argument("--truth", required=True, metavar="ANSWER", help="the right option's letter or text")
    command.add_argument("--findings", metavar="NAMES", help="what is on the image, with commas; for grounding")
    command.add_argument(
        "--task", metavar="KIND", help="of question: diagnosis, lesion, count ...; else judged by its options"
    )
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe; without one, the defaults")
    take_overrides(command)

    command = add(group, "rescore", _rescore, "score past rollouts under other settings, without generating again")
    command.add_argument(
        "rollouts", type=Path, metavar="FILE", help="RUN_DIR/rollouts/step-000001.jsonl, or the folder"
    )
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe, e.g. RUN_DIR/config.yaml")
    command.add_argument("--out", type=Path, metavar="JSONL", help="write the rollouts with their new scores")
    take_overrides(command)


def _explain(args: argparse.Namespace) -> None:
    from fundus_ray.audit.explain import explain
    from fundus_ray.audit.lines import find, read_groups
    from fundus_ray.knowledge.vocabulary import load_vocabulary

    lines = find(read_groups(args.rollouts), args.id, path=args.rollouts)
    print(f"\n\n{'=' * 80}\n\n".join(explain(line.fields, load_vocabulary()) for line in lines))


def _score(args: argparse.Namespace) -> None:
    import json

    from fundus_ray.audit.explain import no_score
    from fundus_ray.audit.score import sample_of, score_text
    from fundus_ray.config import load
    from fundus_ray.obs.strict_json import finite

    config = load(args.config, args.overrides)
    sample = sample_of(
        config,
        modality=args.modality,
        question=args.question,
        options=args.options,
        truth=args.truth,
        findings=args.findings,
        task=args.task,
    )
    text = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8", errors="replace")
    if not text.strip():
        raise ConfigError("no chain on standard input; give one, as in: fundus-ray reward score ... < chain.txt")
    made = score_text(config, sample, text)
    print(json.dumps(finite(made), indent=2, ensure_ascii=False))
    if made["total"] is None:
        raise FundusRayError(no_score(made["explanation"]))


def _rescore(args: argparse.Namespace) -> None:
    from fundus_ray.audit.lines import read_groups
    from fundus_ray.audit.rescore import check_out, comparison, rescore, write_rescored
    from fundus_ray.config import load

    config = load(args.config, args.overrides)
    if args.out is not None:
        check_out(args.out, source=args.rollouts)
    result = rescore(config, read_groups(args.rollouts))
    if args.out is not None:
        write_rescored(result, args.out)
    print(comparison(result))
    if args.out is not None:
        print(f"wrote {args.out}")

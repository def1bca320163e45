"""`fundus-ray train`, `generate`, `export`, `report`, `config`: a run from its settings to its results."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray.cli.arguments import add, take_overrides
from fundus_ray.errors import ConfigError

if TYPE_CHECKING:
    from fundus_ray.config import Config


def register(commands: Any) -> None:
    """Add the commands."""
    command = add(commands, "train", _train, "the whole job: data, warm start, RLVR, evaluation")
    command.set_defaults(ends_in_order=True)
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe, e.g. configs/quickstart.yaml")
    command.add_argument("--resume", metavar="RUN_DIR", help="go on from a run's checkpoint; `latest` is the newest")
    command.add_argument(
        "--replay",
        type=Path,
        metavar="RUN_DIR",
        help="learn from what a run with run.record=true wrote, without generation; default --config: that run's",
    )
    take_overrides(command)

    command = add(commands, "generate", _generate, "read one image with a trained policy and print the chain")
    command.add_argument("--policy", type=Path, required=True, metavar="DIR", help="a run folder or a checkpoint")
    command.add_argument("--image", type=Path, required=True, metavar="FILE")
    command.add_argument("--question", metavar="TEXT", help="default: the question of the diagnosis task")
    command.add_argument("--options", nargs="+", default=[], metavar="TEXT", help="default: the diagnosis task's")

    command = add(commands, "export", _export, "write a trained policy for other programs: transformers, PEFT, vLLM")
    command.add_argument(
        "--policy", type=Path, required=True, metavar="DIR", help="a run folder or a checkpoint of one"
    )
    command.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="a folder that is empty or not there yet"
    )
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--merged", action="store_true", help="base weights with the adapter added in (default)")
    kind.add_argument("--adapter", action="store_true", help="the adapter alone, as PEFT keeps it")

    command = add(commands, "report", _report, "write a run's report.md, curves.png and summary.json again")
    command.add_argument("run_dir", type=Path, metavar="RUN_DIR")

    command = add(commands, "config", _config, "print the resolved configuration, documented")
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe; without one, the defaults")
    take_overrides(command)


def documented_yaml(config: Config) -> str:
    """The resolved tree as YAML; above each key one line says what it is, its range, and its default if changed."""
    import yaml

    from fundus_ray.config import Config, allowed, documented_fields

    docs = {section.name: type(getattr(config, section.name)).__doc__ for section in fields(config)}
    defaults = {key: value for key, _, value in documented_fields(Config())}
    lines: list[str] = []
    for key, meta, value in documented_fields(config):
        section, _, name = key.partition(".")
        if section in docs:
            lines += ["", f"# {docs.pop(section)}", f"{section}:"]
        notes = [allowed(meta), "" if value == defaults[key] else f"default {defaults[key]!r}"]
        lines.append(f"  # {meta['doc']} [{'; '.join(filter(None, notes))}]".removesuffix(" []"))
        lines.append(f"  {yaml.safe_dump({name: value}, width=10_000, allow_unicode=True).strip()}")
    return "\n".join(lines[1:]) + "\n"


def _train(args: argparse.Namespace) -> None:
    from fundus_ray.config import load

    resume = None if args.resume is None else _resume_folder(args)
    replayed = None if args.replay is None else _run_folder(args.replay, option="--replay")
    known = resume or replayed
    if args.config is None and known is None:
        raise ConfigError("train needs a recipe or a run to go on with: --config configs/quickstart.yaml or --resume")
    config = load(args.config or (known and known / "config.yaml"), args.overrides)
    if replayed:
        from fundus_ray.recording import check_replay_effect
        from fundus_ray.replay_pipeline import replay

        check_replay_effect(item.partition("=")[0] for item in args.overrides)
        run_dir = replay(config, recorded=replayed, resume=resume)
    else:
        from fundus_ray.pipeline import run

        run_dir = run(config, resume=resume)
    print(f"run folder: {run_dir}")


def _resume_folder(args: argparse.Namespace) -> Path:
    from fundus_ray.config import load

    folder = Path(args.resume)
    if args.resume == "latest":
        # The other settings go with the run's own, which are not known before its folder is.
        where = [item for item in args.overrides if item.startswith("run.dir=")]
        folder = Path(load(args.config, where).run.dir) / "latest"
    return _run_folder(folder, option="--resume", given=args.resume)


def _run_folder(folder: Path, *, option: str, given: str = "") -> Path:
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{option} {given or folder}: {folder} is not a run folder (it has no config.yaml)")
    return folder.resolve()


def _generate(args: argparse.Namespace) -> None:
    from fundus_ray.read_image import generate_once

    print(generate_once(policy=args.policy, image=args.image, question=args.question, options=args.options))


def _export(args: argparse.Namespace) -> None:
    from fundus_ray.export import export

    folder = export(args.policy, to=args.to, merged=not args.adapter)
    print(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def _report(args: argparse.Namespace) -> None:
    from fundus_ray.obs.report import write_report

    write_report(args.run_dir)
    print(f"wrote {args.run_dir / 'report.md'}, curves.png, summary.json")


def _config(args: argparse.Namespace) -> None:
    from fundus_ray.config import load

    print(documented_yaml(load(args.config, args.overrides)), end="")

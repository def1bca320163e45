"""The command `fundus-ray`: sub-commands in pipeline order.

In: a command line. Out: text on stdout, one or two lines of error on stderr, and an exit code: 0 done, 1 failed,
2 bad input, 130 stopped by Ctrl-C or SIGTERM. Heavy libraries are imported inside the chosen sub-command only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray import __version__
from fundus_ray.errors import ConfigError, FundusRayError

if TYPE_CHECKING:
    from fundus_ray.config import Config

STOPPED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE
EXTRA_PACKAGES = ("torch", "transformers", "peft", "vllm")  # they come with the extras `cpu` and `gpu`


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; every error becomes its message and exit code."""
    args = parse(build_parser(), argv)
    handlers = {
        # Python's own handler, also where a shell started us in the background and so had Ctrl-C ignored.
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT)),
    }
    try:
        args.run(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains while it exits
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as err:  # noqa: BLE001  # the outermost boundary: nobody else will say it
        return explain(err, debug=args.debug)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def explain(err: BaseException, *, debug: bool) -> int:
    """Say on stderr what went wrong, in one or two lines. Returns the exit code."""
    if debug:
        traceback.print_exception(err)
    match err:
        case KeyboardInterrupt():
            message, code = "stopped", STOPPED
        case FundusRayError():
            message, code = f"error: {err}", err.exit_code
        case ModuleNotFoundError(name=str(name)) if name.split(".")[0] in EXTRA_PACKAGES:
            message, code = f"error: no module {name}; install the extra `cpu` or `gpu`: see README.md", 1
        case _:
            hint = "" if debug else "\nrun again with --debug for the traceback"
            message, code = f"error: {type(err).__name__}: {' '.join(str(err).split())}{hint}", 1
    print(f"fundus-ray: {message}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    parser = argparse.ArgumentParser(
        prog="fundus-ray", description="Distributed RLVR on Ray for chain-of-thought reading of fundus images."
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--debug", action="store_true", help="on an error also print the traceback")
    commands = parser.add_subparsers(title="commands, in pipeline order", metavar="COMMAND", required=True)

    topic = _topic(commands, "data", "look at the training images")
    command = _add(topic, "sheet", _data_sheet, "a contact sheet of phantoms, one row a disease, as a PNG")
    command.add_argument("--out", type=Path, required=True, metavar="PNG")
    command.add_argument("--columns", type=int, default=8, metavar="N", help="phantoms of each disease (default 8)")

    topic = _topic(commands, "knowledge", "build and search the knowledge index")
    command = _add(topic, "build", _knowledge_build, "build the search index of the passages")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    _take_overrides(command)
    command = _add(topic, "search", _knowledge_search, "print the passages nearest to a query")
    command.add_argument("query", metavar="QUERY")
    command.add_argument("--top", type=int, default=5, metavar="N", help="passages to print (default 5)")
    _take_overrides(command)

    command = _add(commands, "train", _train, "the whole job: data, warm start, RLVR, evaluation")
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe, e.g. configs/quickstart.yaml")
    command.add_argument("--resume", metavar="RUN_DIR", help="go on from a run's checkpoint; `latest` is the newest")
    _take_overrides(command)

    command = _add(commands, "generate", _generate, "read one image with a trained policy and print the chain")
    command.add_argument("--policy", type=Path, required=True, metavar="DIR", help="a run folder or a checkpoint")
    command.add_argument("--image", type=Path, required=True, metavar="FILE")
    command.add_argument("--question", metavar="TEXT", help="default: the question of the diagnosis task")
    command.add_argument("--options", nargs="+", default=[], metavar="TEXT", help="default: the diagnosis task's")

    command = _add(commands, "report", _report, "write a run's report.md, curves.png and summary.json again")
    command.add_argument("run_dir", type=Path, metavar="RUN_DIR")

    command = _add(commands, "config", _config, "print the resolved configuration, documented")
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe; without one, the defaults")
    _take_overrides(command)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """As `parser.parse_args`, but `a.b=c` overrides may stand before, between and behind the options."""
    args, rest = parser.parse_known_args(argv)
    unknown = [item for item in rest if item.startswith("-") or not args.takes_overrides]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}; `fundus-ray COMMAND --help` lists what there is")
    if args.takes_overrides:
        args.overrides += rest
    return args


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


# `commands` is what argparse's add_subparsers returns, a private type.
def _topic(commands: Any, name: str, summary: str) -> Any:
    topic = commands.add_parser(name, help=summary, description=summary)
    return topic.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _add(commands: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    command.set_defaults(run=run, takes_overrides=False)
    return command


def _take_overrides(command: argparse.ArgumentParser) -> None:
    command.set_defaults(takes_overrides=True)
    command.add_argument(
        "overrides", nargs="*", metavar="SECTION.KEY=VALUE", help="settings; `fundus-ray config` lists them all"
    )


def _data_sheet(args: argparse.Namespace) -> None:
    from fundus_ray.data.sheet import write_sheet

    write_sheet(args.out, columns=args.columns)
    print(f"wrote {args.out}")


def _knowledge_build(args: argparse.Namespace) -> None:
    from fundus_ray.config import load
    from fundus_ray.knowledge.index import KnowledgeIndex

    index = KnowledgeIndex.build(load(overrides=args.overrides).knowledge, folder=args.out)
    print(f"wrote {index.folder}")


def _knowledge_search(args: argparse.Namespace) -> None:
    from tempfile import TemporaryDirectory

    from fundus_ray.config import load
    from fundus_ray.knowledge.index import KnowledgeIndex

    knowledge = load(overrides=args.overrides).knowledge
    with TemporaryDirectory() as folder:
        found = KnowledgeIndex.build(knowledge, folder=Path(folder)).search(args.query, args.top)
    for item in found:
        print(
            f"{item.rank}. {item.title} ({item.passage_id}, score {item.score:.2f})\n   {item.text}\n   {item.source}"
        )
    if not found:
        print("no passage matches")


def _train(args: argparse.Namespace) -> None:
    from fundus_ray.config import load

    if args.resume is None and args.config is None:
        raise ConfigError("train needs a recipe or a run to go on with: --config configs/quickstart.yaml or --resume")
    resume = None if args.resume is None else _resume_folder(args)
    config = load(args.config or (resume and resume / "config.yaml"), args.overrides)

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
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"--resume {args.resume}: {folder} is not a run folder (it has no config.yaml)")
    return folder.resolve()


def _generate(args: argparse.Namespace) -> None:
    from fundus_ray.read_image import generate_once

    print(generate_once(policy=args.policy, image=args.image, question=args.question, options=args.options))


def _report(args: argparse.Namespace) -> None:
    from fundus_ray.obs.report import write_report

    write_report(args.run_dir)
    print(f"wrote {args.run_dir / 'report.md'}, curves.png, summary.json")


def _config(args: argparse.Namespace) -> None:
    from fundus_ray.config import load

    print(documented_yaml(load(args.config, args.overrides)), end="")


if __name__ == "__main__":
    sys.exit(main())

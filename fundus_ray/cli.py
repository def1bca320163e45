"""The command `fundus-ray`: sub-commands in pipeline order.

In: a command line. Out: text on stdout, one or two lines of error on stderr, and an exit code: 0 done, 1 failed,
2 bad input, 130 stopped by Ctrl-C or SIGTERM. Heavy libraries are imported inside the chosen sub-command only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray import __version__
from fundus_ray.errors import ConfigError, FundusRayError

if TYPE_CHECKING:
    from fundus_ray.config import Config
    from fundus_ray.types import Evidence

STOPPED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE
SHOWN_PROBLEMS = 20
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
            message, code = f"error: {type(err).__name__}: {err}{hint}", 1
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
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="holds one folder for each snapshot")
    _take_store(command)
    command = _add(topic, "search", _knowledge_search, "print the passages nearest to a query")
    command.add_argument("query", metavar="QUERY")
    command.add_argument(
        "--modality",
        choices=("cfp", "oct", "uwf"),
        help="add the modality's name to the query, so that passages which speak of it rank higher",
    )
    command.add_argument("--top", type=_count, default=5, metavar="K", help="passages to print (default 5)")
    command.add_argument("--index", type=Path, metavar="DIR", help="the DIR of `knowledge build`; default: a cache")
    command.add_argument("--json", action="store_true", help="print a list with everything known of each passage")
    _take_store(command)

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


def _take_store(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", choices=("embedded", "elasticsearch"), help="short for knowledge.store=")
    command.add_argument("--url", metavar="URL", help="short for knowledge.url=")
    _take_overrides(command)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _data_sheet(args: argparse.Namespace) -> None:
    from fundus_ray.data.sheet import write_sheet

    write_sheet(args.out, columns=args.columns)
    print(f"wrote {args.out}")


def _knowledge_config(args: argparse.Namespace) -> Config:
    from fundus_ray.config import load

    short = [f"knowledge.{key}={value}" for key in ("store", "url") if (value := getattr(args, key))]
    return load(overrides=[*args.overrides, *short])


def _knowledge_build(args: argparse.Namespace) -> None:
    import asyncio

    from fundus_ray.knowledge.store import build_store, read_corpus

    knowledge = _knowledge_config(args).knowledge
    corpus = read_corpus(knowledge)
    print(f"{len(corpus.passages)} passages of {corpus.files} files")
    for problem in corpus.problems[:SHOWN_PROBLEMS]:
        print(f"left out: {problem}")
    if len(corpus.problems) > SHOWN_PROBLEMS:
        print(f"left out: {len(corpus.problems) - SHOWN_PROBLEMS} more")

    async def build() -> None:
        await (await build_store(knowledge, folder=args.out, corpus=corpus)).close()

    asyncio.run(build())
    where = f"{knowledge.url}/{knowledge.index}" if knowledge.store == "elasticsearch" else args.out / corpus.snapshot
    print(f"snapshot {corpus.snapshot} in {where}")


def _knowledge_search(args: argparse.Namespace) -> None:
    import asyncio

    from fundus_ray.knowledge.query import with_modality
    from fundus_ray.knowledge.store import BuiltStore, build_store, open_store, read_corpus
    from fundus_ray.types import Modality

    config = _knowledge_config(args)
    knowledge = config.knowledge
    query = with_modality(args.query, Modality(args.modality.upper())) if args.modality else args.query

    async def search() -> tuple[tuple[Evidence, ...], str]:
        corpus = read_corpus(knowledge)
        if knowledge.store == "embedded" and args.index is None:
            cache = Path(config.run.dir).resolve() / "cache" / "knowledge"
            retriever = await build_store(knowledge, folder=cache, corpus=corpus)
        else:
            built = BuiltStore(folder=args.index or Path(), snapshot=corpus.snapshot)
            retriever = await open_store(knowledge, built)
        try:
            return (await retriever.search([query], k=args.top))[0], retriever.snapshot
        finally:
            await retriever.close()

    found, snapshot = asyncio.run(search())
    print(_as_json(found, snapshot=snapshot) if args.json else _as_text(found, snapshot=snapshot))


def _as_json(found: Sequence[Evidence], *, snapshot: str) -> str:
    import json

    keys = ("rank", "score", "passage_id", "title", "section", "text", "source", "licence")
    rows = [{**{key: getattr(item, key) for key in keys}, "snapshot": snapshot} for item in found]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _as_text(found: Sequence[Evidence], *, snapshot: str) -> str:
    if not found:
        return "no passage matches"
    lines: list[str] = []
    for item in found:
        title = f"{item.title}: {item.section}" if item.section else item.title
        lines += [
            f"{item.rank}. {title} ({item.passage_id}, score {item.score:.4g})",
            textwrap.indent(textwrap.fill(item.text, 110), "   "),
            f"   source: {item.source} ({item.licence})",
            "",
        ]
    return "\n".join([*lines, f"snapshot {snapshot}"])


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
        folder = Path(load(args.config, args.overrides).run.dir) / "latest"
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

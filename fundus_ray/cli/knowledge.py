"""`fundus-ray knowledge`: build and search the store, draft and judge records."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray.cli.arguments import add, take_store, topic
from fundus_ray.errors import ConfigError

if TYPE_CHECKING:
    from fundus_ray.config import Config
    from fundus_ray.types import Evidence

SHOWN_PROBLEMS = 20
MODALITIES = ("cfp", "oct", "uwf")


def register(commands: Any) -> None:
    """Add the topic."""
    group = topic(commands, "knowledge", "build and search the knowledge store, draft records")
    command = add(group, "build", _build, "build the search index of the passages")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="holds one folder for each snapshot")
    take_store(command)
    command = add(group, "search", _search, "print the passages nearest to a query")
    command.add_argument("query", metavar="QUERY")
    command.add_argument(
        "--modality",
        choices=MODALITIES,
        help="add the modality's name to the query, so that passages which speak of it rank higher",
    )
    command.add_argument("--top", type=int, default=5, metavar="K", help="passages to print (default 5)")
    command.add_argument(
        "--index", type=Path, metavar="DIR", help="the DIR of `knowledge build`; default: a cache; embedded store only"
    )
    command.add_argument("--json", action="store_true", help="print a list with everything known of each passage")
    take_store(command)
    _register_records(group)


def _register_records(group: Any) -> None:
    records = topic(group, "records", "knowledge records of new labels, drafted by a model and judged by a person")
    command = add(records, "draft", _draft, "draft the record of a label out of passages that speak of it")
    command.add_argument("label", metavar="LABEL")
    command.add_argument("--modality", choices=MODALITIES, required=True)
    command.add_argument("--model", type=Path, required=True, metavar="DIR", help="a language model that vLLM serves")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of drafts")
    take_store(command)
    command = add(records, "accept", _accept, "file a draft, as edited, as a record with your name")
    command.add_argument("draft", type=Path, metavar="FILE")
    command.add_argument("--by", required=True, metavar="NAME", help="who accepts it")
    command.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder for knowledge.records_dir")
    command = add(records, "reject", _reject, "mark a draft as rejected, with your name and the reason")
    command.add_argument("draft", type=Path, metavar="FILE")
    command.add_argument("--by", required=True, metavar="NAME", help="who rejects it")
    command.add_argument("--why", required=True, metavar="TEXT")


def config_of(args: argparse.Namespace) -> Config:
    """The configuration that the overrides and the short forms --store and --url give."""
    from fundus_ray.config import load

    short = [f"knowledge.{key}={value}" for key in ("store", "url") if (value := getattr(args, key))]
    return load(overrides=[*args.overrides, *short])


def _build(args: argparse.Namespace) -> None:
    import asyncio

    from fundus_ray.knowledge.store import build_store, read_corpus

    knowledge = config_of(args).knowledge
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


def _search(args: argparse.Namespace) -> None:
    import asyncio

    from fundus_ray.knowledge.query import with_modality
    from fundus_ray.knowledge.retriever import MOST_PASSAGES
    from fundus_ray.knowledge.store import BuiltStore, build_store, open_store, read_corpus
    from fundus_ray.types import Modality

    if not 1 <= args.top <= MOST_PASSAGES:
        raise ConfigError(f"--top={args.top} is not allowed: must be >= 1 and <= {MOST_PASSAGES} (passages to print)")
    config = config_of(args)
    knowledge = config.knowledge
    if knowledge.store == "elasticsearch" and args.index is not None:
        raise ConfigError(
            f"--index={args.index} is the folder of an embedded store and has no effect with knowledge.store="
            "elasticsearch; leave it out, or name an index of the cluster by knowledge.index"
        )
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


def _draft(args: argparse.Namespace) -> None:
    from fundus_ray.draft_record import draft_record
    from fundus_ray.types import Modality

    modality = Modality(args.modality.upper())
    file, draft = draft_record(config_of(args), label=args.label, modality=modality, model=args.model, out=args.out)
    print(f"wrote {file}: {sum(map(len, draft.findings.values()))} findings")
    print("".join(f"look at: {line}\n" for line in draft.flagged), end="")
    print(f"next, after your own reading: fundus-ray knowledge records accept {file} --by NAME --into DIR")


def _accept(args: argparse.Namespace) -> None:
    from datetime import date

    from fundus_ray.knowledge.review import accept

    print(f"wrote {accept(args.draft, by=args.by, on=date.today().isoformat(), into=args.into)}")
    print(f"use it with knowledge.records_dir={args.into}")


def _reject(args: argparse.Namespace) -> None:
    from datetime import date

    from fundus_ray.knowledge.review import reject

    print(f"kept as {reject(args.draft, by=args.by, on=date.today().isoformat(), why=args.why)}")

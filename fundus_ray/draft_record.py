"""`fundus-ray knowledge records draft`: search, ask a language model, write a draft for a person to judge.

label, modality -> passages -> an engine actor, vLLM with a schema -> Draft -> FOLDER/LABEL_MODALITY.yaml
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

from fundus_ray.config import Config
from fundus_ray.errors import DataError
from fundus_ray.knowledge.draft import Draft, draft_queries, draft_request, draft_yaml, read_draft, speaks_of
from fundus_ray.knowledge.store import build_store, records_of
from fundus_ray.runtime import start_readers
from fundus_ray.types import Modality, ModelReply, ModelRequest

REPLY_TOKENS = 768
PASSAGES_A_QUERY = 3
MODEL_LEN = 4096  # nine passages, the question and the reply


def draft_record(
    config: Config, *, label: str, modality: Modality, model: Path, out: Path, max_tokens: int = REPLY_TOKENS
) -> tuple[Path, Draft]:
    """Returns the draft and its file. Raises DataError where no passage speaks of the label, the reply cannot be read,
    or the file is there already; ConfigError where the model cannot be served; WorkerDiedError where it has not started
    within ray.start_timeout_s, TimeLimitError where it has not answered within loop.stall_s."""
    file = out / f"{re.sub(r'[^a-z0-9]+', '_', label.lower()).strip('_')}_{modality.value.lower()}.yaml"
    if file.exists():
        raise DataError(f"{file} exists: accept or reject it first, or take another --out")
    draft = asyncio.run(_draft(config, label=label, modality=modality, model=model, out=out, max_tokens=max_tokens))
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(draft_yaml(draft, on=date.today().isoformat()), encoding="utf-8")
    return file, draft


async def _draft(config: Config, *, label: str, modality: Modality, model: Path, out: Path, max_tokens: int) -> Draft:
    retriever = await build_store(config.knowledge, folder=Path(config.run.dir).resolve() / "cache" / "knowledge")
    try:
        found = await retriever.search(draft_queries(label, modality), k=PASSAGES_A_QUERY)
        passages = [p for p in {p.passage_id: p for hits in found for p in hits}.values() if speaks_of(p, label)]
        vocabulary = records_of(config.knowledge).vocabulary
        request = draft_request(label, modality, passages, vocabulary=vocabulary, max_tokens=max_tokens)
        reply = await _ask(config, request, model=model, log_dir=out / "logs")
    finally:
        await retriever.close()
    return read_draft(
        reply,
        label=label,
        modality=modality,
        passages=passages,
        vocabulary=vocabulary,
        snapshot=retriever.snapshot,
        model=model.resolve().name,
    )


async def _ask(config: Config, request: ModelRequest, *, model: Path, log_dir: Path) -> ModelReply:
    length = max(MODEL_LEN, config.rollout.max_model_len)
    config = replace(config, rollout=replace(config.rollout, max_model_len=length, workers=1))
    async with start_readers(config, model_path=model, log_dir=log_dir) as pool:
        return await pool.ask(None, request)

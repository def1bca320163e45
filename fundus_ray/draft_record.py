"""`fundus-ray knowledge records draft`: search, ask a language model, write a draft for a person to judge.

label, modality -> passages -> vLLM with a schema -> Draft -> FOLDER/LABEL_MODALITY.yaml
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

from fundus_ray.config import Config
from fundus_ray.errors import DataError
from fundus_ray.knowledge.draft import Draft, draft_queries, draft_request, draft_yaml, read_draft, speaks_of
from fundus_ray.knowledge.store import build_store, records_of
from fundus_ray.obs.log_file import output_to
from fundus_ray.policy.serve import ServedModel
from fundus_ray.runtime import WORKER_ENV
from fundus_ray.types import Modality, ModelReply, ModelRequest

REPLY_TOKENS = 768
PASSAGES_A_QUERY = 3
MODEL_LEN = 4096  # nine passages, the question and the reply


def draft_record(
    config: Config, *, label: str, modality: Modality, model: Path, out: Path, max_tokens: int = REPLY_TOKENS
) -> tuple[Path, Draft]:
    """Returns the draft and its file. Raises DataError where no passage speaks of the label, the reply cannot be read,
    or the file is there already; ConfigError where the model cannot be served."""
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
        reply = await _ask(config, request, model=model, log_path=out / "model.log")
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


async def _ask(config: Config, request: ModelRequest, *, model: Path, log_path: Path) -> ModelReply:
    os.environ.update(WORKER_ENV)
    length = max(MODEL_LEN, config.rollout.max_model_len)
    config = replace(config, rollout=replace(config.rollout, max_model_len=length))
    with output_to(log_path):
        served = ServedModel.start(config, model_path=str(model), name="drafter")
        try:
            return await served.complete(request, pixels=None, limit_s=config.loop.stall_s)
        finally:
            await served.close()

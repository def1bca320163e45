"""The cross-encoder on a tiny model that is trained here to tell what a passage says of a relation."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from fundus_ray.config import load
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.passage import passage_words
from fundus_ray.reward.checkers.checker import CheckerError, Claim, sentence
from fundus_ray.reward.checkers.nli import CONFIDENT, NliChecker
from fundus_ray.reward.checkers.open import open_checker
from fundus_ray.types import Evidence, Modality, Verdict

VOCABULARY = load_vocabulary()
S, C, N = Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.NOT_FOUND
PAIRS = (("drusen", "glaucoma"), ("microaneurysm", "diabetic retinopathy"), ("cotton_wool_spot", "optic disc oedema"))
# What a passage may say; the outputs stand in an order of their own, which the model's config names.
OUTPUTS = {0: "contradiction", 1: "neutral", 2: "ENTAILMENT"}
SAYS = {
    2: ("{f} mark {l}.", "In {l} one finds {f}.", "{f} are common in {l}."),
    0: ("{f} are never seen in {l}.", "In {l} there are no {f}.", "{f} are not found in {l}."),
}
STEPS = 250


def passage(text: str, *, name: str = "p#0") -> Evidence:
    return Evidence(name, "", "", text, "test", "", "", score=1.0, rank=1, query="")


def said(pair: tuple[str, str], form: str) -> str:
    return form.format(f=VOCABULARY.name(pair[0]).capitalize(), l=pair[1])


def rows() -> list[tuple[str, str, int]]:
    """Premise, hypothesis, output: a passage says something of its own pair, and nothing of another."""
    return [
        (passage_words(passage(said(pair, form))), sentence(*asked, VOCABULARY), output if pair == asked else 1)
        for pair, asked in itertools.product(PAIRS, PAIRS)
        for output, forms in SAYS.items()
        for form in forms
    ]


def save_model(folder: Path, *, outputs: dict[int, str], train: bool) -> Path:
    words = sorted({word for row in rows() for text in row[:2] for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(known)}, model_max_length=48)
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(known),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=0.1,
            id2label=outputs,
            label2id={name: i for i, name in outputs.items()},
        )
    )
    if train:
        # Whether two names are the same is learned faster where their places say nothing.
        torch.nn.init.zeros_(model.bert.embeddings.position_embeddings.weight)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=STEPS)
        rng = random.Random(0)
        by_output = [[row for row in rows() if row[2] == output] for output in range(3)]
        for _ in range(STEPS):
            batch = [row for same in by_output for row in rng.choices(same, k=16)]
            tokens = tokenizer([r[0] for r in batch], [r[1] for r in batch], padding=True, return_tensors="pt")
            loss = model(**tokens, labels=torch.tensor([r[2] for r in batch])).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> NliChecker:
    folder = save_model(tmp_path_factory.mktemp("nli"), outputs=OUTPUTS, train=True)
    return NliChecker(str(folder), vocabulary=VOCABULARY, threads=1, gpu=False, limit_s=60.0)


def claim(pair: tuple[str, str], *passages: Evidence, supports: bool = True) -> Claim:
    return Claim(pair[0], pair[1], supports, Modality.CFP, passages)


async def test_a_claim_has_the_verdict_of_what_its_passage_says(checker: NliChecker) -> None:
    claims, verdicts = [], []
    for pair, (output, forms) in itertools.product(PAIRS, SAYS.items()):
        for form, supports in itertools.product(forms, (True, False)):
            claims.append(claim(pair, passage(said(pair, form)), supports=supports))
            verdicts.append(S if (output == 2) == supports else C)
    found = await checker.check(claims)  # 36 pairs: more than one batch
    assert [f.verdict for f in found] == verdicts
    assert all(CONFIDENT <= f.confidence <= 1 for f in found)


async def test_a_passage_about_something_else_decides_nothing(checker: NliChecker) -> None:
    (asked, other) = PAIRS[0], PAIRS[1]
    (found,) = await checker.check([claim(asked, passage(said(other, SAYS[2][0])))])
    assert (found.verdict, found.passage) == (N, None)


async def test_the_passage_that_is_surest_decides_and_is_named(checker: NliChecker) -> None:
    asked, other = PAIRS[0], PAIRS[1]
    silent, speaks = passage(said(other, SAYS[2][0]), name="a#0"), passage(said(asked, SAYS[2][1]), name="b#1")
    (found,) = await checker.check([claim(asked, silent, speaks)])
    assert (found.verdict, found.passage) == (S, speaks)
    assert found.why == f"passage b#1 bears it out, P = {found.confidence:.2f}"


async def test_a_claim_without_passages_is_not_found(checker: NliChecker) -> None:
    assert [f.verdict for f in await checker.check([claim(PAIRS[0])])] == [N]
    assert await checker.check([]) == []


def test_the_settings_choose_the_checker(tmp_path: Path) -> None:
    folder = save_model(tmp_path, outputs=OUTPUTS, train=False)
    config = load(None, ["reward.checker=nli", f"reward.checker_model={folder}"])
    assert open_checker(config, load_records()).name == "nli"
    assert open_checker(load(), load_records()).name == "record"


async def test_a_passage_longer_than_the_model_is_cut(checker: NliChecker) -> None:
    long = passage(said(PAIRS[0], SAYS[2][0]) + " Drusen mark glaucoma." * 500)
    assert len(await checker.check([claim(PAIRS[0], long)])) == 1


async def test_a_check_that_takes_too_long_is_a_checker_error(tmp_path: Path) -> None:
    folder = save_model(tmp_path, outputs=OUTPUTS, train=False)
    slow = NliChecker(str(folder), vocabulary=VOCABULARY, threads=1, gpu=False, limit_s=1e-6)
    with pytest.raises(CheckerError, match="nli checker did not answer within 1e-06 s"):
        await slow.check([claim(PAIRS[0], passage("Drusen mark glaucoma."))])


@pytest.mark.parametrize(
    "outputs",
    [
        {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"},
        {0: "entailment", 1: "not_entailment"},
        {0: "entailment", 1: "entails", 2: "contradiction"},
    ],
)
def test_a_model_whose_outputs_are_not_named_so_is_refused(tmp_path: Path, outputs: dict[int, str]) -> None:
    folder = save_model(tmp_path, outputs=outputs, train=False)
    with pytest.raises(ConfigError, match=r"reward.checker_model=.*one must begin with `entail`"):
        NliChecker(str(folder), vocabulary=VOCABULARY, threads=1, gpu=False, limit_s=1.0)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read as a cross-encoder"):
        NliChecker(str(tmp_path), vocabulary=VOCABULARY, threads=1, gpu=False, limit_s=1.0)

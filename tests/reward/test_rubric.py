"""Groups are scored with parts, weights, reasons, evidence and the right status."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from fundus_ray.config import KnowledgeConfig, RewardConfig
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.retriever import Retriever, SearchError
from fundus_ray.knowledge.store import build_store
from fundus_ray.reasoning.steps import Reading
from fundus_ray.reward.checkers.checker import CheckedVerdict, Checker, CheckerError, Claim
from fundus_ray.reward.checkers.record import RecordChecker
from fundus_ray.reward.evidence import EvidenceSearch
from fundus_ray.reward.parts import PARTS
from fundus_ray.reward.plugin import Plugin, PluginValueError
from fundus_ray.reward.rubric import Rubric
from fundus_ray.types import (
    Evidence,
    ImageRef,
    Modality,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sample,
    ScoredRollout,
    Verdict,
)

OPTIONS = ("normal", "diabetic retinopathy", "glaucoma", "squint")
RIGHT = "<think>Findings: microaneurysms, hard exudates. Conclusion: diabetic retinopathy.</think><answer>B</answer>"
REASONED = RIGHT.replace(" Conclusion", " Required: microaneurysms. Conclusion")
WRONG = "<think>Findings: microaneurysms. Conclusion: glaucoma.</think><answer>C</answer>"
SAMPLE = Sample(
    id="s1",
    image=ImageRef(path="x.png", sha256="0", width_px=112, height_px=112),
    modality=Modality.CFP,
    question="Which?",
    options=OPTIONS,
    answer=("diabetic retinopathy",),
    task="diagnosis",
    source="test",
    split="train",
    patient_id="p1",
    findings=("microaneurysm", "hard_exudate", "cotton_wool_spot"),
)


class BrokenIndex:
    """A knowledge store whose search engine is down."""

    snapshot = "feedfacefeedface"

    async def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Evidence, ...]]:
        raise SearchError("disk is gone")

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return asyncio.run(build_store(KnowledgeConfig(), folder=tmp_path_factory.mktemp("knowledge")))


def rubric(
    index: Retriever,
    *,
    drop_no_spread: bool = False,
    checker: Checker | None = None,
    plugin: Plugin | None = None,
    **weights: Any,
) -> Rubric:
    return Rubric(
        dataclasses.replace(RewardConfig(), **weights),
        records=load_records(),
        evidence=EvidenceSearch(index, top_k=3),
        checker=checker or RecordChecker(load_records()),
        plugin=plugin,
        drop_no_spread=drop_no_spread,
    )


def group(*texts: str, sample: Sample = SAMPLE) -> RolloutGroup:
    policy = PolicyVersion(step=0, sha256="0")
    rollouts = tuple(
        Rollout(token_ids=(1,), logprobs=(-1.0,), text=text, finish_reason="stop", seed=i, policy=policy)
        for i, text in enumerate(texts)
    )
    prompt = Prompt(sample=sample, system="", user="", group_id=0, seed=0)
    return RolloutGroup(
        prompt=prompt, prompt_token_ids=(1,), rollouts=rollouts, worker="w0", started_s=0.0, finished_s=0.0
    )


async def score(index: Retriever, text: str, *, sample: Sample = SAMPLE, **weights: Any) -> ScoredRollout:
    scored = await rubric(index, **weights).score_group(group(text, sample=sample))
    return scored.scored[0]


async def test_total_is_the_weighted_mean_of_the_parts(index: Retriever) -> None:
    right, wrong = (
        await rubric(index, accuracy=1, format=0.1, consistency=0.2, grounding=0.5).score_group(group(RIGHT, WRONG))
    ).scored
    outcome = {"accuracy": 1, "format": 1}
    # No relation is stated: knowledge is neutral. It weighs nothing here, as coherence.
    assert right.parts == pytest.approx(
        {**outcome, "consistency": 1, "knowledge": 0.5, "coherence": 1, "grounding": 0.8}
    )
    assert right.total == pytest.approx((1 + 0.1 + 0.2 + 0.5 * 0.8) / 1.8)
    # A microaneurysm contradicts glaucoma; F1 is 2 x 1 / (1 + 3).
    assert wrong.parts == pytest.approx(
        {"accuracy": 0, "format": 1, "consistency": 0, "knowledge": 0.5, "coherence": 1, "grounding": 0.5}
    )
    assert wrong.total == pytest.approx((0.1 + 0.5 * 0.5) / 1.8)
    assert (right.status, wrong.status) == (RewardStatus.SCORED, RewardStatus.SCORED)
    assert (right.answer, wrong.answer) == (("diabetic retinopathy",), ("glaucoma",))
    assert right.findings == ("microaneurysm", "hard_exudate")


async def test_a_part_that_does_not_apply_is_left_out_of_the_mean(index: Retriever) -> None:
    text = "<think>Findings: none. Conclusion: squint.</think><answer>D</answer>"
    bare = dataclasses.replace(SAMPLE, findings=None)
    scored = await score(index, text, sample=bare, accuracy=1, format=0.1, consistency=0.2, grounding=0.5)
    assert scored.parts == {
        "accuracy": 0.0,
        "format": 1.0,
        "consistency": None,
        "knowledge": 0.5,
        "coherence": 1.0,
        "grounding": None,
    }
    assert scored.total == pytest.approx(0.1 / 1.1)


async def test_no_readable_answer_is_the_models_fault_and_keeps_its_parts(index: Retriever) -> None:
    text = "<think>Findings: microaneurysms. Conclusion: diabetic retinopathy.</think><answer>Z</answer>"
    scored = await rubric(index).score_group(group(text, RIGHT))
    bad = scored.scored[0]
    assert bad.status is RewardStatus.UNPARSEABLE
    assert bad.total == 0.0
    assert bad.answer is None
    assert bad.parts == pytest.approx(
        {"accuracy": 0, "format": 1, "consistency": None, "knowledge": 0.5, "coherence": None, "grounding": 0.5}
    )
    assert bad.explanation[0] == "accuracy: answer 'Z' that can be read as an option; right is 'diabetic retinopathy'"
    assert scored.trainable


async def test_gated_consistency_is_paid_only_where_the_answer_is_right(index: Retriever) -> None:
    consistent_but_wrong = "<think>Findings: enlarged cup. Conclusion: glaucoma.</think><answer>C</answer>"
    assert (await score(index, consistent_but_wrong)).parts["consistency"] == 1.0
    assert (await score(index, consistent_but_wrong, gate_consistency=True)).parts["consistency"] == 0.0
    assert (await score(index, RIGHT, gate_consistency=True)).parts["consistency"] == 1.0


async def test_explanation_can_be_read_by_a_clinician(index: Retriever) -> None:
    explanation = (await score(index, WRONG + " done")).explanation
    assert explanation[0] == "accuracy: answer 'glaucoma' is wrong: right is 'diabetic retinopathy'"
    assert explanation[1] == "format: text after </answer>"
    assert any(line.startswith("consistency: required, any of enlarged optic cup, ") for line in explanation)
    assert "consistency: stated but speaks against the answer: microaneurysms" in explanation
    assert "grounding: on the image but missed: cotton wool spots, hard exudates" in explanation


async def test_evidence_is_retrieved_for_the_own_answer_and_its_findings(index: Retriever) -> None:
    scored = await score(index, WRONG)
    assert [e.query for e in scored.evidence] == ["glaucoma microaneurysms"] * 3
    assert {e.passage_id.split("#")[0] for e in scored.evidence} <= {"glaucoma", "microaneurysms", "enlarged_optic_cup"}
    assert scored.snapshot == index.snapshot


async def test_a_failing_search_or_checker_is_told_and_nothing_is_scored_zero(index: Retriever) -> None:
    class BrokenChecker:
        name = "judge"

        async def check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
            raise CheckerError("out of memory")

        async def close(self) -> None:
            pass

    with pytest.raises(SearchError, match="disk is gone"):
        await rubric(BrokenIndex()).score_group(group(RIGHT, WRONG))
    with pytest.raises(CheckerError, match="out of memory"):
        await rubric(index, checker=BrokenChecker()).score_group(group(REASONED))
    # A group that states no relation needs no checker.
    assert (await rubric(index, checker=BrokenChecker()).score_group(group(RIGHT))).trainable


async def test_without_knowledge_what_needs_it_is_masked_and_the_rest_is_scored() -> None:
    scored = await rubric(BrokenIndex(), knowledge=1.0).score_without_knowledge(group(REASONED, WRONG), "disk is gone")
    first = scored.scored[0]
    assert scored.trainable
    assert [s.status for s in scored.scored] == [RewardStatus.SCORED] * 2
    assert first.parts == pytest.approx(
        {"accuracy": 1, "format": 1, "consistency": 1, "knowledge": None, "coherence": 1, "grounding": 0.8}
    )
    assert first.total == pytest.approx((1 + 0.1 + 0.2 + 0.5 * 0.8) / 1.8)
    assert (first.claims, first.evidence) == ((), ())
    assert "knowledge: knowledge does not count: disk is gone" in first.explanation
    assert first.snapshot == BrokenIndex.snapshot


async def test_without_knowledge_a_group_of_which_nothing_is_left_is_dropped() -> None:
    only_knowledge = rubric(BrokenIndex(), accuracy=0, format=0, consistency=0, grounding=0, knowledge=1)
    scored = await only_knowledge.score_without_knowledge(group(RIGHT, WRONG), "disk is gone")
    assert (scored.trainable, scored.drop_reason) == (False, "no_part_applies")


async def test_each_stated_relation_is_kept_with_its_verdict_and_its_passage(index: Retriever) -> None:
    scored = await score(index, REASONED, knowledge=1.0)
    (claim,) = scored.claims
    assert (claim.finding, claim.label, claim.supports) == ("microaneurysm", "diabetic retinopathy", True)
    assert (claim.verdict, claim.confidence, claim.checker) == (Verdict.SUPPORTED, 1.0, "record")
    assert "microaneurysms" in REASONED[claim.start : claim.end]
    assert claim.passage_id in {e.passage_id for e in scored.evidence}
    assert scored.parts["knowledge"] == 1.0
    assert scored.explanation.count(f"knowledge: microaneurysms for diabetic retinopathy: supported ({claim.why})") == 1
    ids = [e.passage_id for e in scored.evidence]
    assert len(ids) == len(set(ids))


async def test_a_relation_that_knowledge_contradicts_costs(index: Retriever) -> None:
    text = (
        "<think>Findings: enlarged cup. Supportive: enlarged cup. Conclusion: diabetic retinopathy.</think>"
        "<answer>B</answer>"
    )
    scored = await score(index, text)
    assert [claim.verdict for claim in scored.claims] == [Verdict.CONTRADICTED]
    assert scored.parts["knowledge"] == 0.0


async def test_claims_of_a_group_are_checked_in_one_call_and_known_ones_not_again(index: Retriever) -> None:
    asked: list[list[tuple[str, str]]] = []

    class Counting(RecordChecker):
        async def check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
            asked.append([(claim.finding, claim.label) for claim in claims])
            assert all(len(claim.passages) == 3 for claim in claims)
            return await super().check(claims)

    judge = rubric(index, checker=Counting(load_records()))
    other = REASONED.replace("Required: microaneurysms", "Required: microaneurysms. Supportive: hard exudates")
    await judge.score_group(group(REASONED, other, REASONED))
    await judge.score_group(group(REASONED))
    assert asked == [[("microaneurysm", "diabetic retinopathy"), ("hard_exudate", "diabetic retinopathy")]]
    assert (judge.verdicts.hits, judge.verdicts.misses) == (1, 2)


async def test_a_plug_in_is_a_part_with_its_own_weight(index: Retriever) -> None:
    def brief(rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float:
        assert evidence
        return 0.25 if reading.findings else 1.0

    scored = await score(index, RIGHT, plugin=Plugin("mine:brief", brief), custom=1.0)
    assert list(scored.parts) == [*PARTS, "custom"]
    assert scored.parts["custom"] == 0.25
    assert scored.total == pytest.approx((1 + 0.1 + 0.2 + 0.5 * 0.8 + 0.25) / 2.8)
    assert scored.explanation[-1] == "custom: mine:brief gives 0.25"


async def test_a_plug_in_that_raises_makes_the_group_unscorable_and_one_without_a_reward_ends_the_run(
    index: Retriever,
) -> None:
    def raises(rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float:
        raise RuntimeError("server is gone")

    def absurd(rollout: Rollout, sample: Sample, reading: Reading, evidence: Sequence[Evidence]) -> float:
        return 3.0

    scored = await rubric(index, plugin=Plugin("mine:raises", raises)).score_group(group(RIGHT, WRONG))
    assert (scored.trainable, scored.drop_reason) == (False, "unscorable")
    assert [s.status for s in scored.scored] == [RewardStatus.UNSCORABLE] * 2
    assert [list(s.parts.items()) for s in scored.scored] == [[(part, None) for part in (*PARTS, "custom")]] * 2
    assert scored.scored[0].explanation == (
        "not scored: reward.plugin=mine:raises raised RuntimeError on sample s1, rollout with seed 0: server is gone",
    )
    with pytest.raises(PluginValueError, match=r"mine:absurd gave 3\.0"):
        await rubric(index, plugin=Plugin("mine:absurd", absurd)).score_group(group(RIGHT))


@pytest.mark.parametrize(
    ("trick", "findings", "reasons"),
    [
        ("recite the textbook", "microaneurysms, hard exudates, cotton wool spots, dot and blot haemorrhages", "all"),
        ("list everything", "all", "all"),
        ("state no finding", "none", ""),
        ("state no reason", "microaneurysms", ""),
        ("relate to another disease", "microaneurysms", "Microaneurysms indicate glaucoma."),
        ("speak against the own answer", "microaneurysms", "Microaneurysms speak against diabetic retinopathy."),
        ("say both", "microaneurysms", "Microaneurysms indicate diabetic retinopathy. No microaneurysms are seen."),
        ("only suppose", "possible microaneurysms", "These may suggest diabetic retinopathy."),
    ],
)
async def test_no_trick_pays_more_than_saying_what_is_there_and_why(
    index: Retriever, trick: str, findings: str, reasons: str
) -> None:
    names = [f.name for f in load_records().vocabulary.findings.values()]
    findings = ", ".join(names) if findings == "all" else findings
    if reasons == "all":
        reasons = " ".join(f"The {name} indicate diabetic retinopathy." for name in findings.split(", "))
    one = dataclasses.replace(SAMPLE, findings=("microaneurysm",))
    chain = "<think>Findings: {}. {} Conclusion: diabetic retinopathy.</think><answer>B</answer>"
    honest = chain.format("microaneurysms", "Microaneurysms indicate diabetic retinopathy.")
    judge = rubric(index, accuracy=1, format=0.1, consistency=0.2, knowledge=0.2, coherence=0.2, grounding=0.5)
    scored = (await judge.score_group(group(honest, chain.format(findings, reasons), sample=one))).scored
    assert scored[0].total == 1.0
    assert scored[1].total < 1.0, trick


async def test_the_question_decides_which_parts_apply(index: Retriever) -> None:
    lesion = dataclasses.replace(
        SAMPLE,
        task="lesion",
        question="Is there any Microaneurysm in the image?",
        options=("Yes", "No"),
        answer=("Yes",),
        findings=("microaneurysm", "drusen"),
    )
    text = "<think>Findings: microaneurysms, hard exudates. Conclusion: Yes.</think><answer>A</answer>"
    parts = {"accuracy": 1, "format": 1, "consistency": 1, "knowledge": None, "coherence": 1, "grounding": 1}
    assert (await score(index, text, sample=lesion)).parts == parts
    kind = dataclasses.replace(lesion, task="modality", question="Which?", options=("OCT", "fundus"), answer=("OCT",))
    text = "<think>Findings: none. Conclusion: OCT.</think><answer>A</answer>"
    parts = {**parts, "consistency": None, "grounding": None}
    assert (await score(index, text, sample=kind)).parts == parts


async def test_groups_without_spread_are_dropped_only_on_request(index: Retriever) -> None:
    same = group(RIGHT, RIGHT)
    assert (await rubric(index).score_group(same)).trainable
    dropped = await rubric(index, drop_no_spread=True).score_group(same)
    assert (dropped.trainable, dropped.drop_reason) == (False, "no_spread")
    assert [s.status for s in dropped.scored] == [RewardStatus.SCORED] * 2
    assert (await rubric(index, drop_no_spread=True).score_group(group(RIGHT, WRONG))).trainable


async def test_a_group_to_which_no_weighted_part_applies_is_dropped(index: Retriever) -> None:
    bare = dataclasses.replace(SAMPLE, findings=None)
    only_grounding = rubric(index, accuracy=0, format=0, consistency=0, grounding=1)
    scored = await only_grounding.score_group(group(RIGHT, WRONG, sample=bare))
    assert (scored.trainable, scored.drop_reason) == (False, "no_part_applies")


async def test_several_right_answers_must_all_be_chosen(index: Retriever) -> None:
    two = dataclasses.replace(SAMPLE, answer=("diabetic retinopathy", "glaucoma"))
    text = (
        "<think>Findings: microaneurysms, enlarged optic cup. Conclusion: diabetic retinopathy, glaucoma.</think>"
        "<answer>C,B</answer>"
    )
    scored = await score(index, text, sample=two)
    assert scored.answer == ("diabetic retinopathy", "glaucoma")
    assert scored.parts["accuracy"] == 1.0
    assert scored.parts["consistency"] == 1.0
    assert (await score(index, RIGHT, sample=two)).parts["accuracy"] == 0.0


async def test_a_group_is_one_batched_search_and_known_queries_are_not_asked_again(index: Retriever) -> None:
    asked: list[list[str]] = []

    class Counting:
        snapshot = index.snapshot

        async def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Evidence, ...]]:
            asked.append(list(queries))
            return await index.search(queries, k=k)

        async def close(self) -> None:
            pass

    judge = rubric(Counting())
    await judge.score_group(group(RIGHT, RIGHT, WRONG))
    await judge.score_group(group(WRONG))
    assert asked == [["diabetic retinopathy microaneurysms hard exudates", "glaucoma microaneurysms"]]
    assert (judge.evidence.hits, judge.evidence.misses) == (2, 2)

"""Process parts of the score: do the stated findings fit the chain's own answer, and do they fit the image.

In: what a chain states, knowledge records, annotated findings. Out: a value in [0, 1] with its reasons, or None where
the part does not apply. Both look at sets of findings: order, repetition and length of the text count for nothing.

The formulas are our own, after Fundus-R1, whose formula is not public.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fundus_ray.knowledge.matcher import normalise
from fundus_ray.knowledge.records import Record
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.steps import Reading, first_sentence, labels_in

REQUIRED_SHARE = 0.6  # of consistency: the required findings are stated
BACKED_SHARE = 0.4  # of consistency: anything at all is stated that speaks for the answer
CONTRADICTION_WEIGHT = 2  # a contradicting finding counts as this many agreeing ones

_LIST_JOINT = re.compile(r"[,;/]|\band\b")


@dataclass(frozen=True, slots=True)
class Part:
    """A value in [0, 1], or None where the part does not apply, and one readable line for each reason."""

    value: float | None
    reasons: tuple[str, ...]


def stated_findings(reading: Reading) -> tuple[str, ...]:
    """Ids that the chain asserts and nowhere denies, in text order: what it says both ways it does not say."""
    return tuple(f for f in reading.findings if f not in reading.contradictory)


def consistency(
    reading: Reading, *, answer: Sequence[str], records: Sequence[Record | None], vocabulary: Vocabulary
) -> Part:
    """Does the chain support its OWN answer, right or wrong (after Fundus-R1's answer-dependent self-consistency).

    `records` are those of the answer's options, in their order; the part does not apply (None) where one is missing.
    With S the findings stated, R, P, C the record's required, supportive and contradicting ones, and G its any_of
    groups, of each of which one finding is required:

        recall      = (|S & R| + groups that S meets) / (|R| + |G|)   1 where R and G are empty
        backed      = 1 if S & (R | P | groups) else 0      1 where R, P and G are empty
        for, against = |S & (R | P | groups)|, |S & C| + findings both asserted and denied
        agreement   = for / (for + 2 against)               1 where both are 0
        consistency = (0.6 recall + 0.4 backed) x agreement
        and 0 where the conclusion is missing or is not the answer

    Several answers: R, P and G are united, and C is what remains of the united contradictions. A finding in no list is
    neutral. Example, diabetic retinopathy, R = {microaneurysm}, P = {dot_blot_haemorrhage, hard_exudate,
    cotton_wool_spot}, C = {enlarged_cup, ...}:

        S = microaneurysm                          (0.6 + 0.4) x 1    = 1
        S = microaneurysm, hard_exudate            (0.6 + 0.4) x 1    = 1
        S = hard_exudate                           (0.0 + 0.4) x 1    = 0.4
        S = hard_exudate, enlarged_cup             (0.0 + 0.4) x 1/3  = 0.133
        S = all nine (1 + 3 for, 3 against)        (0.6 + 0.4) x 4/10 = 0.4
        S = nothing                                (0.0 + 0.0) x 1    = 0

    Why so: paying the share of stated findings that support the answer teaches a policy to omit findings; here leaving
    out a supportive or a neutral one gains nothing. Paying for the number of supportive findings teaches it to recite
    the textbook; here a further one gains nothing either, once a required one is stated and nothing contradicts.
    Whether the findings are on the image is `grounding`'s question.
    """
    known = [record for record in records if record is not None]
    if len(known) < len(records) or not known:
        missing = [option for option, record in zip(answer, records, strict=True) if record is None]
        return Part(None, tuple(f"consistency does not apply: no knowledge record of {option!r}" for option in missing))
    rules = tuple(f"knowledge ({r.label}): {r.rule}" for r in known)
    if not conclusion_agrees(reading.conclusion, answer=answer, vocabulary=vocabulary):
        said = f"conclusion {reading.conclusion!r}" if reading.conclusion else "no conclusion"
        return Part(0.0, (*rules, f"{said} but answer {', '.join(answer)!r}: consistency 0"))
    value, reasons = _against_record(reading, known, vocabulary)
    return Part(value, (*rules, *reasons))


def grounding(stated: Collection[str], annotated: Collection[str] | None, *, vocabulary: Vocabulary) -> Part:
    """F1 of the stated against the annotated findings: 2 |S & T| / (|S| + |T|); 1 where both are empty.

    None where the image has no annotation. Our own part: it makes reciting a textbook cost. Example: S = {drusen,
    hard_exudate}, T = {drusen, enlarged_cup, flame_haemorrhage}: 2 x 1 / (2 + 3) = 0.4.
    """
    if annotated is None:
        return Part(None, ("grounding does not apply: no findings are annotated on this image",))
    said, true = set(stated), set(annotated)
    value = 2 * len(said & true) / (len(said) + len(true)) if said or true else 1.0
    groups = (
        ("on the image and stated", said & true),
        ("on the image but missed", true - said),
        ("stated but not on the image", said - true),
    )
    reasons = tuple(f"{what}: {_names(found, vocabulary)}" for what, found in groups if found)
    return Part(value, reasons or ("no findings on the image and none stated",))


def conclusion_agrees(conclusion: str | None, *, answer: Sequence[str], vocabulary: Vocabulary) -> bool:
    """Whether the conclusion names exactly the chosen options, by their text or by the labels that it does not deny."""
    if conclusion is None:
        return False
    if _items([conclusion]) == _items(answer):
        return True
    # An option that is no label stays None here, which no conclusion's labels equal.
    return labels_in(conclusion, vocabulary) == {vocabulary.label(option) for option in answer}


def _against_record(reading: Reading, records: Sequence[Record], vocabulary: Vocabulary) -> tuple[float, list[str]]:
    required = {f for r in records for f in r.required}
    groups = dict.fromkeys(frozenset(group) for r in records for group in r.any_of)
    in_favour = {f for r in records for f in r.in_favour}
    supportive = in_favour - {f for r in records for f in r.decisive}
    contradicting = {f for r in records for f in r.contradicting} - in_favour
    stated = set(stated_findings(reading))
    both = reading.contradictory
    favour, against = len(stated & in_favour), len(stated & contradicting) + len(both)
    met = len(stated & required) + sum(not stated.isdisjoint(group) for group in groups)
    recall = met / (len(required) + len(groups)) if required or groups else 1.0
    backed = float(favour > 0 or not in_favour)
    agreement = favour / (favour + CONTRADICTION_WEIGHT * against) if favour or against else 1.0
    value = (REQUIRED_SHARE * recall + BACKED_SHARE * backed) * agreement
    reasons = [
        f"required finding {vocabulary.name(f)}: {'stated' if f in stated else 'not stated'}" for f in sorted(required)
    ]
    for group in groups:
        seen = _names(stated & group, vocabulary) or "none"
        reasons.append(f"required, any of {_names(group, vocabulary)}: {seen} stated")
    found_by_role = (
        ("supportive and stated", stated & supportive),
        ("stated but speaks against the answer", stated & contradicting),
        ("both asserted and denied, counted as a contradiction", both),
    )
    reasons += [f"{what}: {_names(found, vocabulary)}" for what, found in found_by_role if found]
    return value, reasons


def _items(texts: Sequence[str]) -> set[str]:
    pieces = (piece for text in texts for piece in _LIST_JOINT.split(first_sentence(text).lower()))
    return {normalise(piece) for piece in pieces if piece.strip()}


def _names(findings: Collection[str], vocabulary: Vocabulary) -> str:
    return ", ".join(vocabulary.name(f) for f in sorted(findings))

"""Grounding: do the stated findings stand on the image. What Fundus-R1's reward lacks; our own part.

In: stated and annotated finding ids. Out: `Part`. Sets of findings: order, repetition and length count for nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reward.part import Part, names

_NO_ANNOTATION = Part(None, ("grounding does not apply: no findings are annotated on this image",))


def grounding(stated: Collection[str], annotated: Collection[str] | None, *, vocabulary: Vocabulary) -> Part:
    """F1 of the stated against the annotated findings: 2 |S & T| / (|S| + |T|); 1 where both are empty (F1: van
    Rijsbergen, Information Retrieval, 1979).

    None where the image has no annotation. It makes reciting a textbook cost. Example: S = {drusen, hard_exudate},
    T = {drusen, enlarged_cup, flame_haemorrhage}: 2 x 1 / (2 + 3) = 0.4.
    """
    if annotated is None:
        return _NO_ANNOTATION
    said, true = set(stated), set(annotated)
    value = 2 * len(said & true) / (len(said) + len(true)) if said or true else 1.0
    groups = (
        ("on the image and stated", said & true),
        ("on the image but missed", true - said),
        ("stated but not on the image", said - true),
    )
    reasons = tuple(f"{what}: {names(found, vocabulary)}" for what, found in groups if found)
    return Part(value, reasons or ("no findings on the image and none stated",))


def lesion_grounding(
    stated: Collection[str], annotated: Collection[str] | None, *, asked: Collection[str], vocabulary: Vocabulary
) -> Part:
    """For a question about one lesion: 1 where the chain states it (one of `asked`) exactly if it is on the image.

    Other findings count for nothing: data sets that ask about one lesion annotate few. None where the image has no
    annotation. Example: asked = {drusen, large_drusen}, S = {drusen, hard_exudate}, T = {large_drusen}: 1.
    """
    if annotated is None:
        return _NO_ANNOTATION
    said, true = (any(finding in asked for finding in findings) for findings in (stated, annotated))
    where = "on the image" if true else "not on the image"
    return Part(float(said == true), (f"{names(asked, vocabulary)}: {where}, {'stated' if said else 'not stated'}",))

"""Coherence: does the chain's argument hold together, whatever it is about. In: what was read. Out: `Part`.

Our own part: what the other ones presuppose of an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.steps import Reading
from fundus_ray.reward.part import Part, names


def coherence(
    reading: Reading, *, answer: Sequence[str], concluded: bool, labels: Collection[str], vocabulary: Vocabulary
) -> Part:
    """How well findings, reasons, conclusion and answer hang together.

    `concluded`: the conclusion is the answer; `labels`: the vocabulary's labels among the chosen options.

        ordered   = 0 if a finding is stated for the first time only after the conclusion, else 1
        leads     = 0 if the stated relations speak for labels, and none of them for one of `labels`, else 1
        clashes   = findings both asserted and denied + (finding, label) pairs said both for and against
        coherence = concluded x (ordered + leads) / 2 / (1 + clashes)

    `leads` is 1 where nothing is related, or the answer is no label. Examples, answer glaucoma: "Findings: enlarged
    cup. Conclusion: glaucoma." 1 x (1 + 1) / 2 = 1; with "microaneurysms indicate diabetic retinopathy" as the only
    reason 1 x (1 + 0) / 2 = 0.5; with "no enlarged cup" besides 0.5 / 2 = 0.25; with the conclusion "normal" 0.

    Why so: it judges form, so saying more never raises it, and an empty argument without a flaw has 1: to say nothing
    is `consistency`'s matter.
    """
    if not concluded:
        said, own = reading.conclusion, ", ".join(answer)
        why = f"the conclusion {said!r} is not the answer {own!r}" if said else "there is no conclusion"
        return Part(0.0, (f"coherence 0: {why}",))
    ordered = reading.findings_first is not False
    # Not speaks_for: where a finding is said to be absent, the absence is the reason.
    spoken_for = {r.label for r in reading.relations if r.supports}
    leads = not spoken_for or not labels or bool(spoken_for & set(labels))
    both_ways = sorted(
        {(r.finding, r.label) for r in reading.relations if r.speaks_for}
        & {(r.finding, r.label) for r in reading.relations if not r.speaks_for}
    )
    reasons = []
    if not ordered:
        reasons.append("the conclusion stands before the findings")
    if not leads:
        reasons.append(f"the reasons speak for {', '.join(sorted(spoken_for))}, not for the answer")
    if reading.contradictory:
        reasons.append(f"both asserted and denied: {names(reading.contradictory, vocabulary)}")
    reasons += [f"said both for and against {label}: {vocabulary.name(finding)}" for finding, label in both_ways]
    value = (ordered + leads) / 2 / (1 + len(reading.contradictory) + len(both_ways))
    return Part(value, tuple(reasons) or ("coherent: findings, then the conclusion, which is the answer",))

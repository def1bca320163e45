"""Knowledge: are the relations that a chain states (this finding speaks for that disease) true.

In: what was read, later each relation's verdict. Out: the relations that count, then `Part`. Our own formula.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_ray.reasoning.steps import Reading, Relation
from fundus_ray.reward.part import Part, stated_findings
from fundus_ray.types import CheckedClaim, Verdict

NEUTRAL = 0.5  # of a chain about whose relations knowledge says nothing

_NOT_ASKED = Part(None, ("knowledge does not apply: the question is not one of diseases and their signs",))


def stated_relations(reading: Reading, *, max_claims: int) -> tuple[tuple[Relation, ...], int]:
    """The relations that count, in text order, and how many are stated beyond them.

    Each (finding, label, for or against) counts once. Only a finding that the chain states of the image gives a reason:
    not one that it denies, supposes, or both asserts and denies.
    """
    stated = set(stated_findings(reading))
    reasons = [r for r in reading.relations if r.present and r.finding in stated]
    distinct = {(r.finding, r.label, r.supports): r for r in reversed(reasons)}
    counted = sorted(distinct.values(), key=lambda r: (r.start, r.end))
    return tuple(counted[:max_claims]), len(counted[max_claims:])


def knowledge(claims: Sequence[CheckedClaim], *, beyond: int, applies: bool, names: Sequence[str]) -> Part:
    """The share of the chain's relations that knowledge bears out, of those that it decides.

        s, c      = supported, contradicted relations; c also counts those stated beyond reward.max_claims (`beyond`)
        knowledge = s / (s + c), and 1/2 where s + c = 0

    `applies`: the question is one of diseases and their signs (tasks.py); else None. `names`: each claim in words.
    Examples: supported 3 of 3: 1. Supported 1, contradicted 1, not found 2: 1/2. Contradicted 1: 0. Nothing stated, or
    nothing found: 1/2. All of 30 true relations, 12 count: 12 / (12 + 18) = 0.4.

    Why so. Not found neither pays nor costs: the corpus is small, and its silence says nothing. Where the checker finds
    nothing at all, every rollout of the group has 1/2, and a group-relative advantage is 0. To say nothing also has 1/2
    and not None: were the part masked, a chain that is right in all else would do best to state no reason, because each
    one could only lower its mean. Of k decided relations, each true with probability p, the share true is p on average,
    whatever k is: stating more or fewer gains nothing, and a reason is worth stating where it is likelier true than
    not. What a chain writes never decides whether the part applies, so it cannot choose by what it is measured.

    What it cannot see: a true relation of a finding that the image does not show is true all the same. It states the
    finding, which costs in `grounding`, and in `consistency` where it speaks against the answer. A denial costs in
    neither, so a reason from a finding's absence ("no enlarged cup, which argues against glaucoma") does not count: one
    such sentence at the end of any chain would earn 1. To rule out a disease honestly neither pays nor costs.
    """
    if not applies:
        return _NOT_ASKED
    supported = sum(claim.verdict is Verdict.SUPPORTED for claim in claims)
    contradicted = sum(claim.verdict is Verdict.CONTRADICTED for claim in claims) + beyond
    decided = supported + contradicted
    reasons = [
        f"{name}: {claim.verdict.value.replace('_', ' ')} ({claim.why})"
        for name, claim in zip(names, claims, strict=True)
    ]
    if beyond:
        reasons.append(f"{beyond} relations beyond those that count (reward.max_claims), counted as contradicted")
    if not reasons:
        reasons.append(f"no relation from a stated finding to a disease: knowledge {NEUTRAL:g}, which is neutral")
    return Part(supported / decided if decided else NEUTRAL, tuple(reasons))

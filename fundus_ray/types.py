"""The records of the pipeline, one frozen dataclass a stage, in the order in which data flows.

    Sample -> Prompt -> Rollout(s) in a RolloutGroup -> ScoredRollout(s) in a ScoredGroup -> TrainBatch -> PolicyVersion

Each record wraps the one before it; nothing is filled in later and nothing is mutated. Arrays appear only in
`TrainBatch`. Shapes: N rollouts in a batch, P prompt tokens, C completion tokens, T = longest P + C of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Modality(str, Enum):
    """How the image was taken."""

    CFP = "CFP"  # colour fundus photograph
    OCT = "OCT"  # optical coherence tomography
    UWF = "UWF"  # ultra-wide-field photograph


class RewardStatus(str, Enum):
    """Whose fault a missing score is."""

    SCORED = "scored"
    UNPARSEABLE = "unparseable"  # the model's fault: scored, as zero
    UNSCORABLE = "unscorable"  # our fault (search or judge down): never zero; the group is dropped and counted


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image by reference; pixels are read only where the policy needs them."""

    path: str
    sha256: str  # of the file's bytes
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about one image. `options` empty means a free-text answer."""

    id: str
    image: ImageRef
    modality: Modality
    question: str
    options: tuple[str, ...]  # option texts, in the order of their letters A, B, ...
    answer: tuple[str, ...]  # the right option texts (more than one where several are right)
    task: str  # "diagnosis", "laterality", "structure", ...
    source: str  # data set name
    split: str  # "train" | "eval"
    patient_id: str
    findings: tuple[str, ...] | None = None  # finding ids annotated on this image; None = image not annotated
    looked_for: tuple[str, ...] | None = None  # finding ids that its annotators looked for; None = all


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sample put into words, with the ids that make its rollouts reproducible."""

    sample: Sample
    system: str
    user: str
    group_id: int  # position in the run's prompt order; unique within a run
    seed: int  # rollout i of the group samples with seed + i


@dataclass(frozen=True, slots=True)
class Pulse:
    """A worker's sign of life. Of two in a row with work and the same `moved`, nothing moved in between."""

    working: bool = False  # whether it has work that ought to move
    moved: int = 0  # changes with each token that is drawn


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to a served model, which answers with what it finds likeliest."""

    system: str  # "" = no system turn
    user: str
    max_tokens: int
    schema: str = ""  # JSON schema of the reply; "" = free text
    alternatives: int = 0  # likeliest first tokens to tell with their logprobs


@dataclass(frozen=True, slots=True)
class ModelReply:
    """`complete` is False where the reply was cut off at max_tokens."""

    text: str
    complete: bool
    tokens: tuple[tuple[str, float], ...] = ()  # each as text, with its logprob among those that the schema allows
    first: tuple[tuple[str, float], ...] = ()  # `alternatives` to the first token, likeliest first, as text and logprob


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw completions."""

    n: int
    temperature: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """Base weights plus one immutable LoRA adapter. `step` counts learner updates; version 0 is the start of RL."""

    step: int
    sha256: str  # over the adapter's files


@dataclass(frozen=True, slots=True)
class PublishedAdapter:
    """A policy version with its bytes, as it travels through Ray's object store to the engines."""

    version: PolicyVersion
    files: dict[str, bytes]  # file name -> content (adapter_config.json, adapter_model.safetensors)
    probe_token_ids: tuple[int, ...]  # fixed text prompt of the delivery proof
    probe_logprobs: tuple[float, ...]  # the learner's own logprob of probe tokens 1.. under this adapter


@dataclass(frozen=True, slots=True)
class DeliveryProof:
    """What one engine answers after it took a version."""

    worker: str
    version: PolicyVersion
    sha256: str  # of the files as this engine read them back
    listed: bool  # vLLM's own adapter list holds the id
    probe_error: float  # max |engine logprob - learner logprob| over the probe
    probe_shift: float | None  # max |this version - the one before| on the learner: what the probe can tell apart
    seconds: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion, drawn from exactly one policy version."""

    token_ids: tuple[int, ...]  # [C]
    logprobs: tuple[float, ...]  # [C] behaviour logprobs at the sampling temperature
    text: str
    finish_reason: str  # "stop" | "length"
    seed: int
    policy: PolicyVersion


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """All completions of one prompt, drawn together from one policy version."""

    prompt: Prompt
    prompt_token_ids: tuple[int, ...]  # [P] as the engine saw them: image placeholder already expanded
    rollouts: tuple[Rollout, ...]
    worker: str
    started_s: float  # time.time() on the worker
    finished_s: float

    @property
    def policy(self) -> PolicyVersion:
        """The version that wrote every rollout of the group."""
        return self.rollouts[0].policy


@dataclass(frozen=True, slots=True)
class Evidence:
    """A retrieved passage that a score rests on."""

    passage_id: str
    title: str
    section: str
    text: str
    source: str
    url: str
    licence: str
    score: float  # retrieval score
    rank: int  # from 1
    query: str


class Verdict(str, Enum):
    """What the retrieved knowledge says of a stated relation."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_FOUND = "not_found"  # knowledge says neither: no reason to pay, and none to punish


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A relation that a chain states (the finding speaks for the label, or against it), after checking."""

    finding: str  # finding id
    label: str  # the vocabulary's label
    supports: bool  # False: it speaks against the label. What is said of a finding's absence is turned round
    start: int  # the relation is rollout.text[start:end]
    end: int
    verdict: Verdict
    confidence: float  # of the verdict, in [0, 1]
    checker: str  # "record" | "nli" | "judge"
    passage_id: str  # of the passage that decided; "" where none did
    why: str  # one readable line


@dataclass(frozen=True, slots=True)
class ScoredRollout:
    """A rollout with its score, the score's parts, and why.

    `parts` maps a part's name to [0, 1], or None where the part does not apply to this sample (masked, not zero).
    """

    rollout: Rollout
    status: RewardStatus
    total: float  # weighted mean of the parts that apply; 0 where unparseable
    parts: dict[str, float | None]
    answer: tuple[str, ...] | None  # the option texts that the rollout chose; None = no readable answer
    findings: tuple[str, ...]  # finding ids asserted in the chain
    claims: tuple[CheckedClaim, ...]  # relations that the chain states, those that count
    explanation: tuple[str, ...]  # one readable line for each reason
    evidence: tuple[Evidence, ...]
    snapshot: str  # id of the knowledge index that was used
    # Stated findings that fit the chosen answer but are not annotated on the image; None where that is not known.
    recited: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ScoringCost:
    """What the scoring of a group took. The counts of cache and failures are of all that its worker did since it gave
    back another group, so that they can be summed over groups."""

    cache_hits: int = 0  # queries and claims answered without a search or check
    cache_misses: int = 0
    failures: int = 0  # searches and checks that failed
    tries: int = 1  # of this group
    held_s: float = 0.0  # from this group's first failure on
    breaker: str = "closed"  # of search and checker, the worse: "closed" | "half-open" | "open"
    outage: str = ""  # what became of a group whose search or checker stayed down: "" | "drop" | "mask"


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group with its scores. Not trainable: dropped, counted under `drop_reason`."""

    group: RolloutGroup
    scored: tuple[ScoredRollout, ...]
    trainable: bool
    drop_reason: str  # "" where trainable, else e.g. "unscorable", "no_spread"
    started_s: float
    finished_s: float
    cost: ScoringCost = ScoringCost()
    weights: dict[str, float] = field(default_factory=dict)  # of each part in the total


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """What one learner step eats: right-padded rows of prompt + completion.

    `policy_steps[i]` is the version that wrote row i, `policy_step` the version about to be updated.
    """

    token_ids: NDArray[np.int64]  # [N, T]
    prompt_lens: NDArray[np.int64]  # [N]
    seq_lens: NDArray[np.int64]  # [N] prompt + completion
    behaviour_logprobs: NDArray[np.float32]  # [N, T] at completion positions, else 0
    rewards: NDArray[np.float64]  # [N] total of each rollout; what it is worth is for the learner's algorithm to say
    policy_steps: NDArray[np.int64]  # [N]
    image_index: NDArray[np.int64]  # [N] row -> images
    images: tuple[ImageRef, ...]
    policy_step: int


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a learner step reports."""

    step: int  # version after the update
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)

"""How much memory an engine and the learner need for a network of given sizes, line by line.

In: `Shape`, the configuration. Out: `Estimate`s of one rank of an engine and of one of the learner: bytes on its GPU,
or of main memory where it runs on a CPU. Arithmetic only. Every function states its formula, in the notation of
shapes.py with s: bytes of a number (4 or 2), P: longest prompt, C: longest completion, G: rollouts a prompt.

What no formula gives, since it depends on drivers, kernels and imported libraries, is a line of its own (`RUNTIME`),
the same for every network. The learner's lines are checked against PyTorch's own account of its allocations in
tests/doctor/test_estimate.py. What a GPU adds (context, graphs, vLLM's profiling pass) is reckoned, not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fundus_ray.config import Config
from fundus_ray.doctor.shapes import Shape

GIB = 1 << 30
BYTES = {"float32": 4, "bfloat16": 2}
# GPU: context, libraries' workspaces, graphs, NCCL, fragments. CPU: the process with all that it has imported.
RUNTIME = {
    ("engine", "cuda"): 2 * GIB,
    ("learner", "cuda"): 3 * GIB // 2,
    ("engine", "cpu"): 5 * GIB // 4,
    ("learner", "cpu"): 3 * GIB // 4,
}
ENGINE_BATCH_TOKENS = 2048  # of one engine step on a GPU: vLLM's default
CPU_BATCH_TOKENS = 1024  # as in policy/engine_args.py
CPU_KV_BYTES = GIB  # VLLM_CPU_KVCACHE_SPACE of cluster.py
CHUNK_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}  # as in policy/chunked_logits.py, as is the next
MIN_CHUNK_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Line:
    """One part of the memory. `why`: the numbers that it is made from."""

    what: str
    bytes: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one process."""

    name: str
    lines: tuple[Line, ...]

    @property
    def total(self) -> int:
        """[bytes]"""
        return sum(line.bytes for line in self.lines)

    def of(self, what: str) -> int:
        """[bytes] of the line of that name. Raises KeyError."""
        for line in self.lines:
            if line.what == what:
                return line.bytes
        raise KeyError(what)


def device(gpus: float) -> str:
    """As PyTorch names it."""
    return "cuda" if gpus else "cpu"


def longest_prompt(config: Config) -> int:
    """P = rollout.max_model_len - rollout.max_tokens."""
    return config.rollout.max_model_len - config.rollout.max_tokens


def group_tokens(config: Config) -> int:
    """P + G C: the longest group, its prompt once."""
    return longest_prompt(config) + config.rollout.group_size * config.rollout.max_tokens


def pass_tokens(config: Config) -> int:
    """T, most tokens of one pass of the learner: learner.micro_batch_tokens, or one group where that is longer; not
    more than a step has."""
    one = group_tokens(config)
    return min(max(config.learner.micro_batch_tokens, one), config.loop.groups_per_step * one)


def gib(count: float) -> str:
    """As 12.3 GiB, 87 MiB, 0.4 MiB."""
    mib = count / (1 << 20)
    return f"{count / GIB:.1f} GiB" if mib >= 100 else f"{mib:.{0 if mib >= 10 else 1}f} MiB"


def numbers(count: int) -> str:
    """As 3.75 G parameters, 59.9 M parameters."""
    return f"{count / 1e9:.2f} G parameters" if count >= 1e9 else f"{count / 1e6:.1f} M parameters"


# --- engine ---


def engine(shape: Shape, config: Config, *, max_pixels: int, ranks: int = 1) -> Estimate:
    """One of the `ranks` GPUs over which an engine is split, without the KV cache; max_pixels: of the largest image
    that the checkpoint's processor lets through."""
    kind = device(config.rollout.gpus)
    slots = config.live_adapters
    return Estimate(
        "engine",
        (
            Line("weights", engine_weights(shape, config, ranks=ranks), numbers(shape.parameters)),
            Line(
                "adapter slots", adapter_slots(shape, config, ranks=ranks), f"{slots} of rank {config.engine_lora_rank}"
            ),
            Line("step at work", engine_step(shape, config, ranks=ranks), f"{batch_tokens(config)} tokens"),
            Line("largest image", encoded_image(shape, config, max_pixels=max_pixels), f"{max_pixels / 1e6:.2f} Mpx"),
            Line("runtime", RUNTIME["engine", kind], "fixed"),
        ),
    )


def engine_weights(shape: Shape, config: Config, *, ranks: int) -> int:
    """s times the parameters a rank: its share of all linear layers and embeddings, of key and value heads at least
    one."""
    s = BYTES[config.policy.dtype]
    copies = max(1, ranks // shape.kv_heads) - 1  # a head that several ranks hold
    again = copies * shape.layers * 2 * (shape.hidden + 1) * shape.kv_heads * shape.head
    return s * (shape.parameters + again) // ranks


def adapter_slots(shape: Shape, config: Config, *, ranks: int) -> int:
    """s R max_loras L x the sum over the adapted layers of what a rank holds of (inputs + outputs): of the side that
    tensor parallelism cuts its share, of the other all. R: the rank that vLLM rounds policy.lora_rank up to."""
    sides = 0
    for one in shape.linears:
        cut, whole = (one.outputs, one.inputs) if one.split == "outputs" else (one.inputs, one.outputs)
        sides += math.ceil(cut / ranks) + whole
    return BYTES[config.policy.dtype] * config.engine_lora_rank * config.live_adapters * shape.layers * sides


def batch_tokens(config: Config) -> int:
    """Most tokens of one engine step."""
    if config.rollout.gpus:
        return max(ENGINE_BATCH_TOKENS, config.rollout.max_seqs)
    return max(CPU_BATCH_TOKENS, config.rollout.max_model_len, config.rollout.max_seqs)


def engine_step(shape: Shape, config: Config, *, ranks: int) -> int:
    """s B (4 H + 3 I / ranks) for the B tokens of a step, and three tables of float32 over the vocabulary for the
    max_seqs tokens that are drawn: 12 max_seqs V."""
    s, tokens = BYTES[config.policy.dtype], batch_tokens(config)
    layer = s * tokens * (4 * shape.hidden + 3 * math.ceil(shape.intermediate / ranks))
    return layer + 12 * config.rollout.max_seqs * shape.vocabulary


def encoded_image(shape: Shape, config: Config, *, max_pixels: int) -> int:
    """vLLM encodes the largest image once when it starts: for each patch its n numbers twice, and s (2 h + 3 i) or
    s 8 h, whichever is more, of one block."""
    s, vision = BYTES[config.policy.dtype], shape.vision
    patches = vision.merged * image_tokens(shape, max_pixels)
    block = max(2 * vision.hidden + 3 * vision.intermediate, 8 * vision.hidden)
    return patches * (vision.patch_numbers * (4 + s) + s * block)


def image_tokens(shape: Shape, pixels: int) -> int:
    """Of an image: one for each square of merged patches."""
    side = math.isqrt(shape.vision.patch_numbers // 6)  # a patch holds 3 channels of 2 frames
    return max(1, pixels // (side * side * shape.vision.merged))


def kv_token_bytes(shape: Shape, config: Config, *, ranks: int = 1) -> int:
    """2 s L D x the key and value heads of a rank, at least one."""
    heads = max(1, shape.kv_heads // ranks)
    return 2 * BYTES[config.policy.dtype] * shape.layers * shape.head * heads


# --- learner ---


def learner(shape: Shape, config: Config) -> Estimate:
    """One rank, at the worst moment of an update on the longest groups."""
    c = config.learner
    kind = device(c.gpus)
    adapter, tokens = shape.adapter_parameters(config.policy.lora_rank), pass_tokens(config)
    inputs, layer, gradients = _kept(shape, config)
    scores = scoring(shape, config)
    if c.checkpointing:
        kept = Line("layers' inputs", inputs, f"{shape.layers} layers of {tokens} tokens")
        peak = Line("one layer again", max(layer + gradients, scores), "with its gradients, or the scores of tokens")
    else:
        kept = Line("kept for gradients", shape.layers * layer, f"{shape.layers} layers of {tokens} tokens")
        peak = Line("scores, gradients", max(gradients, scores), "of tokens, or of one layer")
    lines = [
        Line("weights", learner_weights(shape, config), numbers(shape.parameters)),
        Line("adapter, AdamW", 16 * adapter, f"{numbers(adapter)} of rank {config.policy.lora_rank}"),
        kept,
        peak,
        Line("image encoding", images_encoded(shape, config), f"prompts of {longest_prompt(config)} tokens"),
        Line("runtime", RUNTIME["learner", kind], "fixed"),
    ]
    if kind == "cpu":
        lines.append(Line("image cache", c.image_cache_mb << 20, "learner.image_cache_mb"))
    return Estimate("learner", tuple(lines))


def learner_weights(shape: Shape, config: Config) -> int:
    """s times the parameters. Under learner.shard a rank holds its part of the decoder layers, two of them whole while
    one is computed and the next arrives, and all else whole (policy/shard.py)."""
    s = BYTES[config.policy.dtype]
    if not config.learner.shard:
        return s * shape.parameters
    layers = shape.layers * shape.layer_parameters
    return s * (shape.parameters - layers + math.ceil(layers / config.learner.ranks) + 2 * shape.layer_parameters)


def layer_kept(shape: Shape, config: Config) -> int:
    """What one decoder layer of T tokens keeps for its gradients, with w = A D and K tokens that completions attend to,
    prompts counted once a rollout:

        T (8 H + s (2 H + 3 w + 4 I + 7 r) + 4 A) + 2 s K w

    that is both norms' inputs in float32; the inputs of q k v and of gate up; queries, attention's output, o's input;
    gate, up and both products; the adapters' inner products; attention's sums; keys and values, one a query head. Under
    autocast s is 2, the inputs of q, k, v, gate, up are cast five times instead of twice, and so are the layer's
    weights once."""
    t, s = pass_tokens(config), _work_bytes(config)
    h, i, w, r = shape.hidden, shape.intermediate, shape.heads * shape.head, config.policy.lora_rank
    layer = t * (8 * h + s * (2 * h + 3 * w + 4 * i + 7 * r) + 4 * shape.heads) + 2 * s * attended(config) * w
    if _autocast(config):
        layer += s * (3 * t * h + sum(one.inputs * one.outputs for one in shape.linears))
    return layer


def attended(config: Config) -> int:
    """K: keys that a pass gathers. Of each group its prompt, and for each rollout the prompt again and its own tokens:
    P + G (P + C)."""
    p, g, c = longest_prompt(config), config.rollout.group_size, config.rollout.max_tokens
    return math.ceil(pass_tokens(config) / group_tokens(config) * (p + g * (p + c)))


def _kept(shape: Shape, config: Config) -> tuple[int, int, int]:
    """[bytes] (inputs of all layers: L T H s; one layer: `layer_kept`; most gradients at once while one layer's are
    made: s T (2 I + 2 H) in its MLP, or 3 s K w - 4 s T I in its attention, by when the MLP's own are gone)."""
    t, s = pass_tokens(config), _work_bytes(config)
    h, i, w = shape.hidden, shape.intermediate, shape.heads * shape.head
    gradients = max(s * t * (2 * i + 2 * h), 3 * s * attended(config) * w - 4 * s * t * i)
    return shape.layers * t * h * BYTES[config.policy.dtype], layer_kept(shape, config), gradients


def scoring(shape: Shape, config: Config) -> int:
    """Log-probabilities: 2 s T H for the hidden states and their slopes, and three tables of float32 over the
    vocabulary for the tokens that are scored at once: 12 V x their number."""
    kind, tokens = device(config.learner.gpus), pass_tokens(config)
    scored = tokens - tokens * longest_prompt(config) // group_tokens(config)
    rows = min(scored, max(MIN_CHUNK_TOKENS, CHUNK_BYTES[kind] // (4 * shape.vocabulary)))
    return 2 * BYTES[config.policy.dtype] * tokens * shape.hidden + 12 * rows * shape.vocabulary


def images_encoded(shape: Shape, config: Config) -> int:
    """One image a group of the pass, each as large as the longest prompt holds: for each patch its n numbers,
    s 5 h + 16 h of one block's attention; on a CPU also its 8 scores a head with every other patch of the image."""
    s, vision = BYTES[config.policy.dtype], shape.vision
    images = math.ceil(pass_tokens(config) / group_tokens(config))
    patches = vision.merged * longest_prompt(config)
    each = patches * (4 * vision.patch_numbers + (5 * s + 16) * vision.hidden)
    scores = 0 if config.learner.gpus else 8 * vision.heads * patches * patches
    return images * each + scores


def _autocast(config: Config) -> bool:
    return config.learner.bf16 and config.policy.dtype == "float32"


def _work_bytes(config: Config) -> int:
    """Of a number in the update's products."""
    return 2 if _autocast(config) else BYTES[config.policy.dtype]

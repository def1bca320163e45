"""Log-probabilities of completions under the policy, with gradients.

In: right-padded token rows and image features. Out: float32 log-probabilities at completion positions only.
Shapes: N rows, T tokens, M images, H hidden size, V vocabulary, K completion tokens of all rows together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from fundus_ray.policy.chunked_logits import chosen_logprobs
from fundus_ray.policy.load import PolicyModel, preprocess_images


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What the vision tower makes of M images."""

    embeddings: tuple[Tensor, ...]  # M of [tokens of the image, H]
    grids: Tensor  # [M, 3] patches (t, h, w)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Per token; zero outside completions."""

    logprobs: Tensor  # [N, T] float32
    entropy: Tensor  # [N, T] float32, nats, without gradient
    mask: Tensor  # [N, T] bool: completion positions


def encode_images(policy: PolicyModel, images: Sequence[Image.Image]) -> ImageFeatures:
    """Run the vision tower once for each image."""
    pixels, grids = preprocess_images(policy.processor, images)
    return encode_patches(policy, pixels, grids)


def encode_patches(policy: PolicyModel, pixels: Tensor, grids: Tensor) -> ImageFeatures:
    """The same for images already cut into patches: pixels [sum of t*h*w, 1176], grids [M, 3]."""
    out = policy.network.model.get_image_features(pixels.to(policy.device), grids.to(policy.device), return_dict=True)
    return ImageFeatures(tuple(out.pooler_output), grids)


def embed(policy: PolicyModel, token_ids: Tensor, *, is_image: Tensor, features: ImageFeatures | None) -> Tensor:
    """Input embeddings [N, T, H]; at `is_image` [N, T] the features, row i's image being the i-th."""
    embeddings: Tensor = policy.network.model.get_input_embeddings()(token_ids)
    if features is None:
        return embeddings
    return embeddings.masked_scatter(is_image.unsqueeze(-1), torch.cat(features.embeddings).to(embeddings.dtype))


def hidden_states(
    policy: PolicyModel, token_ids: Tensor, *, prompt_lens: Tensor, features: ImageFeatures | None
) -> Tensor:
    """Last hidden states [N, T, H]. Row i's image is the i-th of `features`; None = text only.

    Rows are right-padded and attention is causal, so padding cannot reach a real token and needs no mask. An image
    placeholder that the policy itself wrote, beyond prompt_lens [N], is a token like any other.
    """
    core = policy.network.model
    in_prompt = torch.arange(token_ids.shape[1], device=token_ids.device) < prompt_lens.unsqueeze(1)
    is_image = (token_ids == policy.image_token_id) & in_prompt
    grids = None if features is None else features.grids
    positions, _ = core.get_rope_index(token_ids, mm_token_type_ids=is_image.int(), image_grid_thw=grids)
    embeddings = embed(policy, token_ids, is_image=is_image, features=features)
    out = core.language_model(inputs_embeds=embeddings, position_ids=positions, use_cache=False)
    hidden: Tensor = out.last_hidden_state
    return hidden


def completion_logprobs(
    policy: PolicyModel,
    token_ids: Tensor,
    *,
    prompt_lens: Tensor,
    seq_lens: Tensor,
    features: ImageFeatures | None,
    temperature: float = 1.0,
) -> TokenLogprobs:
    """Log-probability of each completion token given all before it, at `temperature`.

    token_ids [N, T], prompt_lens [N], seq_lens [N]. Logits are made only where a completion token is predicted, some
    tokens at a time, and normalised in float32 whatever the network's dtype: a bfloat16 softmax differs from the engine
    by up to 0.5.
    """
    hidden = hidden_states(policy, token_ids, prompt_lens=prompt_lens, features=features)
    column = torch.arange(token_ids.shape[1], device=token_ids.device)
    rows, columns = ((column >= prompt_lens.unsqueeze(1)) & (column < seq_lens.unsqueeze(1))).nonzero(as_tuple=True)
    return score_tokens(
        policy, hidden[rows, columns - 1], token_ids=token_ids, at=(rows, columns), temperature=temperature
    )


def score_tokens(
    policy: PolicyModel, hidden: Tensor, *, token_ids: Tensor, at: tuple[Tensor, Tensor], temperature: float
) -> TokenLogprobs:
    """Score the K tokens at positions `at` of token_ids [N, T], each predicted by its row of hidden [K, H]."""
    chosen, entropy_k = chosen_logprobs(hidden, policy.network.lm_head.weight, token_ids[at], temperature=temperature)
    blank = torch.zeros(token_ids.shape, dtype=torch.float32, device=token_ids.device)
    return TokenLogprobs(
        logprobs=blank.index_put(at, chosen),
        entropy=blank.index_put(at, entropy_k),
        mask=torch.zeros(token_ids.shape, dtype=torch.bool, device=token_ids.device).index_put(
            at, torch.ones_like(chosen, dtype=torch.bool)
        ),
    )


def text_logprobs(policy: PolicyModel, token_ids: Sequence[int]) -> tuple[float, ...]:
    """Log-probabilities of tokens 1.. of one text without an image (the delivery probe)."""
    ids = torch.tensor([list(token_ids)], device=policy.device)
    length = torch.tensor([len(token_ids)], device=policy.device)
    with torch.no_grad():
        out = completion_logprobs(policy, ids, prompt_lens=torch.ones_like(length), seq_lens=length, features=None)
    return tuple(out.logprobs[0, 1:].tolist())

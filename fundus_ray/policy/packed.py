"""Log-probabilities of whole groups with each prompt and image encoded once, not once a rollout.

A group's row is its prompt followed by all its completions:

    prompt | completion 1 | completion 2 | ... | completion G | padding

Every completion sees the prompt and itself, never another completion, and its positions continue from the prompt's
end. The numbers are those of `completion_logprobs` on G separate rows; the work is P + sum(C) tokens instead of
G * P + sum(C).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fundus_ray.policy.load import PolicyModel
from fundus_ray.policy.logprobs import ImageFeatures, TokenLogprobs, embed, score_tokens


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where each of the N rollouts' completion tokens lies in the packed rows. B groups, L packed length, K tokens."""

    token_ids: Tensor  # [B, L]
    segment: Tensor  # [B, L] 0 = prompt, g = completion g of the group, -1 = padding
    offset: Tensor  # [B, L] position within the segment
    source: tuple[Tensor, Tensor]  # [K] (rollout, column) in the unpacked rows
    predictor: tuple[Tensor, Tensor]  # [K] (group, column) of the hidden state that predicts the token


def group_logprobs(
    policy: PolicyModel,
    token_ids: Tensor,
    *,
    prompt_lens: Tensor,
    seq_lens: Tensor,
    group_of_row: Tensor,
    features: ImageFeatures | None,
    temperature: float,
) -> TokenLogprobs:
    """As `completion_logprobs`, for rows that come in whole groups.

    token_ids [N, T] right-padded prompt + completion; prompt_lens, seq_lens [N]; group_of_row [N] counts 0, 0, ...,
    1, 1, ... and rows of one group share their prompt; `features` holds one image a group; None = text only.
    """
    layout = _pack(token_ids, prompt_lens=prompt_lens, seq_lens=seq_lens, group_of_row=group_of_row)
    is_prompt = layout.segment == 0
    is_image = (layout.token_ids == policy.image_token_id) & is_prompt
    embeddings = embed(policy, layout.token_ids, is_image=is_image, features=features)
    out = policy.network.model.language_model(
        inputs_embeds=embeddings,
        position_ids=_positions(
            policy, layout, is_prompt=is_prompt, is_image=is_image, grids=None if features is None else features.grids
        ),
        attention_mask={"full_attention": _mask(layout.segment, dtype=embeddings.dtype)},
        use_cache=False,
    )
    hidden = out.last_hidden_state[layout.predictor]
    return score_tokens(policy, hidden, token_ids=token_ids, at=layout.source, temperature=temperature)


def _pack(token_ids: Tensor, *, prompt_lens: Tensor, seq_lens: Tensor, group_of_row: Tensor) -> _Layout:
    """On the CPU: plain loops over N rows, whose cost is nothing beside the network's."""
    prompts, ends, groups = prompt_lens.tolist(), seq_lens.tolist(), group_of_row.tolist()
    count = groups[-1] + 1
    lengths = [0] * count
    for row, group in enumerate(groups):
        lengths[group] = (lengths[group] or prompts[row]) + ends[row] - prompts[row]
    packed = torch.zeros((count, max(lengths)), dtype=torch.long)
    segment = torch.full_like(packed, -1)
    offset = torch.zeros_like(packed)
    cursor, members = [0] * count, [0] * count
    source: list[tuple[int, int]] = []
    predictor: list[tuple[int, int]] = []
    cpu_ids = token_ids.cpu()
    for row, group in enumerate(groups):
        p, end = prompts[row], ends[row]
        if cursor[group] == 0:
            packed[group, :p], segment[group, :p], offset[group, :p] = cpu_ids[row, :p], 0, torch.arange(p)
            cursor[group] = p
        at, length = cursor[group], end - p
        members[group] += 1
        packed[group, at : at + length] = cpu_ids[row, p:end]
        segment[group, at : at + length] = members[group]
        offset[group, at : at + length] = torch.arange(length)
        source += [(row, column) for column in range(p, end)]
        predictor += [(group, p - 1), *((group, at + i) for i in range(length - 1))]
        cursor[group] += length
    device = token_ids.device
    return _Layout(
        token_ids=packed.to(device),
        segment=segment.to(device),
        offset=offset.to(device),
        source=_columns(source, device),
        predictor=_columns(predictor, device),
    )


def _columns(pairs: list[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    both = torch.tensor(pairs, dtype=torch.long, device=device)
    return both[:, 0], both[:, 1]


def _positions(
    policy: PolicyModel, layout: _Layout, *, is_prompt: Tensor, is_image: Tensor, grids: Tensor | None
) -> Tensor:
    """[3, B, L] (t, h, w): the prompt's own, and every completion continuing from the prompt's end."""
    prompt_positions, _ = policy.network.model.get_rope_index(
        layout.token_ids, mm_token_type_ids=is_image.int(), image_grid_thw=grids, attention_mask=is_prompt.int()
    )
    next_position = prompt_positions.amax(dim=(0, 2)) + 1  # [B]
    continued = next_position.unsqueeze(1) + layout.offset
    return torch.where(is_prompt, prompt_positions, continued.expand(3, -1, -1))


def _mask(segment: Tensor, *, dtype: torch.dtype) -> Tensor:
    """[B, 1, L, L] to add to attention scores: 0 where a token may look, else the dtype's lowest number."""
    query, key = segment.unsqueeze(2), segment.unsqueeze(1)
    causal = torch.ones(segment.shape[1], segment.shape[1], dtype=torch.bool, device=segment.device).tril()
    # Padding looks at itself like any segment, so that no row of the softmax is empty.
    allowed = causal & ((key == query) | ((key == 0) & (query > 0)))
    blank = torch.zeros(allowed.shape, dtype=dtype, device=segment.device)
    return blank.masked_fill(~allowed, torch.finfo(dtype).min).unsqueeze(1)

"""Log-probabilities of whole groups with each prompt and image encoded once, not once a rollout, and without padding.

All tokens of a pass lie in one row, group after group:

    prompt | completion 1 | completion 2 | ... | completion G || prompt | completion 1 | ...

Every completion sees its prompt and itself, never another completion (group_attention.py), and its positions continue
from the prompt's end. The numbers are those of `completion_logprobs` on N separate rows; the work is P + sum(C) tokens
a group instead of G * P + sum(C), and all but attention runs on these tokens alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fundus_ray.policy.group_attention import AttentionPlan, plan_attention
from fundus_ray.policy.load import PolicyModel
from fundus_ray.policy.logprobs import ImageFeatures, TokenLogprobs, embed, score_tokens

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """Where the S = sum(P) + sum(C) tokens of G groups lie; K = sum(C), N rollouts. Tensors on the policy's device."""

    source: tuple[Tensor, Tensor]  # [S] (rollout, column) of each flat token in the unpacked rows
    prompt_index: tuple[Tensor, Tensor]  # (group, column) of each prompt token among right-padded prompts
    prompt_at: Tensor  # [sum P] flat positions of these
    prompt_rows: Tensor  # [G] a rollout of each group
    prompt_lens: Tensor  # [G]
    longest_prompt: int
    completion_at: Tensor  # [K] flat positions, rollout after rollout
    offset: Tensor  # [K] position within the completion
    group: Tensor  # [K] group of each completion token
    scored: tuple[Tensor, Tensor]  # [K] (rollout, column) in the unpacked rows
    predictor: Tensor  # [K] flat position of the hidden state that predicts the token
    attention: AttentionPlan


def group_logprobs(
    policy: PolicyModel,
    token_ids: Tensor,
    *,
    prompt_lens: Ints,
    seq_lens: Ints,
    group_of_row: Ints,
    features: ImageFeatures | None,
    temperature: float,
) -> TokenLogprobs:
    """As `completion_logprobs`, for rows that come in whole groups.

    token_ids [N, T] right-padded prompt + completion; prompt_lens, seq_lens [N]; group_of_row [N] counts 0, 0, ...,
    1, 1, ... and rows of one group share their prompt; `features` holds one image a group; None = text only.
    """
    layout = layout_of(prompt_lens=prompt_lens, seq_lens=seq_lens, group_of_row=group_of_row, device=policy.device)
    hidden = group_hidden_states(policy, token_ids, layout=layout, features=features)
    return score_tokens(
        policy,
        hidden.index_select(0, layout.predictor),
        token_ids=token_ids,
        at=layout.scored,
        temperature=temperature,
    )


def group_hidden_states(
    policy: PolicyModel, token_ids: Tensor, *, layout: GroupLayout, features: ImageFeatures | None
) -> Tensor:
    """Last hidden states [S, H] of token_ids [N, T] in the layout's order."""
    flat = token_ids[layout.source].unsqueeze(0)
    is_image = torch.zeros_like(flat, dtype=torch.bool)
    is_image[0, layout.prompt_at] = flat[0, layout.prompt_at] == policy.image_token_id
    out = policy.network.model.language_model(
        inputs_embeds=embed(policy, flat, is_image=is_image, features=features),
        position_ids=_positions(policy, token_ids, layout, grids=None if features is None else features.grids),
        attention_mask={"full_attention": None},
        use_cache=False,
        plan=layout.attention,
    )
    hidden: Tensor = out.last_hidden_state[0]
    return hidden


def layout_of(*, prompt_lens: Ints, seq_lens: Ints, group_of_row: Ints, device: torch.device) -> GroupLayout:
    """Lens and groups as in `group_logprobs`."""
    rows = np.unique(group_of_row, return_index=True)[1]  # [G] first rollout of each group
    prompts, lengths = prompt_lens[rows], seq_lens - prompt_lens
    before = np.cumsum(lengths) - lengths  # [N] completion tokens of earlier rollouts
    starts = before + np.cumsum(prompts)[group_of_row]  # [N] flat positions where completions begin
    prompt_at = np.cumsum(prompts) - prompts + before[rows]  # [G]

    prompt_group, prompt_column = np.repeat(np.arange(len(rows)), prompts), _counted(prompts)
    row, offset = np.repeat(np.arange(len(lengths)), lengths), _counted(lengths)
    at_prompt, at = prompt_at[prompt_group] + prompt_column, starts[row] + offset
    source = np.empty((2, prompts.sum() + lengths.sum()), dtype=np.int64)
    source[:, at_prompt] = rows[prompt_group], prompt_column
    source[:, at] = row, prompt_lens[row] + offset
    last_of_prompt = (prompt_at + prompts - 1)[group_of_row[row]]

    def on(array: Ints) -> Tensor:
        return torch.from_numpy(array).to(device)

    return GroupLayout(
        source=(on(source[0]), on(source[1])),
        prompt_index=(on(prompt_group), on(prompt_column)),
        prompt_at=on(at_prompt),
        prompt_rows=on(rows),
        prompt_lens=on(prompts),
        longest_prompt=int(prompts.max()),
        completion_at=on(at),
        offset=on(offset),
        group=on(group_of_row[row]),
        scored=(on(row), on(prompt_lens[row] + offset)),
        predictor=on(np.where(offset == 0, last_of_prompt, at - 1)),
        attention=plan_attention(
            prompt_at=prompt_at,
            prompt_lens=prompts,
            starts=starts,
            lengths=lengths,
            groups=group_of_row,
            device=device,
        ),
    )


def _counted(lengths: Ints) -> Ints:
    """[sum] 0, 1, ..., length - 1 for each."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _positions(policy: PolicyModel, token_ids: Tensor, layout: GroupLayout, *, grids: Tensor | None) -> Tensor:
    """[3, 1, S] (t, h, w): the prompts' own, and every completion continuing from its prompt's end."""
    prompts = token_ids[layout.prompt_rows, : layout.longest_prompt]
    real = torch.arange(layout.longest_prompt, device=prompts.device) < layout.prompt_lens.unsqueeze(1)
    is_image = (prompts == policy.image_token_id) & real
    of_prompts, _ = policy.network.model.get_rope_index(
        prompts, mm_token_type_ids=is_image.int(), image_grid_thw=grids, attention_mask=real.int()
    )  # [3, G, longest prompt]
    next_position = of_prompts.masked_fill(~real, 0).amax(dim=(0, 2)) + 1
    flat = of_prompts.new_empty((3, layout.attention.tokens))
    flat[:, layout.prompt_at] = of_prompts[:, *layout.prompt_index]
    flat[:, layout.completion_at] = next_position[layout.group] + layout.offset
    return flat.unsqueeze(1)

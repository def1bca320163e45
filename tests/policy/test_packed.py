"""Packed groups give the numbers of separate rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fundus_ray.data.images import read_pixels
from fundus_ray.policy.load import expand_image_token, load_policy, prompt_text, with_adapter
from fundus_ray.policy.logprobs import ImageFeatures, completion_logprobs, encode_images
from fundus_ray.policy.packed import group_logprobs
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.types import Sample


def test_packed_groups_score_as_separate_rows_and_give_the_same_gradient(
    tiny_policy: Path, samples: tuple[Sample, ...]
) -> None:
    policy = with_adapter(load_policy(tiny_policy), rank=4, alpha=8, seed=0)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    features = encode_images(policy, [read_pixels(s.image) for s in samples[:2]])
    generator = torch.Generator().manual_seed(0)
    rows, prompts, groups = [], [], []
    for group, sample in enumerate(samples[:2]):
        ids = policy.processor.tokenizer(prompt_text(policy.processor, build_prompt(sample, group_id=0, seed=0)))
        prompt = expand_image_token(ids["input_ids"], image_token_id=policy.image_token_id, count=16)
        for length in (5, 1, 9)[: 3 - group]:  # groups of unlike size, completions of unlike length
            completion = torch.randint(0, 200, (length,), generator=generator).tolist()
            completion[-1] = policy.image_token_id if length == 9 else completion[-1]  # a policy may write even this
            rows.append([*prompt, *completion])
            prompts.append(len(prompt))
            groups.append(group)
    token_ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = torch.tensor(row)
    lens = {"prompt_lens": torch.tensor(prompts), "seq_lens": torch.tensor([len(r) for r in rows])}

    packed = group_logprobs(
        policy,
        token_ids,
        **{name: value.numpy() for name, value in lens.items()},
        group_of_row=np.array(groups),
        features=features,
        temperature=0.8,
    )
    packed.logprobs.sum().backward()
    packed_grads = {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad(set_to_none=True)
    repeated = ImageFeatures(tuple(features.embeddings[i] for i in groups), features.grids[groups])
    separate = completion_logprobs(policy, token_ids, **lens, features=repeated, temperature=0.8)
    separate.logprobs.sum().backward()

    assert int(packed.mask.sum()) == 5 + 1 + 9 + 5 + 1
    assert torch.equal(packed.mask, separate.mask)
    torch.testing.assert_close(packed.logprobs, separate.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(packed.entropy, separate.entropy, atol=1e-5, rtol=0)
    assert packed_grads, "the adapter must get gradients"
    assert all("lora_" in name for name in packed_grads), "everything but the adapter is frozen"
    for name, parameter in policy.model.named_parameters():
        if parameter.grad is not None:
            # What float32 leaves of a sum depends on its largest terms, and on the machine's vector width.
            scale = float(parameter.grad.abs().max())
            torch.testing.assert_close(packed_grads[name], parameter.grad, atol=1e-5 * max(1.0, scale), rtol=0)

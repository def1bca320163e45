from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper import punica_cpu
from vllm.lora.punica_wrapper.punica_selector import get_punica_wrapper

from fundus_ray.policy import cpu_lora
from fundus_ray.policy.cpu_lora import WholeSlots, install

SLOTS, RANK, IN, WIDTHS = 3, 4, 10, (12, 7)
VLLMS: Any = WholeSlots.__base__


def made(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


A = tuple(made(SLOTS, 1, RANK, IN, seed=10 + i) for i in range(2))
B = tuple(made(SLOTS, 1, width, RANK, seed=20 + i) for i, width in enumerate(WIDTHS))
MIXED, ONE, NONE = (0, 2, 1, 1, -1, 0, 2), (2,) * 7, (-1,) * 7


def told(wrapper: Any, slots: tuple[int, ...]) -> Any:
    """The wrapper, told of each token's slot as the engine does before a forward pass."""
    ids: list[int | None] = [101, 102, 103]  # the adapter in each slot
    mapping = LoRAMapping(
        index_mapping=tuple(ids[s] if s >= 0 else 0 for s in slots), prompt_mapping=(0,), is_prefill=True
    )
    wrapper.update_metadata(mapping, ids, SLOTS, 100)
    return wrapper


def made_wrapper(kind: Any = WholeSlots) -> Any:
    return kind(16, 16, "cpu")


def added(wrapper: Any, x: Tensor, *, scale: float = 1.0) -> Tensor:
    """What it adds to an output that was not zero."""
    y = made(*x.shape[:-1], sum(WIDTHS), seed=3)
    before = y.clone()
    wrapper.add_lora_linear(y, x, A, B, scale, WIDTHS)
    return y - before


@pytest.fixture(params=[0, 1 << 20], ids=["slots apart", "slots at once"])
def _large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways through steps of several slots."""
    monkeypatch.setattr(cpu_lora, "LARGE", request.param)


pytestmark = pytest.mark.usefixtures("_large")


@pytest.mark.parametrize("slots", [MIXED, ONE, NONE, (1,), (-1, -1, 1, 1)])
def test_each_token_gets_the_product_of_its_own_slots_matrices_in_every_slice(slots: tuple[int, ...]) -> None:
    x = made(len(slots), IN, seed=0)
    difference = added(told(made_wrapper(), slots), x, scale=2.0)
    for token, slot in enumerate(slots):
        both = [b[slot, 0] @ (a[slot, 0] @ x[token]) for a, b in zip(A, B, strict=True)]
        expected = 2.0 * torch.cat(both) * float(slot >= 0)
        torch.testing.assert_close(difference[token], expected, atol=2e-5, rtol=0)


def test_a_token_without_an_adapter_is_left_as_it_is_among_others() -> None:
    assert not added(told(made_wrapper(), MIXED), made(7, IN, seed=0))[MIXED.index(-1)].any()


def test_what_was_known_of_one_forward_pass_is_not_used_in_the_next() -> None:
    wrapper = made_wrapper()
    x = made(7, IN, seed=0)
    first = added(told(wrapper, MIXED), x)
    turned = added(told(wrapper, MIXED[::-1]), x.flip(0)).flip(0)
    torch.testing.assert_close(first, turned, atol=2e-5, rtol=0)


@pytest.mark.parametrize("slots", [MIXED, ONE])
def test_a_leading_dimension_of_one_changes_nothing(slots: tuple[int, ...]) -> None:
    wrapper, x = told(made_wrapper(), slots), made(1, 7, IN, seed=0)
    torch.testing.assert_close(added(wrapper, x)[0], added(wrapper, x[0]), atol=2e-5, rtol=0)


@pytest.fixture
def installed() -> Iterator[None]:
    before = punica_cpu.PunicaWrapperCPU
    install()
    install()
    yield
    punica_cpu.PunicaWrapperCPU = before


@pytest.mark.parametrize("slots", [(0, 2, 1, 1, 0, 0, 2), ONE])
def test_once_installed_vllm_makes_this_class_and_it_gives_what_vllms_gave(
    installed: None, slots: tuple[int, ...]
) -> None:
    ours = get_punica_wrapper(16, 16, "cpu")
    assert type(ours) is WholeSlots
    theirs = made_wrapper(VLLMS)
    x = made(7, IN, seed=0)
    torch.testing.assert_close(added(told(ours, slots), x), added(told(theirs, slots), x), atol=2e-5, rtol=0)

"""What the vision tower learns from answers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fundus_ray.config import load
from fundus_ray.data.images import image_ref
from fundus_ray.errors import DataError
from fundus_ray.policy.load import PolicyModel, load_policy
from fundus_ray.policy.logprobs import encode_patches
from fundus_ray.sft.answer_warmup import answer_warmup, answered, balanced_loss, pooled, weights_of
from fundus_ray.sft.batch import ImagePatches, SftExample, cut_image
from fundus_ray.types import Modality, Sample

SIDES = ("left", "right")


@pytest.fixture
def policy(tiny_policy: Path) -> PolicyModel:
    return load_policy(tiny_policy)


def drawn(folder: Path, number: int, *, side: str, bright: bool, width_px: int = 112) -> Sample:
    """A patch on one side of an image, of one brightness."""
    pixels = np.full((112, width_px, 3), 90, dtype=np.uint8)
    half = slice(8, 40) if side == "left" else slice(width_px - 40, width_px - 8)
    pixels[40:72, half] = 230 if bright else 10
    path = folder / f"{number}.png"
    pixels[0, 0] = number  # no two images are the same file
    Image.fromarray(pixels).save(path)
    return Sample(
        f"s{number}", image_ref(path), Modality.CFP, "which side?", SIDES, (side,), "side", "src", "train", f"p{number}"
    )


def examples_of(policy: PolicyModel, samples: list[Sample]) -> list[SftExample]:
    return [SftExample((), (), cut_image(policy.processor, sample.image)) for sample in samples]


def test_each_image_is_asked_once_for_every_option_of_its_questions() -> None:
    first, second = (ImagePatches(torch.zeros(1), torch.zeros(3)) for _ in range(2))
    sample = Sample("a", None, Modality.CFP, "which side?", SIDES, ("left",), "side", "s", "train", "p")  # type: ignore[arg-type]

    class Ref:
        def __init__(self, sha256: str) -> None:
            self.sha256 = sha256

    one, two = Ref("1"), Ref("2")
    samples = [
        replace(sample, image=one),  # type: ignore[arg-type]
        replace(sample, image=one, question="signs?", options=("a", "b", "c"), answer=("a", "c"), task="sign"),  # type: ignore[arg-type]
        replace(sample, image=two, answer=("right",)),  # type: ignore[arg-type]
        replace(sample, image=two, question="in words?", options=(), answer=("free text",)),  # type: ignore[arg-type]
    ]
    examples = [SftExample((), (), image) for image in (first, first, second, second)]
    told = answered(samples, examples=examples)
    assert told.images == (first, second)
    assert told.options == (
        ("side", "which side?", "left"),
        ("side", "which side?", "right"),
        ("sign", "signs?", "a"),
        ("sign", "signs?", "b"),
        ("sign", "signs?", "c"),
    )
    nan = float("nan")
    expected = torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0], [0.0, 1.0, nan, nan, nan]])
    assert torch.equal(told.wanted.isnan(), expected.isnan())
    assert torch.equal(told.wanted.nan_to_num(), expected.nan_to_num())


def test_the_tower_learns_what_answers_tell_though_most_are_alike(policy: PolicyModel, tmp_path: Path) -> None:
    """Nine patches in ten lie on the left."""
    samples = [
        drawn(tmp_path, i, side="right" if i % 10 == 0 else "left", bright=i % 2 == 0, width_px=(112, 84)[i % 3 == 0])
        for i in range(40)
    ]
    before = {name: value.clone() for name, value in policy.network.state_dict().items()}
    config = load(None, ["sft.vision_warmup_steps=60", "sft.batch_size=16", "data.source=photo", "sft.bf16=false"])
    losses = answer_warmup(config, policy, samples, examples=examples_of(policy, samples))
    assert len(losses) == 60
    assert losses[0] > 0.4
    assert max(losses[-5:]) < 0.1
    changed = {name for name, value in policy.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("visual" in name for name in changed)  # the language model is not touched


def test_a_field_of_the_grid_is_the_mean_of_its_cells(policy: PolicyModel, tmp_path: Path) -> None:
    """A wide image has 2 rows of 5 cells: a field lies in one row, which two fields share, over two neighbours."""
    samples = [drawn(tmp_path, i, side="left", bright=True, width_px=width) for i, width in enumerate((224, 112))]
    images = [example.image for example in examples_of(policy, samples)]
    with torch.no_grad():
        fields = pooled(policy, images).view(2, 192, 4, 4)
        patches, grids = torch.cat([i.patches for i in images]).float(), torch.stack([i.grid for i in images])
        wide, square = encode_patches(policy, patches, grids).embeddings
    assert grids.tolist() == [[1, 4, 10], [1, 8, 8]]  # in patches, of which a cell has 2 x 2
    cells = wide.view(2, 5, 192)
    by_hand = torch.stack(
        [torch.stack([(cells[row // 2, x] + cells[row // 2, x + 1]) / 2 for x in range(4)]) for row in range(4)]
    )
    assert torch.allclose(fields[0].permute(1, 2, 0), by_hand, atol=1e-5)
    assert torch.allclose(fields[1].flatten(1).T, square, atol=1e-5)


def test_right_and_wrong_weigh_the_same_however_rare_they_are() -> None:
    wanted = torch.tensor([[1.0]] * 9 + [[0.0]])
    weights = weights_of(wanted)
    assert torch.allclose(weights, torch.tensor([[5.0], [0.5 / 0.9]]))
    even = balanced_loss(torch.zeros(10, 1), wanted, weights=weights)
    assert float(even) == pytest.approx(math.log(2))
    guess = math.log(9)  # the logit of 0.9: best where all samples weigh the same
    by_hand = 0.5 * -math.log(0.9) + 0.5 * -math.log(0.1)
    assert float(balanced_loss(torch.full((10, 1), guess), wanted, weights=weights)) == pytest.approx(by_hand, rel=1e-5)
    assert by_hand > math.log(2)


def test_what_was_not_asked_changes_nothing_and_what_is_always_right_weighs_no_more_than_a_rare_option() -> None:
    nan = float("nan")
    wanted = torch.tensor([[1.0, nan], [0.0, nan], [1.0, 1.0]])
    weights = weights_of(wanted)
    assert torch.allclose(weights[:, 1], torch.tensor([0.5 / 0.02, 0.5 / 0.98]))
    logits = torch.tensor([[0.3, 7.0], [0.3, -9.0]])
    alone = balanced_loss(logits[:, :1], wanted[:2, :1], weights=weights[:, :1])
    assert torch.allclose(balanced_loss(logits, wanted[:2], weights=weights), alone)


def test_images_without_a_kept_option_and_rows_that_contradict_each_other_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fundus_ray.sft.answer_warmup.TARGETS", 2)
    common = [drawn(tmp_path, i, side="left", bright=True) for i in range(3)]
    odd = replace(drawn(tmp_path, 3, side="left", bright=True), question="its own?")
    again = replace(common[2], answer=("right",))  # the same image, now on the right
    samples = [*common, odd, again, again]  # told three times it is still two options
    blank = ImagePatches(torch.zeros(1), torch.zeros(3))
    told = answered(samples, examples=[SftExample((), (), blank)] * 6)
    assert told.wanted.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert "leaves out 2 of 4 images" in caplog.text
    assert "and 2 options that one row calls right and another wrong" in caplog.text


def test_answers_in_words_only_teach_nothing_here_and_say_so(policy: PolicyModel, tmp_path: Path) -> None:
    sample = replace(drawn(tmp_path, 0, side="left", bright=True), options=(), answer=("left",))
    with pytest.raises(DataError, match=r"no sample has options, .*; set sft.vision_warmup_steps=0"):
        answer_warmup(load(), policy, [sample], examples=examples_of(policy, [sample]))


def test_samples_that_do_not_go_with_the_examples_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="0 samples do not go with 1 examples"):
        answered([], examples=[SftExample((), (), ImagePatches(torch.zeros(1), torch.zeros(3)))])

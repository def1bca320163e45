from __future__ import annotations

from dataclasses import replace

import pytest

from fundus_ray.config import Config, load
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.share import drawn, share_of_records
from fundus_ray.knowledge.store import read_corpus, records_of

NAMES = [f"page{i}" for i in range(21)]
KNOWLEDGE = Config().knowledge


@pytest.mark.parametrize(("share", "kept"), [(0.1, 3), (0.25, 6), (0.5, 11), (1.0, 21), (1e-9, 1)])
def test_a_share_is_rounded_up(share: float, kept: int) -> None:
    assert len(drawn(NAMES, share=share, seed=0)) == kept


def test_a_smaller_share_lies_within_a_larger_one_and_another_seed_draws_others() -> None:
    shares = [drawn(NAMES, share=share, seed=3) for share in (0.1, 0.25, 0.5, 1.0)]
    assert shares[0] < shares[1] < shares[2] < shares[3] == set(NAMES)
    assert drawn(NAMES, share=0.5, seed=3) != drawn(NAMES, share=0.5, seed=4)


def test_a_further_name_leaves_the_order_of_the_others_as_it_was() -> None:
    before, after = drawn(NAMES, share=10 / 21, seed=0), drawn([*NAMES, "new"], share=10 / 22, seed=0)
    assert len(before) == len(after) == 10
    assert after - before <= {"new"}


def test_a_kept_label_keeps_all_its_modalities_and_a_left_out_one_can_still_be_named() -> None:
    whole = load_records()
    part = share_of_records(whole, share=0.25, seed=0)
    labels = {label for label, _ in part.by_key}
    assert len(labels) == -(-len({label for label, _ in whole.by_key}) // 4)  # a quarter, rounded up
    assert part.by_key == {key: record for key, record in whole.by_key.items() if key[0] in labels}
    missing = next(record for record in whole.by_key.values() if record.label not in labels)
    assert part.get(missing.label, missing.modality) is None
    assert part.vocabulary.label(missing.label) == missing.label


def test_the_settings_draw_passages_and_records_and_give_another_snapshot() -> None:
    whole, part = read_corpus(KNOWLEDGE), read_corpus(replace(KNOWLEDGE, share=0.1))
    assert len(part.passages) == -(-len(whole.passages) // 10)
    assert {p.id for p in part.passages} < {p.id for p in whole.passages}
    assert len(records_of(replace(KNOWLEDGE, share=0.1)).by_key) < 0.2 * len(records_of(KNOWLEDGE).by_key)
    other = read_corpus(replace(KNOWLEDGE, share=0.1, share_seed=1))
    assert len({whole.snapshot, part.snapshot, other.snapshot}) == 3


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_outside_of_its_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"knowledge\.share"):
        load(None, [f"knowledge.share={share}"])


def test_a_seed_without_a_share_is_refused_as_without_effect() -> None:
    with pytest.raises(ConfigError, match=r"knowledge\.share_seed has no effect with knowledge\.share=1"):
        load(None, ["knowledge.share_seed=2"])

"""Deliveries are cut into their parts, and waits for a token are found, by hand-made times."""

from __future__ import annotations

from dataclasses import replace

import pytest
from publish_latency import ADAPTERS, EIGHTH_OF_7B
from publish_report import Delivery, Row, report

# asked for at 10, published by 10.2, in the engines at 10.3 and 10.4, live at 12
FIRST = {
    "take": (10.3, 11.9),
    "write": (10.3, 10.4),
    "read": (10.4, 10.5),
    "add_lora": (10.5, 11.5),
    "probe": (10.5, 11.8),
}
SECOND = {
    "take": (10.4, 11.8),
    "write": (10.4, 10.7),
    "read": (0.0, 0.0),
    "add_lora": (10.7, 11.2),
    "probe": (10.7, 11.4),
}
QUIET = [5.0, 6.0, 7.0, 8.0, 9.0]
STEADY = [*QUIET, 9.9, 10.8, 11.7, 12.6]
HELD = [*QUIET, 9.9, 13.4]  # 3.5 where 1.0 is the most without a delivery
DELIVERY = Delivery(
    asked=(10.0, 12.0),
    published=(10.0, 10.2),
    engines=[FIRST, SECOND],
    quiet=(5.0, 10.0),
    requests=[[STEADY, HELD], [STEADY]],
    aborted=0,
)


def test_parts_are_those_of_the_slowest_engine() -> None:
    parts = {"serialise": 0.2, "ship": 0.2, "write": 0.3, "read": 0.1, "add_lora": 1.0, "probe": 1.3, "rest": 0.0}
    assert DELIVERY.seconds == pytest.approx({"whole": 2.0, **parts})


def test_rest_is_what_no_part_names() -> None:
    one = replace(
        DELIVERY, engines=[FIRST]
    )  # 2.0 - 0.2 - 0.1 - 0.1 - 0.1 - 1.3; the adapter is loaded within the probe's time
    assert one.seconds["rest"] == pytest.approx(0.2)


def test_wait_beyond_the_quiet_one_is_the_stall() -> None:
    # the held request's gap begins before the delivery and so is none of the quiet ones
    assert (DELIVERY.quiet_gap, DELIVERY.delivery_gap, DELIVERY.stall) == pytest.approx((1.0, 3.5, 2.5))
    assert replace(DELIVERY, requests=[[STEADY]]).stall == 0.0


def test_request_that_waits_three_times_longer_counts_as_paused() -> None:
    assert DELIVERY.paused == 1
    assert replace(DELIVERY, requests=[[STEADY], [STEADY]]).paused == 0


def test_longest_wait_is_blamed_on_what_ran_then() -> None:
    assert DELIVERY.blamed == "probe"
    assert replace(DELIVERY, requests=[[], []]).blamed == "-"
    assert replace(DELIVERY, requests=[[[11.91, 11.99]], []]).blamed == "between them"


def test_stall_of_one_delivery_is_not_hidden_by_the_others() -> None:
    quiet = replace(DELIVERY, quiet=(5.0, 9.5))
    steady = replace(quiet, requests=[[STEADY], [STEADY]])
    text = report([Row("made up", 77.0, 2, [steady, quiet, steady])])
    parts = "2,000 | 200 | 200 | 300 | 100 | 1,000 | 1,300 | 0"
    # in 3 x 2 s just before: 8.0, 9.0 and 9.9 of each of 7 requests; during: 10.8 and 11.7 of each of the 6 steady ones
    tokens = "4 | 2"
    cells = f"made up | 77.0 | 2 | {parts} | 1,000 | 3,500 | 1,000 | 0 | 2,500 | probe | {tokens} | 1 of 7 | 0"
    assert text.endswith(f"| {cells} |")


def test_wait_for_a_first_token_is_held_against_such_waits_and_asking_is_no_token() -> None:
    asked_anew = [9.8, 13.5, 13.6]  # 3.7 until its first token, where the others' took 1.0
    one = replace(DELIVERY, requests=[[STEADY, asked_anew], []])
    assert (one.quiet_first, one.delivery_first, one.stall) == pytest.approx((1.0, 3.7, 2.7))
    assert (one.quiet_gap, one.delivery_gap) == pytest.approx((1.0, 0.9))
    assert (one.paused, one.blamed) == (1, "probe")
    assert one.tokens_in((9.5, 14.0)) == 4 + 2


def test_long_wait_for_a_first_token_without_a_delivery_hides_no_stall() -> None:
    slow_start = [-5.0, 6.0, 7.0, 8.0, 9.0, 9.9, 13.4]
    one = replace(DELIVERY, requests=[[slow_start], []])
    assert (one.quiet_first, one.quiet_gap, one.stall) == pytest.approx((11.0, 1.0, 2.5))


def test_slow_down_is_read_from_windows_of_one_length() -> None:
    assert (DELIVERY.just_before, DELIVERY.during) == ((8.0, 10.0), (10.0, 12.0))
    assert (DELIVERY.tokens_in(DELIVERY.just_before), DELIVERY.tokens_in(DELIVERY.during)) == (9, 4)
    long = replace(DELIVERY, asked=(10.0, 20.0))  # but 5 s were watched before it
    assert (long.just_before, long.during) == ((5.0, 10.0), (10.0, 15.0))


@pytest.mark.parametrize(("name", "rank_of_7b", "mib"), [("77", 16, 77), ("308", 64, 308)])
def test_made_up_network_carries_the_bytes_of_the_7b(name: str, rank_of_7b: int, mib: int) -> None:
    # Qwen2.5-VL-7B: 28 layers, hidden 3584, 512 keys and values, MLP 18944; bfloat16
    hidden, kv, mlp = 3584, 512, 18944
    inputs_and_outputs = 2 * (hidden + hidden) + 2 * (hidden + kv) + 3 * (hidden + mlp)
    of_7b = 28 * rank_of_7b * inputs_and_outputs * 2
    heads, kv_heads = EIGHTH_OF_7B["num_attention_heads"], EIGHTH_OF_7B["num_key_value_heads"]
    hidden, mlp = EIGHTH_OF_7B["hidden_size"], EIGHTH_OF_7B["intermediate_size"]
    kv = kv_heads * hidden // heads
    inputs_and_outputs = 2 * (hidden + hidden) + 2 * (hidden + kv) + 3 * (hidden + mlp)
    here = EIGHTH_OF_7B["num_hidden_layers"] * ADAPTERS[name].rank * inputs_and_outputs * 4
    assert here == of_7b == mib * 2**20

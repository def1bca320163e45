from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fundus_ray.plan.engine import ALL_AT_ONCE, EngineServer, EngineSpeed

SPEED = EngineSpeed(iteration_s=0.1, sequence_s=0.01, prompt_s=0.5)
NO_PROMPT = EngineSpeed(iteration_s=0.1, sequence_s=0.01, prompt_s=0.0)
Arrivals = Sequence[tuple[float, Sequence[int]]]


def ends(arrivals: Arrivals, *, speed: EngineSpeed, max_seqs: int = 100) -> dict[int, float]:
    engine = EngineServer(speed, max_seqs=max_seqs)
    for request, (at, lengths) in enumerate(arrivals):
        engine.arrive(request, lengths, at_s=at)
    return dict(engine.advance(to_s=1e9))


def test_a_sequence_alone_takes_its_prompt_and_its_iterations() -> None:
    assert ends([(2.0, [10])], speed=SPEED) == pytest.approx({0: 2.0 + 0.5 + 10 * 0.11})


def test_an_iteration_is_cheaper_once_a_sequence_has_ended() -> None:
    # Ten iterations of two, ten of one; the prompt is read once for both.
    assert ends([(0.0, [10, 20])], speed=SPEED) == pytest.approx({0: 0.5 + 10 * 0.12 + 10 * 0.11})


def test_a_prompt_that_arrives_holds_up_what_runs() -> None:
    # At 1.05 s five of ten tokens are out; 0.5 s of reading; then five iterations of two sequences.
    assert ends([(0.0, [10]), (1.05, [5])], speed=SPEED) == pytest.approx({0: 2.15, 1: 2.15})


def test_of_prompts_that_come_together_the_first_answer_while_the_last_wait() -> None:
    one = EngineSpeed(iteration_s=0.1, sequence_s=0.0, prompt_s=0.5, prompts_at_once=1)
    # 0.5 + 0.1, then the other prompt, then both run: ends at 1.2 s and, a token later, at 1.3 s.
    assert ends([(0.0, [2]), (0.0, [2])], speed=one) == pytest.approx({0: 1.2, 1: 1.3})
    assert ends([(0.0, [2]), (0.0, [2])], speed=replace(one, prompts_at_once=2)) == pytest.approx({0: 1.2, 1: 1.2})
    # What ran before gets its token between two prompts.
    busy = [(0.0, [3]), (0.65, [1]), (0.65, [1])]
    assert ends(busy, speed=one) == pytest.approx({0: 0.7 + 0.6 + 0.5, 1: 1.25, 2: 1.85})


def test_a_cold_engine_warms_up_before_its_first_prompt_and_once() -> None:
    engine = EngineServer(SPEED, max_seqs=4, warm_up_s=3.0)
    engine.arrive(0, [10], at_s=1.0)
    assert engine.next_s() == pytest.approx(1.0 + 3.0 + 0.5 + 10 * 0.11)
    engine.arrive(1, [10], at_s=20.0)
    assert dict(engine.advance(to_s=100.0)) == pytest.approx({0: 5.6, 1: 20.0 + 0.5 + 10 * 0.11})


def test_another_pace_of_all_its_times() -> None:
    speed = EngineSpeed(iteration_s=0.1, sequence_s=0.01, prompt_s=0.5, prompts_at_once=2)
    assert speed.times(2.0) == EngineSpeed(iteration_s=0.2, sequence_s=0.02, prompt_s=1.0, prompts_at_once=2)


def test_sequences_beyond_max_seqs_wait_in_order_of_arrival() -> None:
    assert ends([(0.0, [10, 5]), (0.0, [1])], speed=NO_PROMPT, max_seqs=1) == pytest.approx({0: 1.65, 1: 1.76})


def test_at_half_the_pace_the_rest_takes_twice_as_long() -> None:
    engine = EngineServer(NO_PROMPT, max_seqs=4)
    engine.arrive(0, [10], at_s=0.0)
    engine.set_pace(0.5, at_s=0.55)
    assert engine.next_s() == pytest.approx(0.55 + 2 * 0.55)
    engine.set_pace(1.0, at_s=1.1)
    assert engine.next_s() == pytest.approx(1.1 + 0.275)


def test_next_is_when_the_first_request_is_done_and_looking_ahead_changes_nothing() -> None:
    engine = EngineServer(SPEED, max_seqs=3)
    assert engine.next_s() is None
    engine.arrive(0, [4, 9, 2], at_s=0.0)
    engine.arrive(1, [3], at_s=0.1)
    at = engine.next_s()
    assert at == engine.next_s()
    assert at is not None
    assert engine.advance(to_s=at - 0.01) == []
    assert [request for request, _ in engine.advance(to_s=at)] == [1]
    assert [request for request, _ in engine.advance(to_s=100.0)] == [0]
    assert engine.next_s() is None


def test_tokens_a_second_at_a_load() -> None:
    assert NO_PROMPT.tokens_per_s(1) == pytest.approx(1 / 0.11)
    assert NO_PROMPT.tokens_per_s(40) == pytest.approx(40 / 0.5)


def in_small_steps(arrivals: Arrivals, *, speed: EngineSpeed, max_seqs: int, dt: float) -> dict[int, float]:
    """The same model by brute force: every dt each running sequence gets a bit of a token."""
    waiting: list[list[float]] = []  # [request, tokens left]
    running: list[list[float]] = []
    unread: set[int] = set()
    left = {i: len(lengths) for i, (_, lengths) in enumerate(arrivals)}
    done: dict[int, float] = {}
    iteration, read, read_again = 0.0, 0, 0.0
    now, reading, pending = 0.0, 0.0, list(enumerate(arrivals))
    while len(done) < len(arrivals):
        while pending and pending[0][1][0] <= now:
            request, (_, lengths) = pending.pop(0)
            waiting += [[request, float(length)] for length in lengths]
            unread.add(request)
        if iteration >= read_again:
            read = 0
        while waiting and len(running) < max_seqs:
            if waiting[0][0] in unread:
                if read == speed.prompts_at_once:
                    break
                read_again = read_again if read else iteration + 1
                read += 1
                unread.discard(int(waiting[0][0]))
                reading += speed.prompt_s
            running.append(waiting.pop(0))
        now += dt
        if reading > 0:
            reading -= dt
            continue
        iteration += dt / (speed.iteration_s + speed.sequence_s * len(running))
        for sequence in running:
            sequence[1] -= dt / (speed.iteration_s + speed.sequence_s * len(running))
        for sequence in [s for s in running if s[1] <= 0]:
            running.remove(sequence)
            left[int(sequence[0])] -= 1
            if not left[int(sequence[0])]:
                done[int(sequence[0])] = now
    return done


@pytest.mark.parametrize("at_once", [1, 2, ALL_AT_ONCE])
@pytest.mark.parametrize("seed", range(4))
def test_any_load_ends_when_small_steps_of_the_same_model_say(seed: int, at_once: int) -> None:
    chance = random.Random(seed)
    starts = sorted(chance.uniform(0.0, 6.0) for _ in range(8))
    arrivals = [(at, [chance.randint(1, 15) for _ in range(chance.randint(1, 4))]) for at in starts]
    max_seqs = chance.choice([2, 5, 50])
    speed = replace(SPEED, prompts_at_once=at_once)
    expected = in_small_steps(arrivals, speed=speed, max_seqs=max_seqs, dt=2e-4)
    assert ends(arrivals, speed=speed, max_seqs=max_seqs) == pytest.approx(expected, abs=0.03)

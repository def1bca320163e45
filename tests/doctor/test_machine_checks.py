"""What is made of the machines' answers: each check failing in its own way, with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_case import OWN, case_of, machine, node

from fundus_ray.config import Config, load
from fundus_ray.doctor.findings import Finding, Verdict
from fundus_ray.doctor.machine_checks import answers, images, models, run_folder, search, versions
from fundus_ray.types import ImageRef

OnGpus = Callable[..., Config]


def bad(found: list[Finding]) -> tuple[str, str, str]:
    """(where, found, remedy) of the only failure."""
    (one,) = (finding for finding in found if finding.verdict is Verdict.FAIL)
    assert one.remedy
    return one.where, one.found, one.remedy


def test_a_machine_that_does_not_answer_is_named_and_asked_nothing_more(on_gpus: OnGpus) -> None:
    config = on_gpus()
    good = machine(config, node("a", GPU=8.0))
    silent = replace(machine(config, node("b", GPU=8.0)), answer={}, problem="gave no answer within 60 s")
    case = case_of(config, [good, silent])
    row, _ = answers(case)  # a has room for all
    assert (row.where, row.found, row.verdict) == ("b", "gave no answer within 60 s", Verdict.WARN)
    both = on_gpus("rollout.workers=12")
    where, found, _ = bad(list(answers(case_of(both, [good, silent]))))
    assert (where, found) == ("b", "gave no answer within 60 s")
    assert [m.name for m in case.hosts("rollout", "learner", "reward")] == ["a"]


def version_rows(config: Config, **other: str) -> list[Finding]:
    odd = machine(config, node("b", GPU=8.0), versions={**OWN, **other})
    return list(versions(case_of(config, [machine(config, node("a", GPU=8.0)), odd])))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"ray": "2.59.0"}, "ray 2.59.0, here 1.0"),
        ({"vllm": "0.31.0"}, "vllm 0.31.0, here 1.0"),
        ({"peft": ""}, "peft not installed, here 1.0"),
        ({"python": "3.12.1"}, "python 3.12.1, here 3.11.7"),
        ({"fundus_ray": "ffff"}, "another fundus_ray than here"),
        ({"fundus_ray": ""}, "no fundus_ray"),
    ],
)
def test_another_version_on_a_machine_is_named(other: dict[str, str], said: str, on_gpus: OnGpus) -> None:
    where, found, _ = bad(version_rows(on_gpus(), **other))
    assert (where, found) == ("b", said)


def test_other_builds_of_a_version_pass_and_another_patch_of_python_is_a_warning(on_gpus: OnGpus) -> None:
    (row,) = version_rows(on_gpus(), torch="1.0+cu130")
    assert row.verdict is Verdict.OK
    (row,) = version_rows(on_gpus(), python="3.11.9")
    assert (row.verdict, row.where) == (Verdict.WARN, "b")


def test_a_machine_for_reward_actors_alone_needs_no_engine(on_gpus: OnGpus) -> None:
    config = on_gpus()
    thin = machine(config, node("b"), versions={**OWN, "vllm": "", "torch": "", "peft": "", "transformers": ""})
    rows = list(versions(case_of(config, [machine(config, node("a", GPU=8.0)), thin])))
    assert [row.verdict for row in rows] == [Verdict.OK]


def test_model_is_asked_of_machines_with_gpus_only_and_has_to_be_the_drivers(on_gpus: OnGpus, published: Path) -> None:
    config = on_gpus()
    folder = str(published / "models" / "Qwen2.5-VL-3B-Instruct")
    absent = {folder: {"config": "", "bytes": 0, "problem": "lacks 1 of 2 files of weights, the first: b.safetensors"}}
    case = case_of(config, [machine(config, node("a", GPU=8.0), models=absent), machine(config, node("c"))])
    where, found, remedy = bad(list(models(case)))
    assert (where, found) == ("a", f"{folder}: lacks 1 of 2 files of weights, the first: b.safetensors")
    assert "all machines share" in remedy


def test_another_model_of_the_same_path_is_found(tiny_policy: Path) -> None:
    config = load(None, [f"policy.path={tiny_policy}", "sft.vision_warmup_steps=0"])
    other = {str(tiny_policy): {"config": "0" * 12, "bytes": 1, "problem": ""}}
    _, found, _ = bad(list(models(case_of(config, [machine(config, node(), models=other)]))))
    assert found == f"{tiny_policy} holds another model than here"


def image_rows(config: Config, **answer: Any) -> list[Finding]:
    ref = ImageRef("/data/eye.png", "ab" * 32, width_px=112, height_px=112)
    there = machine(config, node("a"), images={ref.path: answer})
    case = case_of(config, [there])
    return list(images(replace(case, needs=replace(case.needs, images=(ref,)))))


def test_images_that_only_the_driver_has_or_that_are_others_are_found() -> None:
    _, found, remedy = bad(image_rows(load(), problem="No such file"))
    assert found == "1 of 1 sample images cannot be read, the first: /data/eye.png (No such file)"
    assert "data.image_root" in remedy
    _, found, _ = bad(image_rows(load(), sha256="cd" * 32))
    assert found == "/data/eye.png is not the image that the data set was made with"
    (row,) = image_rows(load(), sha256="ab" * 32)
    assert row.verdict is Verdict.OK


def test_a_run_folder_that_a_machine_sees_and_writes_elsewhere_is_found(tmp_path: Path) -> None:
    config = load(None, [f"run.dir={tmp_path}"])
    unseen = machine(config, node("a"), marker={"problem": "does not see what the driver wrote there"})
    _, found, remedy = bad(list(run_folder(case_of(config, [unseen]))))
    assert found == f"{tmp_path}: does not see what the driver wrote there"
    assert "run.dir" in remedy
    case = case_of(config, [machine(config, node("a"))])  # it says that it wrote, and nothing is here
    _, found, _ = bad(list(run_folder(case)))
    assert found == f"{tmp_path}: writes to another folder of that name"
    (tmp_path / f"{case.needs.marker.name}-a").write_text("")
    assert [row.verdict for row in run_folder(case)] == [Verdict.OK]


def test_search_servers_that_fail_differ_or_hold_nothing_yet_are_told_apart() -> None:
    config = load(None, ["knowledge.store=elasticsearch", "reward.cpus=1"])

    def rows(*told: dict[str, Any]) -> list[Finding]:
        asked = [machine(config, node(f"m{i}"), snapshot="s1", search=one) for i, one in enumerate(told)]
        return list(search(case_of(config, asked, snapshot="s1")))

    _, found, remedy = bad(rows({"problem": "http://es:9200: no answer; start Elasticsearch there"}))
    assert (found, remedy) == ("http://es:9200: no answer", "start Elasticsearch there")
    one, two = ({"cluster": name, "index": "i", "passages": 7} for name in ("x", "y"))
    _, found, _ = bad(rows(one, two))
    assert found == "http://127.0.0.1:9200 leads to 2 different servers, as seen from m0 and m1"
    (row,) = rows({"cluster": "x", "index": "i", "passages": None})
    assert row.found == "http://127.0.0.1:9200 answers; no snapshot s1 yet, which the run builds"
    assert row.verdict is Verdict.OK

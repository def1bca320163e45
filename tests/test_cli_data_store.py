"""`fundus-ray data benchmark | pack | check` on real files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from fundus_ray.cli import main
from fundus_ray.data.patients import split_patients
from fundus_ray.data.rendered.phantoms import render


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """rows.jsonl about 0.png to 11.png; bench/DDR/a.png is 3.png, smaller."""
    rows = []
    for seed in range(12):
        Image.fromarray(render(seed, image_px=112).pixels).save(tmp_path / f"{seed}.png")
        rows.append(
            {"image": f"{seed}.png", "modality": "CFP", "question": "?", "answer": "x", "patient_id": f"p{seed}"}
        )
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "bench" / "DDR").mkdir(parents=True)
    Image.open(tmp_path / "3.png").resize((90, 90)).save(tmp_path / "bench" / "DDR" / "a.png")
    (tmp_path / "L1a.json").write_text('{"info": {}, "data": {"DDR/a.png": {}, "DDR/gone.png": {}}}')
    return tmp_path


def test_list_pack_and_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, store = str(folder / "b.parquet"), str(folder / "store")
    keys = ["--keys", str(folder / "L1a.json"), "--root", str(folder / "bench")]
    assert main(["data", "benchmark", "funbench", *keys, "--out", listed]) == 0
    assert "2 images of funbench, 1 of them by key only" in capsys.readouterr().out
    rows = [str(folder / "rows.jsonl"), "--licence", "CC0", "--eval-fraction", "0.4"]
    assert main(["data", "pack", *rows, "--out", store, "--benchmarks", listed]) == 0
    assert "1 images left out, 0 pairs of copies" in capsys.readouterr().out
    assert main(["data", "check", store]) == 0
    assert "is whole: 11 samples, 11 images, no known leak" in capsys.readouterr().out


def test_questions_about_one_patient_are_packed_into_one_half(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = folder / "rows.jsonl"
    rows.write_text(re.sub(r'"p\d+"', '"p"', rows.read_text()))
    words = ["data", "pack", str(rows), "--licence", "CC0", "--out"]
    # The patient is drawn into the training half under some seeds, and held out under others.
    halves = {seed: split_patients([("rows", "p")], eval_fraction=0.5, seed=seed) for seed in range(9)}
    trained = next(seed for seed, half in halves.items() if "train" in half.values())
    held_out = next(seed for seed, half in halves.items() if "eval" in half.values())
    drawn = ["--eval-fraction", "0.5", "--seed"]
    assert main([*words, str(folder / "store"), *drawn, str(trained)]) == 0
    said = capsys.readouterr().out
    assert "store: 12 train; " in said
    assert "no patient is held out: train with evaluate.samples=0" in said
    assert main(["data", "check", str(folder / "store")]) == 0
    assert main([*words, str(folder / "other"), *drawn, str(held_out)]) == 2
    assert "nothing is left for training: all of 1 patients are held out" in capsys.readouterr().err


def test_check_names_a_leak_of_a_further_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, store = str(folder / "b.parquet"), str(folder / "store")
    rows = [str(folder / "rows.jsonl"), "--licence", "CC0", "--eval-fraction", "0.01"]
    assert main(["data", "pack", *rows, "--out", store]) == 0
    keys = ["--keys", str(folder / "L1a.json"), "--root", str(folder / "bench")]
    assert main(["data", "benchmark", "funbench", *keys, "--out", listed]) == 0
    assert main(["data", "check", store, "--benchmarks", listed]) == 2
    assert "known leak: training sample rows-4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data", "check", "nowhere"], "nowhere is not a store"),
        (["data", "benchmark", "b", "--keys", "none.json", "--out", "x"], "none.json cannot be read"),
        (["data", "pack", "none.jsonl", "--licence", "CC0", "--out", "x"], "none.jsonl does not exist"),
    ],
)
def test_bad_input_is_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_questions_of_your_own_are_not_taken_for_a_public_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (folder / "rows.jsonl").rename(folder / "idrid.jsonl")
    assert main(["data", "pack", str(rows), "--licence", "CC0", "--out", str(folder / "store")]) == 2
    assert "idrid.jsonl would count as the public set idrid" in capsys.readouterr().err


def test_a_root_without_any_image_of_the_benchmark_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["--keys", str(folder / "L1a.json"), "--root", str(folder / "bench" / "DDR")]
    assert main(["data", "benchmark", "funbench", *keys, "--out", str(folder / "b.parquet")]) == 2
    assert "holds none of the 2 images, such as DDR/a.png" in capsys.readouterr().err
    assert not (folder / "b.parquet").exists()

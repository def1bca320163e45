"""A model's answers to a benchmark, with a model that is scripted: what goes wrong, what is kept, what is scored.
tests/test_evaluate_engine.py has a real one."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from funbench_replica import L1A, L4A, L4B, Asked, write_replica
from PIL import Image

from fundus_ray import evaluate_model
from fundus_ray.cli import main
from fundus_ray.errors import ConfigError, DataError, TimeLimitError, WorkerDiedError
from fundus_ray.evaluate.benchmarks.answer_folder import AnswerFolder
from fundus_ray.policy.load import load_processor
from fundus_ray.types import ModelReply, ModelRequest

COARSE = ("Painting", "Fundus image", "Natural image", "Whole-slide image")
SAID = (("B", -0.1), ("A", -2.5))


class Model:
    """Answers B to everything, unless `odd` says otherwise of (image's name, text)."""

    def __init__(self, odd: Callable[[str, str], ModelReply | Exception | None] = lambda *_: None) -> None:
        self.odd = odd
        self.asked: list[tuple[str, ModelRequest]] = []
        self.most, self.now, self.starts = 0, 0, 0

    async def ask(self, image: Any, request: ModelRequest) -> ModelReply:
        name = Path(image.path).name if image else ""
        self.asked.append((name, request))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        odd = self.odd(name, request.user)
        if isinstance(odd, Exception):
            raise odd
        return odd or ModelReply("B", complete=True, first=SAID if request.alternatives else ())


@pytest.fixture
def folders(tmp_path: Path, tiny_policy: Path) -> dict[str, Path]:
    """A benchmark of six questions about four images, and where its answers go."""
    tasks = {
        L1A: [Asked(COARSE, "Fundus image", None), Asked(COARSE, "Fundus image", None)],
        L4A: [Asked(("No", "Yes"), "Yes", None), Asked(("No", "Yes"), "No", None)],
        L4B: [Asked(("x", "y", "z"), ["y"], None, image=f"DDR/{i}.jpg") for i in (2, 3)],
    }
    write_replica(tmp_path / "F", tmp_path / "unused", tasks)
    (tmp_path / "F" / "DDR").mkdir()
    for i in range(4):
        Image.new("RGB", (30, 30)).save(tmp_path / "F" / "DDR" / f"{i}.jpg")
    return {"root": tmp_path / "F", "out": tmp_path / "out", "model": tiny_policy}


def evaluate(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], model: Model, *words: str, max_seqs: int = 4
) -> int:
    """Through the command line; the scripted model stands in the place of the engines alone."""

    @asynccontextmanager
    async def start(*_: Any, **__: Any) -> AsyncIterator[Model]:
        model.starts += 1
        yield model

    monkeypatch.setattr(evaluate_model, "start_answerers", start)
    paths = [f"--{name}={path}" for name, path in folders.items()]
    return main(["evaluate", "--benchmark", "funbench", *paths, *words, f"rollout.max_seqs={max_seqs}"])


def scores(folders: dict[str, Path]) -> Any:
    return json.loads((folders["out"] / "scores.json").read_text())


def test_every_question_is_asked_once_scored_and_kept_for_a_second_call(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]
) -> None:
    model = Model()
    assert evaluate(monkeypatch, folders, model) == 0
    assert (len(model.asked), model.most) == (6, 4)
    assert {(request.system, request.max_tokens) for _, request in model.asked} == {("", 256)}
    found = scores(folders)
    # L1a: 1; L4a: "Yes" to both: 0; L4b: y right in both.
    assert found["levels"] == {"L1-modality_perception": 1.0, "L4-disease_diagnosis": 0.5}
    assert found["made_with"]["model"] == str(folders["model"].resolve())
    yes, _ = found["labels"][L4A]
    assert (yes["scored"], yes["auroc"]) == (2, 0.5)  # the same probability for both
    assert found["labels"][L4B][0]["scored"] == 0  # several may be right: one letter says nothing of them

    again = Model()
    assert evaluate(monkeypatch, folders, again) == 0
    assert (again.asked, again.starts) == ([], 0)
    assert scores(folders) == found


def test_stored_answers_of_a_model_are_scored_alike(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]) -> None:
    evaluate(monkeypatch, folders, Model())
    found = scores(folders)
    stored = ["--root", folders["root"], "--predictions", folders["out"] / "answers", "--out", folders["out"] / "again"]
    assert main(["evaluate", "--benchmark", "funbench", *map(str, stored)]) == 0
    again = json.loads((folders["out"] / "again" / "scores.json").read_text())
    assert {**again, "made_with": None} == {**found, "made_with": None}


def test_controls_ask_in_other_orders_and_without_the_image(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]
) -> None:
    model = Model()
    assert evaluate(monkeypatch, folders, model, "--controls=order,image,grey", "--orders=2") == 0
    assert len(model.asked) == 6 * 5
    assert sum(name == "" for name, _ in model.asked) == 6
    found = scores(folders)
    assert [one["name"] for one in found["controls"]] == ["order 1", "order 2", "no image", "grey image"]
    # Always B: without the image the same choice; in another order of two another option.
    assert [one["same_choice"] for one in found["controls"]][2:] == [1.0, 1.0]
    assert found["controls"][0]["same_choice"] <= 4 / 6
    assert found["orders"]["number"] == 3
    assert found["orders"]["lowest"] <= found["overall"] <= found["orders"]["highest"]
    table = (folders["out"] / "scores.md").read_text()
    assert "## Controls" in table
    assert "Over 3 orders of the options" in table
    more = Model()
    assert evaluate(monkeypatch, folders, more, "--controls=order", "--orders=3") == 0
    assert len(more.asked) == 6  # the third order alone


def test_other_orders_in_a_form_of_ours_need_no_list_in_the_benchmarks_prompt(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]
) -> None:
    path = folders["root"] / L4A
    tree = json.loads(path.read_text())
    tree["data"]["DDR/0.jpg"]["E-mode3"] = "Is it ill? Say Yes or No."
    path.write_text(json.dumps(tree))
    assert evaluate(monkeypatch, folders, Model(), "--prompt=think", "--controls=order", "--orders=1") == 0
    assert scores(folders)["controls"][0]["questions"] == 6


def test_an_image_too_large_for_the_context_is_told_before_an_engine_starts(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    large = folders["root"] / "DDR" / "2.jpg"
    Image.new("RGB", (1400, 2800)).save(large)
    processor = load_processor(folders["model"])
    processor.image_processor.size = {"shortest_edge": 28 * 28, "longest_edge": 16384 * 28 * 28}  # as Qwen2.5-VL's
    folders["model"] = Path(shutil.copytree(folders["model"], folders["out"].with_name("model")))
    processor.save_pretrained(folders["model"])
    model = Model()
    settings = ("rollout.max_model_len=512", "rollout.max_tokens=64")
    assert evaluate(monkeypatch, folders, model, "--image-px=0", *settings) == 2
    assert (model.starts, model.asked) == (0, [])
    said = capsys.readouterr().err
    assert f"{L4B}: DDR/2.jpg: the request does not fit: with the largest image, {large} of 1400 x 2800 px" in said
    # The tiny policy's patches are of 14 px and merged by 2: 50 x 100 tokens beside those of the words.
    (tokens,) = re.findall(r"it is (\d+) tokens", said)
    assert 5000 < int(tokens) < 5200
    assert f"set rollout.max_model_len higher, to {int(tokens) + 64}, or scale all images (--image-px " in said
    (side,) = re.findall(r"--image-px (\d+)", said)
    shutil.rmtree(folders["out"])
    assert evaluate(monkeypatch, folders, model, f"--image-px={side}", *settings) == 0
    assert len(model.asked) == 6


def test_an_answer_to_an_image_that_changed_in_its_table_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]
) -> None:
    head = ["index", "image", "question", "A", "B", "answer", "category"]
    head += ["clinical VQA task", "department", "perceptual granularity", "modality", "original task"]
    about = ["c", "Disease Diagnosis", "Ophthalmology", "Image Level", "Fundus Photography", "x"]
    folders["root"] = folders["root"] / "tables"
    folders["root"].mkdir()
    for colours, asked in ((("red", "blue"), 2), (("red", "blue"), 0), (("red", "green"), 1)):
        rows = [[str(i), cell(colour), "?", "a", "b", "A", *about] for i, colour in enumerate(colours)]
        table = "\n".join("\t".join(row) for row in (head, *rows))
        (folders["root"] / "VAL.tsv").write_text(table)
        model = Model()
        assert evaluate(monkeypatch, folders, model, "--benchmark=gmai") == 0
        assert len(model.asked) == asked


def cell(colour: str) -> str:
    """An image as a table holds it."""
    content = BytesIO()
    Image.new("RGB", (30, 30), colour).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def test_a_question_that_could_not_be_asked_is_named_left_out_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders["root"] / "DDR" / "1.jpg").unlink()

    def odd(name: str, _: str) -> Exception | None:
        errors = {"2.jpg": DataError("image 2.jpg is damaged"), "3.jpg": TimeLimitError("no answer within 300 s")}
        return errors.get(name)

    assert evaluate(monkeypatch, folders, Model(odd)) == 0
    found = scores(folders)
    assert found["counts"]["questions"] == 2
    assert found["counts"]["unanswered"] == 0
    assert found["counts"]["left_out"] == {
        "image file is missing": 2,
        "image cannot be read": 1,
        "no answer within loop.stall_s": 1,
    }
    told = capsys.readouterr().err
    assert "left out: 2 rows, image file is missing" in told
    assert f"4 questions could not be asked, all named in {folders['out']}/not_asked.jsonl: " in told
    named = [json.loads(line) for line in (folders["out"] / "not_asked.jsonl").read_text().splitlines()]
    assert sorted(row["key"] for row in named) == ["DDR/1.jpg", "DDR/1.jpg", "DDR/2.jpg", "DDR/3.jpg"]
    assert "image 2.jpg is damaged" in {row["why"] for row in named}

    mended = Model()
    assert evaluate(monkeypatch, folders, mended) == 0
    assert sorted(name for name, _ in mended.asked) == ["2.jpg", "3.jpg"]
    assert scores(folders)["counts"]["questions"] == 4
    (folders["root"] / "DDR" / "2.jpg").unlink()  # what is answered stays answered
    assert evaluate(monkeypatch, folders, Model()) == 0
    assert scores(folders)["counts"]["questions"] == 4


def test_without_any_image_nothing_starts(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model()
    assert evaluate(monkeypatch, folders, model, "--images=/no/such") == 2
    assert "such as /no/such/DDR/0.jpg; give their folder by --images" in capsys.readouterr().err
    assert model.starts == 0


@pytest.mark.parametrize(
    ("err", "code", "said"),
    [
        (WorkerDiedError("reader-0 died"), 1, "reader-0 died"),
        (ConfigError("the request does not fit"), 2, f"{L4B}: DDR/3.jpg: the request does not fit"),
    ],
)
def test_an_error_that_ends_the_evaluation_leaves_what_was_answered(
    monkeypatch: pytest.MonkeyPatch,
    folders: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    err: Exception,
    code: int,
    said: str,
) -> None:
    model = Model(lambda name, _: err if name == "3.jpg" else None)
    assert evaluate(monkeypatch, folders, model, max_seqs=1) == code
    assert said in capsys.readouterr().err
    assert not (folders["out"] / "scores.json").exists()
    assert json.loads((folders["out"] / "answers" / L4B).read_text()) == {"DDR/2.jpg": "B"}
    mended = Model()
    assert evaluate(monkeypatch, folders, mended) == 0
    assert [name for name, _ in mended.asked] == ["3.jpg"]


def test_a_full_disk_is_told_and_costs_no_answer_that_was_written(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    written = AnswerFolder.add

    def add(self: AnswerFolder, name: tuple[str, str], *args: Any, **more: Any) -> None:
        if name[0] == L4B:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(self, name, *args, **more)

    with monkeypatch.context() as full:
        full.setattr(AnswerFolder, "add", add)
        assert evaluate(monkeypatch, folders, Model(), max_seqs=1) == 2
    assert "cannot be written: [Errno 28] No space left on device; what was answered" in capsys.readouterr().err
    again = Model()
    assert evaluate(monkeypatch, folders, again) == 0
    assert len(again.asked) == 2


def test_answers_made_otherwise_are_not_mixed(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(monkeypatch, folders, Model()) == 0
    for words, odd in (
        ("--prompt=think", "prompt='benchmark', not 'think'"),
        ("--image-px=0", "image_px=224, not 0"),
        ("rollout.max_tokens=9", "max_tokens=256, not 9"),
        ("--e-mode=2", "e_mode=3, not 2"),
        (f"--images={folders['model']}", f"images='{folders['root']}', not '{folders['model']}'"),
    ):
        assert evaluate(monkeypatch, folders, Model(), words) == 2
        assert f"holds answers made with {odd}; take another --out" in capsys.readouterr().err


def test_tagged_answers_are_read_and_those_cut_off_are_told(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def odd(name: str, _: str) -> ModelReply:
        chain = "<think>Findings: none. Conclusion: A.</think><answer>B</answer>"
        return ModelReply(chain[:30] if name == "3.jpg" else chain, complete=name != "3.jpg")

    model = Model(odd)
    assert evaluate(monkeypatch, folders, model, "--prompt=think") == 0
    assert all("Reply as <think>" in request.user and not request.alternatives for _, request in model.asked)
    assert scores(folders)["counts"]["cut_off"] == 1
    assert "1 answers were cut off at the longest length allowed (rollout.max_tokens)" in capsys.readouterr().err
    assert scores(folders)["levels"]["L1-modality_perception"] == 1.0


def test_mode_2_asks_only_what_has_its_prompt(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folders["root"] / L4A
    tree = json.loads(path.read_text())
    tree["data"]["DDR/0.jpg"]["E-mode2"] = "Description: red dots."
    path.write_text(json.dumps(tree))
    model = Model()
    assert evaluate(monkeypatch, folders, model, "--e-mode=2") == 0
    assert [(name, request.user) for name, request in model.asked] == [("0.jpg", "Description: red dots.")]
    assert scores(folders)["counts"]["left_out"] == {"no prompt of this E-mode": 5}

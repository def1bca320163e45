"""Real image files of two sets become a store without the benchmark's images, and training reads it or refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fundus_ray.config import load
from fundus_ray.data import source
from fundus_ray.data.images import image_ref, read_pixels
from fundus_ray.data.leaks.benchmark import BenchmarkImages, benchmark_images, write_benchmarks
from fundus_ray.data.leaks.fingerprint import file_fingerprint
from fundus_ray.data.rendered.phantoms import render
from fundus_ray.data.source import DataSplit
from fundus_ray.data.store.pack import Packed, pack, pictures_of
from fundus_ray.data.store.read import Store
from fundus_ray.data.store.write import write_store
from fundus_ray.errors import DataError
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import Modality, Sample

LICENCES = {"kaggle": "see its page", "top": "research only"}


def eye(seed: int) -> Image.Image:
    return Image.fromarray(render(seed, image_px=168).pixels)


def planted(image: Image.Image) -> Image.Image:
    """Resized and mirrored; saved as JPEG by its name."""
    return image.resize((120, 120)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def sample(path: Path, *, set_name: str, patient: str, question: int = 0, split: str = "") -> Sample:
    return Sample(
        id=f"{set_name}-{path.stem}-{question}",
        image=image_ref(path),
        modality=Modality.CFP,
        question="Which?",
        options=("normal", "glaucoma"),
        answer=("normal",),
        task="diagnosis",
        source=set_name,
        split=split,
        patient_id=patient,
        findings=("drusen",),
    )


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kaggle/0..29.png (patients of two images), top/000000_00.png .. 000009_00.png, bench/: copies of kaggle/4 and
    one that no set has. kaggle/20.png is top/000003_00.png again."""
    root = tmp_path_factory.mktemp("sets")
    for name in ("kaggle", "top", "bench"):
        (root / name).mkdir()
    for seed in range(30):
        eye(seed).save(root / "kaggle" / f"{seed}.png")
    for seed in range(10):
        shown = planted(eye(20)) if seed == 3 else eye(100 + seed)
        shown.save(root / "top" / f"{seed:06d}_00.jpg", quality=60)
    planted(eye(4)).save(root / "bench" / "x.jpg", quality=60)
    eye(500).save(root / "bench" / "y.jpg")
    return root


def samples(root: Path) -> list[Sample]:
    kaggle = [
        sample(root / "kaggle" / f"{seed}.png", set_name="kaggle", patient=str(seed // 2), question=question)
        for seed in range(30)
        for question in range(2)
    ]
    top = [sample(path, set_name="top", patient=path.stem[:6]) for path in sorted((root / "top").iterdir())]
    return kaggle + top


def funbench(root: Path) -> BenchmarkImages:
    images = [(f"Some/{file}", root / "bench" / file) for file in ("x.jpg", "y.jpg")]
    return benchmark_images("funbench", [*images, ("TOP/TOP/000007_00.jpg", None)])[0]


def packed_at(folder: Path, root: Path) -> Packed:
    return pack(
        folder,
        samples(root),
        pictures=pictures_of(samples(root)),
        licences=LICENCES,
        benchmarks=[funbench(root)],
        eval_fraction=0.3,
        seed=1,
        image_root=str(root),
    )


def loaded(folder: Path, *more: str) -> DataSplit:
    overrides = ["data.source=store", f"data.path={folder}", "sft.vision_warmup_steps=0", *more]
    return source.load_data(load(overrides=overrides), cache_dir=folder, finding_ids=load_vocabulary().ids)


def test_planted_copies_go_with_the_patients_other_eye_and_nothing_else_does(tmp_path: Path, sets: Path) -> None:
    packed = packed_at(tmp_path / "s", sets)
    gone = {(Path(leak.path).name, leak.key, leak.why) for leak in packed.leaks}
    assert gone == {
        ("4.png", "Some/x.jpg", "fingerprint"),
        ("5.png", "Some/x.jpg", "patient"),
        ("000007_00.jpg", "TOP/TOP/000007_00.jpg", "key"),
    }
    assert packed.manifest.counts["images"] == 37
    assert packed.manifest.counts["rows"] == 2 * 28 + 9


def test_the_report_says_what_went_and_why(tmp_path: Path, sets: Path) -> None:
    packed_at(tmp_path / "s", sets)
    lines = [json.loads(line) for line in (tmp_path / "s" / "excluded.jsonl").read_text().splitlines()]
    assert {line["orientation"] for line in lines if line["why"] == "fingerprint"} == {"mirrored"}
    text = (tmp_path / "s" / "report.md").read_text()
    for row in (
        "| kaggle | funbench | fingerprint | 1 |",
        "| kaggle | funbench | patient | 1 |",
        "| top | funbench | key | 1 |",
        "| kaggle | top | 1 |",
        "| kaggle | see its page | 56 |",
    ):
        assert row in text


def test_halves_share_no_patient_and_copies_of_two_sets_are_in_one(tmp_path: Path, sets: Path) -> None:
    packed = packed_at(tmp_path / "s", sets)
    (copies,) = packed.copies
    assert (Path(copies.earlier.path).name, Path(copies.later.path).name) == ("20.png", "000003_00.jpg")
    split = loaded(tmp_path / "s")
    halves = [{(one.source, one.patient_id) for one in half} for half in (split.train, split.evaluation)]
    assert halves[0]
    assert halves[1]
    assert not halves[0] & halves[1]
    assert sum({("kaggle", "10"), ("top", "000003")} <= half for half in halves) == 1


def test_training_reads_samples_with_their_images(tmp_path: Path, sets: Path) -> None:
    packed_at(tmp_path / "s", sets)
    split = loaded(tmp_path / "s", "data.option_order=sorted")
    first = split.train[0]
    assert first.options == ("glaucoma", "normal")
    assert read_pixels(first.image).size == (168, 168)
    (tmp_path / "moved").symlink_to(sets)
    moved = loaded(tmp_path / "s", f"data.image_root={tmp_path / 'moved'}").train[0]
    assert moved.image.path == str(tmp_path / "moved" / Path(first.image.path).relative_to(sets))


def unguarded(folder: Path, root: Path, *, benchmarks: list[BenchmarkImages]) -> None:
    """A store that nobody cleared; four patients are held out."""
    rows = [
        sample(
            root / "kaggle" / f"{seed}.png",
            set_name="kaggle",
            patient=str(seed),
            split="eval" if seed > 25 else "train",
        )
        for seed in range(30)
    ]
    marked = [(row, file_fingerprint(row.image.path)) for row in rows]
    write_store(folder, marked, licences=LICENCES, benchmarks=benchmarks)


def test_training_refuses_a_store_with_an_image_of_its_own_list(tmp_path: Path, sets: Path) -> None:
    unguarded(tmp_path / "s", sets, benchmarks=[funbench(sets)])
    with pytest.raises(
        DataError, match=r"known leak: training sample kaggle-4-0 .*: funbench tests on Some/x\.jpg \(by"
    ):
        loaded(tmp_path / "s")


def test_training_refuses_a_store_with_an_image_of_a_list_that_is_given(tmp_path: Path, sets: Path) -> None:
    unguarded(tmp_path / "s", sets, benchmarks=[])
    assert len(loaded(tmp_path / "s").train) == 26
    write_benchmarks(tmp_path / "list.parquet", [funbench(sets)])
    with pytest.raises(DataError, match=r"funbench tests on Some/x\.jpg .*1 image in all"):
        loaded(tmp_path / "s", f"data.benchmarks={tmp_path / 'list.parquet'}")


def test_training_refuses_a_jsonl_with_a_benchmark_image(tmp_path: Path, sets: Path) -> None:
    write_benchmarks(tmp_path / "list.parquet", [funbench(sets)])
    rows = [
        {"image": str(sets / "kaggle" / f"{n}.png"), "modality": "CFP", "question": "?", "answer": "x"}
        for n in range(8)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({**row, "split": "train"}) for row in rows))
    config = load(
        overrides=[
            "data.source=jsonl",
            f"data.path={tmp_path / 'rows.jsonl'}",
            f"data.benchmarks={tmp_path / 'list.parquet'}",
            "sft.vision_warmup_steps=0",
            "evaluate.samples=0",
        ]
    )
    with pytest.raises(DataError, match=r"known leak: training sample rows-5 .*funbench tests on Some/x\.jpg"):
        source.load_data(config, cache_dir=tmp_path, finding_ids=load_vocabulary().ids)


def test_a_patient_or_image_in_both_halves_of_a_store_is_named(tmp_path: Path, sets: Path) -> None:
    one = sample(sets / "kaggle" / "0.png", set_name="kaggle", patient="1", split="train")
    two = sample(sets / "kaggle" / "1.png", set_name="kaggle", patient="1", split="eval")
    write_store(tmp_path / "s", [(one, None), (two, None)], licences=LICENCES)
    with pytest.raises(
        DataError, match=r"patient kaggle/1 is in both halves: samples kaggle-0-0 \(train\) and kaggle-1-0"
    ):
        loaded(tmp_path / "s")


def test_a_finding_that_the_vocabulary_has_not_is_named(tmp_path: Path, sets: Path) -> None:
    one = sample(sets / "kaggle" / "0.png", set_name="kaggle", patient="1", split="train")
    write_store(tmp_path / "s", [(replace(one, findings=("ghost vessel",)), None)], licences=LICENCES)
    with pytest.raises(DataError, match="sample kaggle-0-0: finding 'ghost vessel' is no id of the vocabulary"):
        loaded(tmp_path / "s", "evaluate.samples=0")


def test_a_person_in_two_sets_that_share_their_names_is_in_one_half(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        for set_name, side in (("eyepacs", "left"), ("retinal_lesions", "right")):
            path = tmp_path / set_name / f"{number}_{side}.png"
            path.parent.mkdir(exist_ok=True)
            eye(2 * number + (side == "left")).save(path)
            rows.append(sample(path, set_name=set_name, patient=f"{set_name} {number}"))
    licences = {"eyepacs": "x", "retinal_lesions": "x"}
    pack(
        tmp_path / "s",
        rows,
        pictures=pictures_of(rows),
        licences=licences,
        benchmarks=[],
        eval_fraction=0.5,
        seed=0,
    )
    split = loaded(tmp_path / "s")
    numbers = [{one.patient_id.split()[1] for one in half} for half in (split.train, split.evaluation)]
    assert not numbers[0] & numbers[1]
    assert numbers[0] | numbers[1] == {str(number) for number in range(12)}


def test_a_benchmark_that_tests_on_everything_leaves_nothing(tmp_path: Path, sets: Path) -> None:
    top = [one for one in samples(sets) if one.source == "top"]
    keys = tuple(f"TOP/TOP/{Path(one.image.path).name}" for one in top)
    with pytest.raises(DataError, match="of 10 images none is left"):
        pack(
            tmp_path / "s",
            top,
            pictures=pictures_of(top),
            licences=LICENCES,
            benchmarks=[BenchmarkImages("b", keys, tuple(None for _ in keys))],
            eval_fraction=0.3,
            seed=0,
        )


def test_a_store_on_an_object_store_names_images_below_its_root(sets: Path) -> None:
    packed = pack(
        "memory://pack/s",
        samples(sets),
        pictures=pictures_of(samples(sets)),
        licences=LICENCES,
        benchmarks=[],
        eval_fraction=0.3,
        seed=0,
        image_root=str(sets),
    )
    assert packed.manifest.image_root == str(sets)
    assert next(Store("memory://pack/s").rows("train", ["image"]))["image"].startswith("kaggle/")


def test_a_folder_that_holds_a_store_is_refused_before_any_image_is_read(tmp_path: Path, sets: Path) -> None:
    packed_at(tmp_path / "s", sets)
    gone = replace(samples(sets)[0], image=replace(samples(sets)[0].image, path="/nowhere.png"))
    with pytest.raises(DataError, match="holds a store already"):
        pack(
            tmp_path / "s",
            [gone],
            pictures=pictures_of([gone]),
            licences=LICENCES,
            benchmarks=[],
            eval_fraction=0.3,
            seed=0,
        )

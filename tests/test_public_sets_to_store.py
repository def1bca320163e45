"""Every public set, from its folder to a store that training reads, through the commands."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from replicas import REPLICAS

from fundus_ray.cli import main
from fundus_ray.config import load
from fundus_ray.data.registry import SETS
from fundus_ray.data.source import load_data
from fundus_ray.data.store.read import Store
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import Sample

SEEN = {"L1a", "L1b"}
EYE = SEEN | {"L2a", "L2b"}
ILL = {"L4a", "L4b"}
TASKS = {
    "eyepacs": EYE | {"L4c"},
    "aptos2019": SEEN | {"L4c"},
    "idrid": EYE | {"L3a", "L3b", "L3c", "L3d", "L4c"},
    "messidor2": SEEN | {"L4c"},
    "ddr": SEEN | {"L3a", "L3d", "L4c"},
    "deepdrid": EYE | {"L4c"},
    "deepdrid_uwf": EYE | {"L4c"},
    "retinal_lesions": EYE | {"L3a", "L3d", "L4c"},
    "brset": SEEN | ILL | {"L4c"},
    "odir_5k": EYE | ILL | {"L4c"},
    "oia_odir": EYE | ILL | {"L4c"},
    "rfmid": SEEN | ILL,
    "jsiec": SEEN | ILL,
    "fives": SEEN | ILL,
    "refuge": EYE | {"L4a-one-disease"},
    "origa": EYE | {"L4a-one-disease"},
    "g1020": SEEN | {"L4a-one-disease"},
    "airogs": SEEN | {"L4a-one-disease"},
    "papila": EYE | ILL,
    "adam": SEEN | {"L3a", "L3d", "L4a-one-disease"},
    "palm": SEEN | {"L4a-one-disease"},
    "top": EYE | ILL,
    "oct2017": SEEN | ILL,
    "octdl": SEEN | ILL | {"L4d"},
    "octid": SEEN | ILL,
    "mmc_amd": EYE | ILL | {"L4d"},
    "retouch": SEEN | {"L3a", "L3c"},
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sets, imported by the command."""
    folder = tmp_path_factory.mktemp("sets")
    for name, write in REPLICAS.items():
        write(folder / name)
        assert main(["data", "import", name, "--root", str(folder / name), "--out", str(folder / "imported")]) == 0
    return folder / "imported"


@pytest.fixture(scope="module")
def store(imported: Path) -> Path:
    """All of them packed by one command."""
    folder = imported.parent / "store"
    assert main(["data", "pack", str(imported), "--out", str(folder), "--eval-fraction", "0.5"]) == 0
    return folder


def samples_of(store: Path) -> list[Sample]:
    opened = Store(store)
    return [sample for split in ("train", "eval") for sample in opened.samples(split)]


def test_every_set_of_the_registry_has_a_replica_and_its_bad_rows_are_counted(imported: Path) -> None:
    assert set(REPLICAS) == set(SETS) == set(TASKS)
    for name in SETS:
        counted = json.loads((imported / f"{name}.json").read_text())
        named = (imported / f"{name}.left_out.jsonl").read_text().splitlines()
        assert counted["images"] > 0
        assert sum(counted["left_out"].values()) == len(named) > 0, name


def test_each_set_is_asked_what_its_labels_can_answer(store: Path) -> None:
    asked = defaultdict(set)
    for sample in samples_of(store):
        asked[sample.source].add(sample.task)
    assert dict(asked) == TASKS


def test_no_row_is_lost_between_import_and_store_and_each_set_keeps_its_licence(imported: Path, store: Path) -> None:
    manifest = Store(store).manifest
    images = sum(json.loads((imported / f"{name}.json").read_text())["images"] for name in SETS)
    assert manifest.counts["images"] == images
    assert manifest.licences == {name: public.licence for name, public in SETS.items()}
    assert (store / "left_out.jsonl").read_text() == ""


def test_training_reads_the_store(store: Path) -> None:
    overrides = ["data.source=store", f"data.path={store}", "sft.vision_warmup_steps=0"]
    split = load_data(load(overrides=overrides), cache_dir=store, finding_ids=load_vocabulary().ids)
    assert {"top", "idrid", "retouch"} <= {sample.source for sample in (*split.train, *split.evaluation)}
    assert len(split.train) > 20
    assert len(split.evaluation) > 20


def right(store: Path, name: str) -> tuple[str, ...]:
    (found,) = [sample.answer for sample in samples_of(store) if sample.id == name]
    return found


def test_answers_follow_each_sets_own_rules(store: Path) -> None:
    a = "idrid:A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg"
    assert right(store, f"{a}:L2b") == ("Left eye",)  # disc at x = 0.5 of 12
    assert right(store, f"{a}:L3b:microaneurysm") == ("Nasal side of the optic disc center",)  # 0.5 px left of it
    assert right(store, f"{a}:L3c:hard_exudate") == ("Not observed in the image",)
    lesions = "retinal_lesions:images_896x896/20_left.jpg"
    assert right(store, f"{lesions}:L3d:dot_blot_haemorrhage") == ("No more than 5",)
    assert right(store, f"{lesions}:L3a:microaneurysm") == ("No",)  # grey 127 alone
    slices = "retouch:pre_processed/oct_imgs/RETOUCH-TrainingSet-Cirrus_TRAIN001_048.png"
    assert right(store, f"{slices}:L3c:intraretinal_fluid") == (
        "Between 0.02 and 0.03 of the image area",
    )  # 2 of 96 px
    assert right(store, f"{slices}:L3a:subretinal_fluid") == ("No",)
    assert right(store, "refuge:train/Images/g0001.jpg:L2b") == ("Right eye",)  # disc at 8.5, fovea at 2
    assert right(store, "refuge:train/Images/n0001.jpg:L4a:glaucoma") == ("No",)
    assert right(store, "adam:Training400/AMD/A0001.jpg:L3a:retinal_haemorrhage") == ("Yes",)
    assert right(store, "palm:PALM-Training400/N0001.jpg:L4a:pathologic myopia") == ("No",)
    assert set(right(store, "odir_5k:100_left.jpg:L4b")) == {
        "glaucoma",
        "Other abnormalities not included in the options",
    }
    assert right(store, "odir_5k:101_right.jpg:L4b") == ("age-related macular degeneration",)
    assert set(right(store, "brset:fundus_photos/img00001.jpg:L4b")) == {
        "diabetic retinopathy",
        "Other abnormalities not included in the options",
    }
    assert right(store, "octdl:OCTDL/VID/vid_1_1.jpg:L4b") == ("vitreomacular interface disease",)
    assert right(store, "mmc_amd:ImageData/cfp-448x448/f-w-ICG-5508-l.jpg:L4d") == (
        "Late age-related macular degeneration",
    )


def test_chosen_tasks_in_the_open_form(imported: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "s"), "--tasks", "L4c", "L2b", "--open", "--eval-fraction", "0.5"]
    assert main(["data", "pack", str(imported / "eyepacs.jsonl"), str(imported / "deepdrid.jsonl"), *out]) == 0
    samples = samples_of(tmp_path / "s")
    assert {sample.task for sample in samples} == {"L4c", "L2b"}
    assert {sample.options for sample in samples} == {()}
    assert all(sample.answer for sample in samples)


def test_a_mask_that_changed_since_the_import_costs_its_image_alone(
    imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (imported / "idrid.jsonl").read_text().splitlines()]
    for row in rows:
        row["masks"] = {name: str(tmp_path / "gone.tif") for name in row.get("masks", {})}
    (tmp_path / "idrid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["data", "pack", str(tmp_path / "idrid.jsonl"), "--out", str(tmp_path / "s")]) == 0
    assert "1 images have labels that cannot be used, the first: A. Segmentation" in capsys.readouterr().out
    (line,) = (tmp_path / "s" / "left_out.jsonl").read_text().splitlines()
    assert "gone.tif" in json.loads(line)["why"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["idrid.left_out.jsonl"], "lists what an import left out; give idrid.jsonl"),
        (["nowhere"], "nowhere does not exist; a JSONL, or a folder of imports"),
        (["idrid.jsonl", "--licence", "CC0"], "--licence is for your own questions"),
        (["idrid.jsonl", "--tasks", "L9"], "--tasks L9 is no task; known are L1a"),
        (["idrid.jsonl", "--tasks", "L4d"], "no question can be asked of"),
        (["own.jsonl"], "own.jsonl holds questions of your own: give the licence"),
        (["own.jsonl", "--licence", "CC0", "--open"], "--tasks and --open are for imported sets"),
        (["empty"], "empty holds no import"),
        (["none.jsonl"], "none.jsonl is empty; a JSONL of"),
        (["odd.jsonl"], "odd.jsonl:1 is not a row of `fundus-ray data import`: ValueError(\"unknown field 'eyes'\")"),
        (["other.jsonl"], "images of 'other' are of no known source"),
    ],
)
def test_bad_input_is_named(
    words: list[str], said: str, imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.jsonl").touch()
    (tmp_path / "own.jsonl").write_text('{"image": "x.png", "modality": "CFP", "question": "?", "answer": "x"}\n')
    row = json.loads((imported / "idrid.jsonl").read_text().splitlines()[0])
    (tmp_path / "other.jsonl").write_text(json.dumps({**row, "source": "other"}) + "\n")
    (tmp_path / "odd.jsonl").write_text(json.dumps({**row, "eyes": "L"}) + "\n")
    for name in ("idrid.jsonl", "idrid.left_out.jsonl"):
        (tmp_path / name).write_bytes((imported / name).read_bytes())
    assert main(["data", "pack", str(tmp_path / words[0]), *words[1:], "--out", str(tmp_path / "s")]) == 2
    assert said in capsys.readouterr().err


def test_a_person_of_top_is_told_by_the_id_not_by_the_number_in_the_file_name(imported: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("TOP/TOP/000002_03.jpg\n")  # of person 01404
    listed, store = str(tmp_path / "b.parquet"), tmp_path / "s"
    assert main(["data", "benchmark", "funbench", "--keys", str(tmp_path / "keys.txt"), "--out", listed]) == 0
    assert main(["data", "pack", str(imported / "top.jsonl"), "--benchmarks", listed, "--out", str(store)]) == 0
    assert {sample.id.split(":")[1] for sample in samples_of(store)} == {"TOP/000002_01.jpg"}
    why = [json.loads(line)["why"] for line in (store / "excluded.jsonl").read_text().splitlines()]
    assert sorted(why) == ["key", "patient"]

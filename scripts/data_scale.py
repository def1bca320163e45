"""How the data commands grow: time and peak memory of import, pack, check, reading and scoring, a table in Markdown.

    python scripts/data_scale.py --work DIR [--rows 10000 100000] [--stages import pack check read score] [--workers 2]

`--rows` images lie in the layout of EyePACS (32 x 32 px of noise, two eyes a patient), so that the time is that of the
commands and not of the JPEG decoder; each image is asked five questions. `score` reads a benchmark in FunBench's layout
of `--rows` questions with stored answers. Each stage runs in a process of its own; its peak memory (VmHWM of Linux)
includes Python and the libraries: "nothing" is what those take alone. What DIR holds is used again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from PIL import Image

SIDE_PX = 32
DRAWN = 2000  # samples read at random places
OPTIONS = ("No any diabetic retinopathy", "Mild", "Moderate", "Severe", "Proliferative diabetic retinopathy")


@dataclass(frozen=True)
class Place:
    """Where the files of one size lie."""

    work: Path
    rows: int
    workers: int

    @property
    def images(self) -> Path:
        return self.work / f"eyepacs-{self.rows}"

    @property
    def imported(self) -> Path:
        return self.work / f"imported-{self.rows}"

    @property
    def store(self) -> Path:
        return self.work / f"store-{self.rows}"

    @property
    def benchmark(self) -> Path:
        return self.work / f"funbench-{self.rows}"


def main() -> None:
    """Run the stages, each in its own process, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="about 8 KiB a row of free space")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--stages", nargs="+", choices=[name for name in STAGES if name != "nothing"], default=None)
    parser.add_argument("--workers", type=int, default=2, help="processes that hash images")
    parser.add_argument("--run", choices=list(STAGES), help=argparse.SUPPRESS)  # one stage, in this process
    args = parser.parse_args()
    if args.run:
        print(json.dumps(measured(args.run, Place(args.work, args.rows[0], args.workers))))
        return
    lines = [
        "| rows | stage | seconds | CPU seconds | peak memory [MiB] | what came of it |",
        "|---|---|---|---|---|---|",
    ]
    for rows in args.rows:
        place = Place(args.work, rows, args.workers)
        stages = args.stages or [name for name in STAGES if name != "nothing"]
        prepare(place, images={"import", "pack", "check", "read"} & set(stages) != set(), questions="score" in stages)
        for stage in ("nothing", *stages):
            lines.append(row_of(stage, place))
            print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))


def row_of(stage: str, place: Place) -> str:
    """The table's row of one stage, run by a process of its own. Raises SystemExit with its words where it fails."""
    words = ["--run", stage, "--rows", str(place.rows), "--work", str(place.work), "--workers", str(place.workers)]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{stage} of {place.rows} rows failed: {done.stderr[-2000:]}")
    got = json.loads(done.stdout.splitlines()[-1])
    seconds = f"{got['seconds']:.1f} | {got['cpu_seconds']:.1f}"
    return f"| {place.rows:,} | {stage} | {seconds} | {got['peak_mib']:.0f} | {got['what']} |"


def measured(stage: str, place: Place) -> dict[str, object]:
    """Run one stage here: seconds, those of all processors, peak memory of this process, and what came of it."""
    started = time.perf_counter()
    what = STAGES[stage](place)
    seconds = time.perf_counter() - started
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "seconds": seconds,
        "cpu_seconds": sum(one.ru_utime + one.ru_stime for one in spent),
        "peak_mib": peak_mib(),
        "what": what,
    }


def peak_mib() -> float:
    """Most resident memory of this process so far; ru_maxrss would also count that of who started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def prepare(place: Place, *, images: bool, questions: bool) -> None:
    """Write what the stages read, unless it is there."""
    if images and not (place.images / "trainLabels.csv").is_file():
        write_images(place)
    if questions and not (place.benchmark / "done").is_file():
        write_benchmark(place)


def write_images(place: Place) -> None:
    """A set in the layout of EyePACS."""
    folder = place.images / "train"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = [f"{number // 2}_{('left', 'right')[number % 2]}" for number in range(place.rows)]
    for name in names:
        pixels = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpeg", quality=80)
    rows = "".join(f"{name},{number % 5}\n" for number, name in enumerate(names))
    (place.images / "trainLabels.csv").write_text(f"image,level\n{rows}")


def write_benchmark(place: Place) -> None:
    """Four task files of DR grades with a quarter of the questions each, and answers, three in four of them right."""
    for number in range(4):
        name = Path(f"L{number + 1}-level") / f"L{number + 1}a-task.json"
        data, said = {}, {}
        for at in range(place.rows // 4):
            gold, key = OPTIONS[at % 5], f"DeepDRiD/{at // 2}/{at // 2}_l{at % 2 + 1}.jpg"
            raw = {"options": list(OPTIONS), "question": "Which grade?", "gt": gold}
            data[key] = {"E-mode2": None, "E-mode3": "Which grade?", "gt": "ABCDE"[at % 5], "raw_data": raw}
            said[key] = f"<think>Findings.</think><answer>{'ABCDE'[(at + (at % 4 == 0)) % 5]}</answer>"
        for root, content in ((place.benchmark / "root", {"info": {}, "data": data}), (place.benchmark / "said", said)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(json.dumps(content))
    (place.benchmark / "done").touch()


def nothing(_: Place) -> str:
    """What the libraries alone take."""
    import fundus_ray.data.store.pack  # noqa: F401

    return "libraries alone"


def run_import(place: Place) -> str:
    return command("data", "import", "eyepacs", "--root", str(place.images), "--out", str(place.imported))


def run_pack(place: Place) -> str:
    for old in sorted(place.store.glob("*")):
        old.unlink()
    return command(
        "data", "pack", str(place.imported), "--out", str(place.store), "--workers", str(place.workers), "--seed", "1"
    )


def run_check(place: Place) -> str:
    return command("data", "check", str(place.store))


def run_read(place: Place) -> str:
    """Open the store as training does, and draw samples in a seeded order."""
    from fundus_ray.data.store.read import Store

    samples = Store(place.store).samples("train")
    drawn = np.random.default_rng(0).integers(0, len(samples), DRAWN)
    started = time.perf_counter()
    questions = {samples[int(at)].question for at in drawn}
    each = (time.perf_counter() - started) / DRAWN
    return f"{DRAWN:,} of {len(samples):,} samples at random places, {1000 * each:.2f} ms each, {len(questions)} texts"


def run_score(place: Place) -> str:
    folders = {"--root": "root", "--predictions": "said", "--out": "scores"}
    words = [word for option, name in folders.items() for word in (option, str(place.benchmark / name))]
    command("evaluate", "--benchmark", "funbench", *words)
    scores = json.loads((place.benchmark / "scores" / "scores.json").read_text())
    return f"overall {scores['overall']:.4f}, with intervals"


def command(*words: str) -> str:
    """Run a command of fundus-ray here; the first line that it prints, without files. Raises SystemExit on failure."""
    from fundus_ray.cli import main as fundus_ray

    said, wrong = StringIO(), StringIO()
    with redirect_stdout(said), redirect_stderr(wrong):
        code = fundus_ray(list(words))
    if code:
        raise SystemExit(wrong.getvalue()[-1000:])
    first = next(_lines(said.getvalue()), "")
    return " ".join(word for word in first.split() if "/" not in word).replace(", into", "").replace("wrote ", "")


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip())


STAGES: dict[str, Callable[[Place], str]] = {
    "nothing": nothing,
    "import": run_import,
    "pack": run_pack,
    "check": run_check,
    "read": run_read,
    "score": run_score,
}

if __name__ == "__main__":
    main()

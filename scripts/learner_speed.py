#!/usr/bin/env python
"""The learner's update against a bare PyTorch loop and the plain padded way: tokens a second and peak memory.

    python scripts/learner_speed.py [--readme] [--threads 1] [--repeats 5] [--before COMMIT] [--bf16] [--shape tiny]

Three ways of one policy update on one batch of 256 rollouts in groups of 8, with the same network, LoRA adapter, loss
(DAPO with truncated importance weights), AdamW and micro-batches:

* learner: `LearnerWorker.update`, all that a run does: images, metrics, entropy, checks;
* bare loop: the same packed tokens and the same attention, and nothing else: whole logits, PEFT's own adapter, no
  entropy, no metrics, the images' embeddings given;
* padded rows: a forward pass of the network over right-padded prompt + completion, one row a rollout with its prompt
  and image again, as TRL does.

Repeats are interleaved; figures are medians. Memory is measured in a process of its own a way: what updates add to the
resident memory on a CPU (Linux), to the allocator's on a GPU. `--before COMMIT` adds the learner as it was at that
commit, on the same batch. `--shape 3b` or `7b` is for GPUs: random weights of Qwen2.5-VL's sizes, images of 448 px.
Needs torch, transformers, peft, and this package's light dependencies; neither vLLM nor Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from readme_section import write_section
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from fundus_ray.config import Config, load
from fundus_ray.data.images import image_ref
from fundus_ray.learner.batch import completion_tokens
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.obs.report_table import table
from fundus_ray.policy.tiny import make_tiny_policy
from fundus_ray.types import ImageRef, TrainBatch

ROOT = Path(__file__).parents[1]
SCRIPT = "scripts/learner_speed.py"
ROLLOUTS, GROUP_SIZE, IMAGES = 256, 8, 32
PROMPT_TEXT = 74  # tokens of a prompt beside the image's, as in the quickstart
OLD_ROLLOUTS = {"short": 64, "long": 16}  # a pass of --before; its 64 (the default) of long chains need some 20 GiB
CHILD_LIMIT_S = 3600
WAYS = ("learner", "bare loop", "padded rows")
SHAPES = {  # of Qwen2.5-VL: hidden, MLP, layers, heads, key heads, tied embeddings
    "3b": (2048, 11008, 36, 16, 2, True),
    "7b": (3584, 18944, 28, 28, 4, False),
}
LENGTHS = {"short": "short chains (mean 31)", "long": "long-tailed chains (mean 150, up to 512)"}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    """Measure and print; or, as a child, one way's memory."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.folder or scratch)
        if not args.folder:
            make_policy(folder, args.shape)
        if args.child:
            print(json.dumps(child(args, folder)))
            return
        load_at_start = os.getloadavg()[0]
        rows = [row for kind in args.lengths for row in compare(args, folder, kind)]
    text = report(args, rows, load_at_start)
    print(text)
    if args.readme:
        write_section(text, script=SCRIPT, root=ROOT)
        print("written to README.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads (default 1)")
    parser.add_argument("--repeats", type=int, default=5, help="updates of each way that are timed (default 5)")
    parser.add_argument("--rollouts", type=int, default=ROLLOUTS, help="a multiple of 8 (default 256)")
    parser.add_argument("--lengths", nargs="+", choices=sorted(LENGTHS), default=list(LENGTHS))
    parser.add_argument("--shape", choices=("tiny", *SHAPES), default="tiny")
    parser.add_argument("--bf16", action="store_true", help="learner.bf16; with --shape 3b or 7b weights are bfloat16")
    parser.add_argument("--checkpointing", action="store_true", help="learner.checkpointing")
    parser.add_argument(
        "--micro-batch-tokens", type=int, default=4096, help="learner.micro_batch_tokens (default 4096)"
    )
    parser.add_argument("--before", default="", help="also the learner of this commit (needs git)")
    parser.add_argument("--readme", action="store_true", help="also write the table into README.md")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.threads, args.repeats, args.micro_batch_tokens) < 1:
        parser.error("--threads, --repeats and --micro-batch-tokens must be >= 1")
    if args.rollouts < GROUP_SIZE or args.rollouts % GROUP_SIZE:
        parser.error(f"--rollouts={args.rollouts} must be a multiple of {GROUP_SIZE}, the size of a group")
    return args


def make_policy(folder: Path, shape: str) -> None:
    """A checkpoint with random weights, and images to show it."""
    pixels = 112 if shape == "tiny" else 448
    words = "Findings conclusion the macula disc vessels haemorrhage exudates drusen normal glaucoma retinopathy"
    make_tiny_policy(
        folder,
        texts=[words],
        phrases=[f"finding {i}" for i in range(440)],
        image_px=pixels,
        image_mean=(0.3, 0.2, 0.1),
        image_std=(0.2, 0.15, 0.1),
        seed=0,
    )
    if shape != "tiny":
        enlarge(folder, shape)
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)).save(folder / f"image-{i}.png")


def enlarge(folder: Path, shape: str) -> None:
    """Replace the tiny network in `folder` by one of a real size, in bfloat16 where there is a GPU."""
    config = Qwen2_5_VLConfig(**real_sizes(json.loads((folder / "config.json").read_text()), shape))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if DEVICE == "cuda" else torch.float32)
    with torch.device(DEVICE):
        network = Qwen2_5_VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    network.to("cpu").save_pretrained(folder)


def real_sizes(config: dict[str, Any], shape: str) -> dict[str, Any]:
    """The tiny network's configuration with the sizes of a real one."""
    hidden, mlp, layers, heads, key_heads, tied = SHAPES[shape]
    sixteenth = hidden // heads // 16
    text = {
        "vocab_size": 151936 if tied else 152064,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "layer_types": ["full_attention"] * layers,
        "max_window_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "initializer_range": 0.02,
        "tie_word_embeddings": tied,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [2 * sixteenth, 3 * sixteenth, 3 * sixteenth],
            "rope_theta": 1e6,
        },
    }
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": hidden,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "initializer_range": 0.02,
    }
    return {
        **config,
        "tie_word_embeddings": tied,
        "text_config": {**config["text_config"], **text},
        "vision_config": {**config["vision_config"], **vision},
    }


def make_batch(folder: Path, kind: str, rollouts: int) -> TrainBatch:
    """Random tokens, and lengths of chains by a fixed seed."""
    rng, groups = np.random.default_rng(1), rollouts // GROUP_SIZE
    config = json.loads((folder / "config.json").read_text())
    refs: list[ImageRef] = [image_ref(folder / f"image-{i % IMAGES}.png") for i in range(groups)]
    image = [config["vision_start_token_id"], *[config["image_token_id"]] * (refs[0].width_px // 28) ** 2]
    if kind == "short":
        lengths = rng.integers(24, 39, rollouts)
    else:
        lengths = np.clip(rng.lognormal(4.72, 0.76, rollouts), 8, 512).astype(np.int64)
    rows: list[list[int]] = []
    for group in range(groups):
        prompt = [*words(rng, 10), *image, *words(rng, PROMPT_TEXT - 11)]
        rows += [[*prompt, *words(rng, n)] for n in lengths[group * GROUP_SIZE : (group + 1) * GROUP_SIZE]]
    prompt_lens = np.array([len(row) for row in rows]) - lengths
    token_ids = np.zeros((rollouts, max(map(len, rows))), dtype=np.int64)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
    return TrainBatch(
        token_ids=token_ids,
        prompt_lens=prompt_lens,
        seq_lens=prompt_lens + lengths,
        behaviour_logprobs=np.full(token_ids.shape, -6.0, dtype=np.float32),
        rewards=rng.random(rollouts),
        policy_steps=np.zeros(rollouts, dtype=np.int64),
        image_index=np.repeat(np.arange(groups), GROUP_SIZE),
        images=tuple(refs),
        policy_step=0,
    )


def words(rng: np.random.Generator, count: int) -> list[int]:
    """Token ids below the tiny vocabulary's special ones."""
    ids: list[int] = rng.integers(1, 256, count).tolist()
    return ids


def settings(args: argparse.Namespace, kind: str) -> Config:
    """The learner's defaults, but for what the options say."""
    config = load(None, [])
    small = args.shape == "tiny"
    wanted: dict[str, Any] = {"threads": args.threads, "gpus": float(DEVICE == "cuda"), "learning_rate": 1e-5}
    if hasattr(config.learner, "micro_batch_rollouts"):  # --before: a learner without the settings below
        wanted["micro_batch_rollouts"] = OLD_ROLLOUTS[kind]
    else:
        wanted["bf16"] = args.bf16 and small
        wanted["checkpointing"] = args.checkpointing
        wanted["micro_batch_tokens"] = args.micro_batch_tokens
    return replace(
        config,
        policy=replace(config.policy, dtype="bfloat16" if args.bf16 and not small else "float32"),
        learner=replace(config.learner, **wanted),
        rollout=replace(config.rollout, max_tokens=512),
    )


def make_update(way: str, args: argparse.Namespace, folder: Path, kind: str) -> Callable[[], object]:
    """One update of this way, with a policy of its own, as a function without arguments."""
    batch, config = make_batch(folder, kind, args.rollouts), settings(args, kind)
    if way == "learner":
        worker = LearnerWorker(config, str(folder), "")
        return lambda: worker.update(batch)
    import bare_update  # what --before need not have

    make = bare_update.packed if way == "bare loop" else bare_update.padded
    return make(config, folder, batch)


def compare(args: argparse.Namespace, folder: Path, kind: str) -> Iterator[tuple[str, ...]]:
    """Cells of a row a way."""
    batch = make_batch(folder, kind, args.rollouts)
    trained = completion_tokens(batch)
    packed = trained + int(batch.prompt_lens[::GROUP_SIZE].sum())
    processed = {"padded rows": int((batch.seq_lens).sum())}
    times = timed_in_turn({way: make_update(way, args, folder, kind) for way in WAYS}, args.repeats)
    mib = {way: in_child(args, folder, kind, way)["mib"] for way in WAYS}
    if args.before:
        old, name = in_child(args, folder, kind, "learner", commit=args.before), f"learner at {args.before[:9]}"
        times[name], mib[name] = old["times"], old["mib"]
    bare = statistics.median(wall for wall, _ in times["bare loop"])
    for way, pairs in times.items():
        wall, cpu = (statistics.median(figures) for figures in zip(*pairs, strict=True))
        yield (
            LENGTHS[kind],
            way,
            f"{wall:.2f}",
            f"{cpu:.2f}",
            f"{trained / wall:,.0f}",
            f"{processed.get(way, packed) / wall:,.0f}",
            f"{bare / wall:.2f}",
            f"{mib[way]:,.0f}",
        )


def timed_in_turn(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of each update; the first of each is not counted."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(repeats + 1):
        for way, update in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            update()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            if turn:
                found[way].append((time.perf_counter() - wall, time.process_time() - cpu))
    return found


def in_child(args: argparse.Namespace, folder: Path, kind: str, way: str, *, commit: str = "") -> dict[str, Any]:
    """What `child` of this way found in a process of its own, with this package or that of another commit."""
    options = {
        "--threads": args.threads,
        "--repeats": args.repeats if commit else 1,
        "--rollouts": args.rollouts,
        "--shape": args.shape,
        "--micro-batch-tokens": args.micro_batch_tokens,
        "--folder": folder,
        "--child": way,
    }
    flags = [name for name, on in (("--bf16", args.bf16), ("--checkpointing", args.checkpointing)) if on]
    pairs = [str(part) for pair in options.items() for part in pair]
    with tempfile.TemporaryDirectory() as scratch:
        package = ROOT
        if commit:
            package = Path(scratch)
            tree = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
            subprocess.run(["tar", "-x"], cwd=package, input=tree, check=True)
        done = subprocess.run(
            [sys.executable, __file__, *pairs, *flags, "--lengths", kind],
            env={**os.environ, "PYTHONPATH": str(package)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=CHILD_LIMIT_S,
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One way alone: times, and MiB that its updates add to what the process held before."""
    update = make_update(args.child, args, folder, args.lengths[0])
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() / 2**20
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        held = resident_mib("VmRSS")
    times = timed_in_turn({args.child: update}, args.repeats)[args.child]
    peak = torch.cuda.max_memory_allocated() / 2**20 if DEVICE == "cuda" else resident_mib("VmHWM")
    return {"times": times, "mib": peak - held}


def resident_mib(name: str) -> float:
    """VmRSS now, or VmHWM, its peak. (getrusage would give the parent's peak, which outlives fork and exec.)"""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 2**10


def report(args: argparse.Namespace, rows: list[tuple[str, ...]], load_at_start: float) -> str:
    """The table and what it was measured on."""
    header = ("", "way", "s", "CPU s", "trained tokens/s", "processed tokens/s", "speed, bare = 1", "peak MiB added")
    place = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{args.threads} CPU thread(s)"
    options = ["bf16"] * args.bf16 + ["checkpointing"] * args.checkpointing
    said = ", ".join(
        [
            f"{args.rollouts} rollouts in groups of {GROUP_SIZE}",
            f"network {args.shape}",
            *options,
            place,
            f"medians of {args.repeats} updates in turn",
            f"load of the machine at the start {load_at_start:.1f}",
        ]
    )
    notes = ""
    if args.before:
        passes = ", ".join(f"{OLD_ROLLOUTS[kind]} for {LENGTHS[kind]}" for kind in args.lengths)
        notes = f" The old learner was timed alone, afterwards; rollouts a pass: {passes}."
    return f"{table(header, rows)}\n\n{said}.{notes}"


if __name__ == "__main__":
    main()

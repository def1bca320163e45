"""What is asked of one machine. These functions are sent to it by value, since fundus_ray may be missing there or be
another version; so they use the standard library, and import anything else where it is used.

In: a question and out: an answer, both of plain dicts, lists, texts and numbers.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

SMI_LIMIT_S = 20.0
LONGEST_HEADER = 100 << 20  # as safetensors itself has it


def report(question: dict[str, Any]) -> dict[str, Any]:
    """Everything that was asked for; what goes wrong with one part is a text in its place."""
    return {
        "host": socket.gethostname(),
        "versions": versions(question["packages"]),
        "memory": memory(),
        "shared_memory": free_bytes("/dev/shm"),
        "gpus": gpus() if question["gpus"] else [],
        "disks": {path: free_bytes(path) for path in question["disks"]},
        "models": {path: model(path) for path in question["models"]},
        "images": {path: file_hash(path) for path in question["images"]},
        "marker": marker(question["marker"]) if question["marker"] else {},
        "search": search(question["search"]) if question["search"] else {},
    }


def versions(packages: dict[str, list[str]]) -> dict[str, str]:
    """name -> version, "" where none of its distributions is installed; and `python`, `fundus_ray` as a hash of its
    files."""
    found = {"python": platform.python_version(), "fundus_ray": own_code()}
    for name, distributions in packages.items():
        found[name] = ""
        for distribution in distributions:
            try:
                found[name] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def own_code() -> str:
    """First 12 digits of the SHA-256 over fundus_ray's files, "" where it is not there."""
    spec = importlib.util.find_spec("fundus_ray")
    if spec is None or not spec.submodule_search_locations:
        return ""
    return tree_hash(Path(next(iter(spec.submodule_search_locations))))


def tree_hash(root: Path) -> str:
    """First 12 digits of the SHA-256 over the names and contents of all files below `root`, compiled ones left out."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def memory() -> dict[str, int]:
    """[bytes] {"total", "free"} of main memory, or of what the container may have of it."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    held = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)}
    total, free = held["MemTotal"], held["MemAvailable"]
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return {"total": total, "free": free}
    return {"total": min(total, limit), "free": min(free, max(0, limit - used))}


def free_bytes(path: str) -> int:
    """On the file system that holds the path, or will; -1 where it cannot be told."""
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return -1


def gpus() -> list[dict[str, Any]] | str:
    """{"name", "total", "used"} [bytes] of each, by nvidia-smi, as Ray hides GPUs from tasks that ask for none; a text
    where there is no answer."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_LIMIT_S, check=True)
        rows = [line.rsplit(",", 2) for line in done.stdout.splitlines() if line.strip()]
        return [{"name": n.strip(), "total": int(t) << 20, "used": int(u) << 20} for n, t, u in rows]
    except (OSError, ValueError, subprocess.SubprocessError) as err:
        return f"nvidia-smi does not answer: {' '.join(str(err).split())[:200]}"


def file_hash(path: str) -> dict[str, str]:
    """{"sha256"} of the file, or {"problem"}."""
    try:
        if "://" in path:
            import fsspec

            with fsspec.open(path, "rb") as remote:
                return {"sha256": hashlib.sha256(remote.read()).hexdigest()}
        return {"sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    except (OSError, ValueError, ImportError) as err:
        return {"problem": _one_line(err)}


def model(folder: str) -> dict[str, Any]:
    """{"config": hash of config.json, "bytes": of the weights, "problem": why they cannot be loaded, or ""}."""
    root = Path(folder)
    try:
        config = hashlib.sha256((root / "config.json").read_bytes()).hexdigest()[:12]
        weights = sorted(root.glob("*.safetensors"))
        return {"config": config, "bytes": sum(w.stat().st_size for w in weights), "problem": _missing(root, weights)}
    except (OSError, ValueError, KeyError) as err:
        return {"config": "", "bytes": 0, "problem": _one_line(err)}


def marker(asked: dict[str, str]) -> dict[str, str]:
    """Look for the file that the driver wrote, and write one beside it: {"problem"}, "" where the folder is shared and
    can be written to."""
    folder = Path(asked["folder"])
    try:
        seen = (folder / asked["name"]).read_text()
    except OSError as err:
        return {"problem": f"does not see what the driver wrote there ({type(err).__name__})"}
    if seen != asked["content"]:
        return {"problem": "sees another folder of that name"}
    try:
        own = folder / f"{asked['name']}-{asked['node']}"
        own.write_text(asked["content"])
    except OSError as err:
        return {"problem": f"cannot write there: {_one_line(err)}"}
    return {"problem": ""}


def search(asked: dict[str, Any]) -> dict[str, Any]:
    """What the search server says to this machine: {"cluster", "passages"}, or {"problem"}."""
    import asyncio

    try:
        from fundus_ray.config import KnowledgeConfig
        from fundus_ray.errors import FundusRayError
        from fundus_ray.knowledge.elastic import look
    except ImportError as err:
        return {"problem": _one_line(err)}
    try:
        return dict(asyncio.run(look(KnowledgeConfig(**asked["settings"]), snapshot=asked["snapshot"])))
    except (FundusRayError, TypeError) as err:
        return {"problem": _one_line(err)}


def _missing(root: Path, weights: list[Path]) -> str:
    """Why the weights are not whole: files that the index names, and files shorter than their own header says."""
    if not weights:
        return "holds no *.safetensors"
    index = root / "model.safetensors.index.json"
    if index.is_file():
        named = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        absent = [name for name in named if not (root / name).is_file()]
        if absent:
            return f"lacks {len(absent)} of {len(named)} files of weights, the first: {absent[0]}"
    for path in weights:
        size, whole = path.stat().st_size, _whole_bytes(path)
        if size != whole:
            return f"{path.name} is not whole: {size} bytes of {'a broken header' if whole is None else whole}"
    return ""


def _whole_bytes(path: Path) -> int | None:
    """Of a safetensors file (8 bytes of length, JSON, tensors), by its header; None where that cannot be read."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        try:
            tensors = json.loads(file.read(min(header, LONGEST_HEADER)))
            ends = [one["data_offsets"][1] for name, one in tensors.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
    return 8 + header + max(ends, default=0)


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())[:300] or type(err).__name__

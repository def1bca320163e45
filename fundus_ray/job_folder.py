"""What a job takes along to the cluster: a small folder with the recipe and the small files that its settings name.

In: a recipe, overrides, environment variables. Out: a folder for Ray's working_dir, and the settings as the job gets
them. A relative path means a file that is taken along; an absolute one, or a URL, means one that every machine of the
cluster sees. What Ray's dashboard would show to everybody is refused: secrets in variables, settings and addresses.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fundus_ray.config import Config
from fundus_ray.config.rules import PASSWORD_IN_ADDRESS
from fundus_ray.errors import ConfigError

RECIPE = "fundus-ray-recipe.yaml"
LARGEST_BYTES = 50 * 2**20  # Ray sends the folder through its head to every machine
SHOWN_FILES = 3
WORDS = ("tiny", "reader", "minilm", "")  # what may stand for a path
PATHS = (
    "data.benchmarks",
    "knowledge.passages_dir",
    "knowledge.records_dir",
    "knowledge.embeddings",
    "knowledge.ca_certs",
    "traces.reader",
    "policy.path",
    "sft.traces",
    "reward.checker_model",
)
STAY_PATHS = {  # key: why what it names is not sent
    "run.dir": "the run would be lost with the job's temporary folder",
    "data.path": "images do not travel with a job",
    "data.image_root": "images do not travel with a job",
    "knowledge.api_key_file": "a secret does not travel with a job",
}
_SECRET = {"KEY", "KEYS", "APIKEY", "TOKEN", "PASSWORD", "PASSWD", "PASS", "PASSPHRASE", "SECRET", "SECRETS"}
_SECRET |= {"CREDENTIAL", "CREDENTIALS", "AUTH"}  # parts of a name between underscores
_NAMES_A_PLACE = ("_PATH", "_FILE", "_DIR", "_ENV", "_MODE")


def refuse_secrets(env: Mapping[str, str]) -> None:
    """Raises ConfigError where a variable is a secret by its name, or holds an address with a password. The value is
    not said. Settings with such an address are refused where they are read (config/rules.py)."""
    for name, value in env.items():
        if _SECRET & set(name.upper().split("_")) and not name.upper().endswith(_NAMES_A_PLACE):
            raise ConfigError(
                f"--env {name}: by its name this is a secret, and Ray's dashboard shows a job's variables to everyone; "
                "set it in the environment of every machine before `ray start`, or put it into a file there (an "
                "Elasticsearch key: knowledge.api_key_env or knowledge.api_key_file)"
            )
        if PASSWORD_IN_ADDRESS.search(value):
            raise ConfigError(f"--env {name}: its address holds a password, which Ray's dashboard would show")


def refuse_relative(config: Config, *, resume: bool) -> None:
    """Raises ConfigError where a path that stays behind is not one that every machine sees. A resumed run has its own
    run.dir."""
    for key, why in STAY_PATHS.items():
        if key in _relative(config, STAY_PATHS) and not (resume and key == "run.dir"):
            raise ConfigError(
                f"{key}={_relative(config, STAY_PATHS)[key]} is relative, but {why}; give an absolute path that every "
                "machine of the cluster sees"
            )


def pack(config: Config, *, recipe: Path | None, root: Path, into: Path) -> list[str]:
    """Copy the recipe, as RECIPE, and the relative files and folders that the settings name below `root` into the
    empty folder. Returns what was copied, by relative path. Raises ConfigError where something is not there, lies
    outside of `root` or is too large."""
    found: list[Path] = []
    for key, path in ((key, Path(value)) for key, value in _relative(config, PATHS).items()):
        if ".." in path.parts:
            raise ConfigError(f"{key}={path} lies outside of {root}; give an absolute path that every machine sees")
        if not (root / path).exists():
            raise ConfigError(
                f"{key}={path} is relative, so it is taken along from {root}, but is not there; give an absolute path "
                "that every machine of the cluster sees"
            )
        found += _files(root, path)
    found = list(dict.fromkeys([*found, *_plugin(config, root)]))
    refuse_large([root / path for path in found], root=root)
    _copy(found, root=root, into=into)
    if recipe is not None:
        shutil.copyfile(recipe, into / RECIPE)
    return [str(path) for path in found]


def pack_whole(folder: Path, *, recipe: Path | None, into: Path) -> list[str]:
    """The same of all that lies in a folder, hidden files and compiled Python left out. Raises ConfigError where it is
    no folder or holds too much."""
    if not folder.is_dir():
        raise ConfigError(f"--working-dir {folder} is not a folder here, so the job would run without its files")
    found = _files(folder, Path())
    refuse_large([folder / path for path in found], root=folder)
    _copy(found, root=folder, into=into)
    if recipe is not None:
        shutil.copyfile(recipe, into / RECIPE)
    return [str(path) for path in found]


def refuse_large(files: Sequence[Path], *, root: Path) -> None:
    """Raises ConfigError naming the largest files where all together are more than LARGEST_BYTES."""
    sizes = {file: file.stat().st_size for file in files}
    total = sum(sizes.values())
    if total <= LARGEST_BYTES:
        return
    largest = sorted(sizes, key=lambda file: -sizes[file])[:SHOWN_FILES]
    named = ", ".join(f"{file.relative_to(root)} ({sizes[file] / 2**20:.1f} MB)" for file in largest)
    raise ConfigError(
        f"the job would take {total / 2**20:.1f} MB along, at most {LARGEST_BYTES / 2**20:g} are allowed; the largest: "
        f"{named}; put them where every machine of the cluster sees them and give absolute paths"
    )


def _relative(config: Config, keys: Iterable[str]) -> dict[str, str]:
    values = {key: str(getattr(getattr(config, key.split(".")[0]), key.split(".")[1])) for key in keys}
    return {
        key: value
        for key, value in values.items()
        if value not in WORDS and "://" not in value and not Path(value).is_absolute()
    }


def _plugin(config: Config, root: Path) -> list[Path]:
    """The module, or package, of reward.plugin where it lies here; else it must be installed on the cluster."""
    name = config.reward.plugin.partition(":")[0].partition(".")[0]
    if name and (root / f"{name}.py").is_file():
        return [Path(f"{name}.py")]
    return _files(root, Path(name)) if name and (root / name / "__init__.py").is_file() else []


def _files(root: Path, path: Path) -> list[Path]:
    """The file, or those in the folder, relative to root."""
    if (root / path).is_file():
        return [path]
    inside = sorted(file.relative_to(root) for file in (root / path).rglob("*") if file.is_file())
    hidden = ("__pycache__", ".")
    return [file for file in inside if not any(part.startswith(hidden) for part in file.relative_to(path).parts)]


def _copy(files: Sequence[Path], *, root: Path, into: Path) -> None:
    for file in files:
        (into / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, into / file)

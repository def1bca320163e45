"""The shape of the package: import direction, what stays light, where errors may be caught, sizes.

`python tests/test_architecture.py` (or `pytest -s` on this file) prints the import graph, the longest modules and the
longest functions.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "fundus_ray"

# A part (a folder, or a module beside them) imports from earlier lines only; imports inside functions count.
LAYERS = (
    ("errors",),
    ("types", "gather", "cores", "bars", "connecting", "stopping", "file_hashes"),
    ("config",),
    ("obs",),
    ("data", "knowledge", "reasoning", "policy"),
    ("reward",),
    ("traces", "sft", "rollout", "learner", "evaluate"),
    ("step_metrics", "run_gauges", "job_folder", "job_log", "quarantine"),
    ("loop", "watch"),
    ("crew", "colocation"),
    (
        *("engine_pool", "model_pool", "reward_pool", "checkpoints", "recovery", "places", "plan", "progress"),
        *("recording", "replay"),
    ),
    ("actors", "stored_model", "mirror"),
    ("cluster", "learner_ranks"),
    ("reservation",),
    ("spawner",),
    ("runtime", "doctor"),
    ("read_image", "draft_record", "write_traces", "filter_traces", "audit", "evaluate_model", "export"),
    ("first_policy", "resume"),
    ("run_job",),
    ("rlvr",),
    ("training",),
    ("ending", "submit"),
    ("pipeline", "replay_pipeline"),
    ("cli",),
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
WITHIN_A_LAYER = {("reasoning", "knowledge"), ("sft", "traces")}  # (importer, imported)
NETWORK_LIBRARIES = {"torch", "torchvision", "transformers", "peft", "vllm"}
# Folders, and single files.
MAY_IMPORT_NETWORK_LIBRARIES = {"policy", "sft", "learner", "knowledge/embedding.py", "reward/checkers/nli.py"}
MAY_IMPORT_RAY = {
    "actors.py",
    "cluster.py",
    "learner_ranks.py",
    "reservation.py",
    "run_gauges.py",
    "submit.py",
    "job_log.py",
    "rollout/worker.py",
    "reward/worker.py",
    "learner/actor.py",
    "data/store/ray_dataset.py",
    "doctor/ask_nodes.py",
}
MAY_CATCH_EVERYTHING = {
    "cli/entry.py",
    "reward/plugin.py",
    "mirror.py",
    "runtime.py",
    *MAY_IMPORT_RAY,
}  # plugin.py: a user's code
VAGUE_NAMES = {"utils", "util", "common", "base", "helpers", "misc"}
MODULE_LINES, FUNCTION_LINES, CONFIG_FIELDS = 400, 60, 140


@dataclass(frozen=True)
class Import:
    """One imported module. `typing_only` stands under `if TYPE_CHECKING:` and so never runs."""

    target: str
    line: int
    typing_only: bool


@dataclass(frozen=True)
class Module:
    """What one source file says of itself. `path` is below fundus_ray/."""

    path: str
    lines: int
    imports: tuple[Import, ...]
    functions: tuple[tuple[str, int], ...]  # name, lines from its decorators to its end
    broad_excepts: tuple[int, ...]  # line numbers

    @property
    def part(self) -> str:
        """The folder, or the module's own name beside the folders."""
        return self.path.split("/")[0].removesuffix(".py")


def parse(path: str, source: str) -> Module:
    """Read one file without running it."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    guards = [n for n in nodes if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    guarded = {id(node) for guard in guards for statement in guard.body for node in ast.walk(statement)}
    return Module(
        path=path,
        lines=len(source.splitlines()),
        imports=tuple(
            Import(target, n.lineno, id(n) in guarded)
            for n in nodes
            if isinstance(n, ast.Import | ast.ImportFrom)
            for target in _targets(n)
        ),
        functions=tuple(
            (n.name, (n.end_lineno or 0) + 1 - min([n.lineno, *(d.lineno for d in n.decorator_list)]))
            for n in nodes
            if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ),
        broad_excepts=tuple(n.lineno for n in nodes if isinstance(n, ast.ExceptHandler) and _is_broad(n)),
    )


def _targets(node: ast.Import | ast.ImportFrom) -> list[str]:
    """What an import statement names; of `from fundus_ray import errors` that is fundus_ray.errors."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    module = "." * node.level + (node.module or "")
    return [f"{module}.{alias.name}" for alias in node.names] if module == "fundus_ray" else [module]


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(c, ast.Name) and c.id in ("Exception", "BaseException") for c in caught)


def package() -> list[Module]:
    """Every source file of fundus_ray."""
    return [parse(file.relative_to(ROOT).as_posix(), file.read_text()) for file in sorted(ROOT.rglob("*.py"))]


def own_imports(module: Module) -> Iterator[tuple[str, int]]:
    """(part, line) of each import from another part of fundus_ray."""
    for item in module.imports:
        if item.target.startswith("fundus_ray."):
            part = item.target.split(".")[1]
            if part in RANK and part != module.part:
                yield part, item.line


def wrong_direction(modules: Sequence[Module]) -> Iterator[str]:
    """Imports against the order of LAYERS, and files that LAYERS does not know."""
    for module in modules:
        if module.path == "__init__.py":
            continue
        if module.part not in RANK:
            yield f"{module.path}: {module.part} has no place in LAYERS"
            continue
        for part, line in own_imports(module):
            peers = RANK[part] == RANK[module.part] and (module.part, part) not in WITHIN_A_LAYER
            if RANK[part] > RANK[module.part] or peers:
                yield f"{module.path}:{line}: {module.part} must not import {part}"


def cycles(modules: Sequence[Module]) -> Iterator[str]:
    """A ring of parts that import each other."""
    graph = {m.part: {part for n in modules if n.part == m.part for part, _ in own_imports(n)} for m in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as err:
        yield " -> ".join(err.args[1])


def relative_imports(modules: Sequence[Module]) -> Iterator[str]:
    """Imports that LAYERS could not be checked on."""
    for module in modules:
        yield from (f"{module.path}:{i.line}: {i.target}" for i in module.imports if i.target.startswith("."))


def misplaced_heavy_imports(modules: Sequence[Module]) -> Iterator[str]:
    """Ray or network libraries where the code must run, and be tested, without them."""
    for module in modules:
        for item in module.imports:
            library = item.target.split(".")[0]
            networks = library in NETWORK_LIBRARIES and not MAY_IMPORT_NETWORK_LIBRARIES & {module.part, module.path}
            if not item.typing_only and (networks or (library == "ray" and module.path not in MAY_IMPORT_RAY)):
                yield f"{module.path}:{item.line}: imports {library}"


def broad_excepts(modules: Sequence[Module]) -> Iterator[str]:
    """`except Exception` and bare `except` away from a worker's boundary."""
    for module in modules:
        if module.path not in MAY_CATCH_EVERYTHING:
            yield from (f"{module.path}:{line}: catches everything" for line in module.broad_excepts)


def vague_names(modules: Sequence[Module]) -> Iterator[str]:
    """Folders and files named after nothing in particular."""
    for module in modules:
        if VAGUE_NAMES & set(module.path.removesuffix(".py").split("/")):
            yield f"{module.path}: name it after what it does"


def too_long(modules: Sequence[Module]) -> Iterator[str]:
    """Modules and functions that probably hold two jobs."""
    for module in modules:
        if module.lines > MODULE_LINES:
            yield f"{module.path}: {module.lines} lines, at most {MODULE_LINES}"
        for name, lines in module.functions:
            if lines > FUNCTION_LINES:
                yield f"{module.path}: {name} has {lines} lines, at most {FUNCTION_LINES}"


CHECKS = (
    wrong_direction,
    cycles,
    relative_imports,
    misplaced_heavy_imports,
    broad_excepts,
    vague_names,
    too_long,
)
Check = Callable[[Sequence[Module]], Iterator[str]]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_package_has_no(check: Check) -> None:
    assert list(check(package())) == []


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (wrong_direction, "obs/trace.py", "from fundus_ray.loop import train"),
        (wrong_direction, "loop.py", "def lazily():\n    from fundus_ray import runtime"),
        (wrong_direction, "data/source.py", "import fundus_ray.policy.load"),
        (wrong_direction, "knowledge/store.py", "from fundus_ray.reasoning.steps import read_chain"),
        (wrong_direction, "extras/new.py", ""),
        (relative_imports, "data/source.py", "from . import images"),
        (misplaced_heavy_imports, "data/images.py", "def lazily():\n    import torch.nn"),
        (misplaced_heavy_imports, "knowledge/store.py", "import torch"),
        (misplaced_heavy_imports, "loop.py", "from ray.util import state"),
        (misplaced_heavy_imports, "learner/loss.py", "import ray"),
        (broad_excepts, "data/images.py", "try:\n    pass\nexcept Exception:\n    pass"),
        (broad_excepts, "data/images.py", "try:\n    pass\nexcept (ValueError, BaseException) as err:\n    raise"),
        (broad_excepts, "data/images.py", "try:\n    pass\nexcept:\n    pass"),
        (vague_names, "data/utils.py", ""),
        (vague_names, "common/words.py", ""),
        (too_long, "loop.py", "\n" * (MODULE_LINES + 1)),
        (too_long, "loop.py", "def long():\n" + "    pass\n" * FUNCTION_LINES),
    ],
)
def test_check_catches(check: Check, path: str, source: str) -> None:
    assert len(list(check([parse(path, source)]))) == 1


def test_cycle_between_folders_is_caught() -> None:
    one = parse("sft/batch.py", "from fundus_ray.traces.writer import write")
    two = parse("traces/writer.py", "def lazily():\n    from fundus_ray.sft.batch import pack")
    assert list(cycles([one])) == []
    assert len(list(cycles([one, two]))) == 1


def test_imports_for_type_checkers_may_be_heavy() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"
    assert list(misplaced_heavy_imports([parse("types.py", source)])) == []


def test_configuration_stays_small() -> None:
    from fundus_ray.config import Config, documented_fields

    assert sum(1 for _ in documented_fields(Config())) <= CONFIG_FIELDS


def test_report_names_every_part() -> None:
    text = report(package())
    print(text)
    assert {part for part in RANK if (ROOT / part).is_dir()} <= {line.split(" ")[0] for line in text.splitlines()}


def report(modules: Sequence[Module]) -> str:
    """The import graph and the longest modules and functions, as text."""
    present = [part for part in RANK if any(m.part == part for m in modules)]
    lines = ["", f"{'part':<13}{'files':>5}{'lines':>7}   imports"]
    for part in present:
        own = [m for m in modules if m.part == part]
        imported = sorted({name for m in own for name, _ in own_imports(m)}, key=RANK.__getitem__)
        lines.append(f"{part:<13}{len(own):>5}{sum(m.lines for m in own):>7}   {' '.join(imported) or '-'}")
    lines.append(f"{'all':<13}{len(modules):>5}{sum(m.lines for m in modules):>7}")
    lines += ["", f"longest modules (at most {MODULE_LINES} lines)"]
    lines += [f"{m.lines:>5}  {m.path}" for m in sorted(modules, key=lambda m: -m.lines)[:8]]
    functions = sorted(((n, f"{m.path}: {name}") for m in modules for name, n in m.functions), reverse=True)
    lines += ["", f"longest functions (at most {FUNCTION_LINES} lines)"]
    lines += [f"{n:>5}  {name}" for n, name in functions[:8]]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(package()))

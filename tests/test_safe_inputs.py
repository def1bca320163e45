"""Nothing that comes from elsewhere is run: the source keeps off every way of loading code with data.

What is looked for: unpickling, loaders of weights and arrays that could unpickle, YAML with objects, remote code of
models, shells, code from text, archives that unpack anywhere, servers open to the network.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "fundus_ray"
UNPICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
SAFE_YAML = {"yaml.BaseLoader", "yaml.SafeLoader", "yaml.CSafeLoader", "_LOADER"}  # _LOADER: knowledge/vocabulary.py
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
UNSAFE = {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "os.system", "os.popen", "tarfile.open"}


def unsafe(source: str) -> Iterator[str]:
    """LINE: what is unsafe there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in UNPICKLES)
        elif isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {what}" for what in _unsafe_call(node))
        elif isinstance(node, ast.Constant) and node.value in ("0.0.0.0", "::"):
            yield f"{node.lineno}: listens everywhere"


def _unsafe_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in RUNS_TEXT or name in UNSAFE or name.endswith((".extractall", ".read_pickle")):
        yield f"calls {name}"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name == "yaml.load" and given.get("Loader") not in SAFE_YAML:
        yield "yaml.load without a safe loader"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if given.get("trust_remote_code", "False") != "False":
        yield "trust_remote_code"
    if given.get("shell", "False") != "False":
        yield "shell"


def test_no_module_loads_code_with_data_or_opens_itself_to_the_network() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{what}" for file in sorted(ROOT.rglob("*.py")) for what in unsafe(file.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "yaml.unsafe_load(text)",
        "AutoModel.from_pretrained(folder, trust_remote_code=True)",
        "AsyncEngineArgs(model=path, trust_remote_code=config.trust)",
        "subprocess.run(command, shell=True)",
        "archive.extractall(folder)",
        "eval(text)",
        "serve(host='0.0.0.0')",
    ],
)
def test_each_kind_is_seen(source: str) -> None:
    assert len(list(unsafe(source))) == 1


def test_the_safe_loader_is_safe() -> None:
    import yaml

    from fundus_ray.knowledge import vocabulary

    assert vocabulary._LOADER in (yaml.SafeLoader, yaml.CSafeLoader)

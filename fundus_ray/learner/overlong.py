"""The punishment of answers that come close to the longest one allowed.

In: lengths of completions [tokens]. Out: what is added to their total rewards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def overlong_penalty(lengths: NDArray[np.int64], *, max_tokens: int, overlong_tokens: int) -> NDArray[np.float64]:
    """0 up to max_tokens - overlong_tokens, then in a straight line down to -1 at max_tokens. [N] -> [N] in [-1, 0].

    DAPO's soft overlong punishment (arXiv 2503.14476, equation 13: L_max = max_tokens, L_cache = overlong_tokens). A
    total reward is in [0, 1], so -1 takes away all that a right answer earns. `overlong_tokens` 0 punishes nothing.
    """
    if not overlong_tokens:
        return np.zeros(lengths.shape)
    return np.clip((max_tokens - overlong_tokens - lengths) / overlong_tokens, -1.0, 0.0)

"""Held-out evaluation: greedy chains, the same scoring as training, intervals."""

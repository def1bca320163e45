"""Scores of rollouts: outcome, process, their weighting with reasons, and the worker that runs it."""

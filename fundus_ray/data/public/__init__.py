"""Readers of public data sets, one module a set or a family: the set's own files -> `Labelled` rows (registry.py)."""

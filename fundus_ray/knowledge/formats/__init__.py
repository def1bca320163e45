"""Readers, one a format: `read(data, where=...)` makes documents of a file's bytes.

Each raises DataError, one line that begins with `where`, for a file that it cannot read.
"""

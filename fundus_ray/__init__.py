"""Distributed RLVR on Ray for chain-of-thought reading of fundus images, after Fundus-R1.

Importing the package imports nothing else. Read `loop.py` first: it is the whole training loop on one screen.
"""

__version__ = "0.1.0"

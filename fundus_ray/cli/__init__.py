"""The command `fundus-ray`; `entry` holds the whole, each other module the commands of one topic."""

from fundus_ray.cli.entry import build_parser, explain, main, parse

__all__ = ["build_parser", "explain", "main", "parse"]

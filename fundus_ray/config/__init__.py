"""The one configuration tree: dataclasses with a line of documentation and an allowed range for every field.

    defaults (schema.py)  <-  one YAML recipe (only what differs)  <-  dotted overrides (`loop.async_ratio=0.5`)

`load` returns a checked `Config` or raises `ConfigError` in one line that names key, value, allowed range and remedy.
"""

from fundus_ray.config.load import load, read, to_yaml
from fundus_ray.config.rules import allowed, check
from fundus_ray.config.schema import Config, documented_fields
from fundus_ray.config.sources import DataConfig, KnowledgeConfig
from fundus_ray.config.update import LearnerConfig, RewardConfig

__all__ = [
    "Config",
    "DataConfig",
    "KnowledgeConfig",
    "LearnerConfig",
    "RewardConfig",
    "allowed",
    "check",
    "documented_fields",
    "load",
    "read",
    "to_yaml",
]

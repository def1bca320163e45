"""Defaults, a YAML recipe and dotted overrides become one checked `Config`, or one line that says what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fundus_ray.config.idle import check_effect
from fundus_ray.config.rules import check, check_ranges
from fundus_ray.config.schema import Config, documented_fields
from fundus_ray.errors import ConfigError


def load(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Defaults, then the YAML recipe, then `a.b=c` overrides; checked. Raises ConfigError, also for an override that
    has no effect under the other settings."""
    config = read(path, overrides)
    check(config)
    check_effect(config, [item.partition("=")[0] for item in overrides])
    return config


def read(path: str | Path | None, overrides: Sequence[str]) -> Config:
    """The same without the rules that join settings: those look for files, which may lie on another machine."""
    tree = OmegaConf.structured(Config)
    for origin, layer in _layers(path, overrides):
        for key in _leaf_keys(layer):
            _check_known(key, origin)
        try:
            tree = OmegaConf.merge(tree, layer)
        except OmegaConfBaseException as err:
            key = getattr(err, "full_key", "") or "?"
            raise ConfigError(
                f"{origin}: {key}: {str(err).splitlines()[0]}; `fundus-ray config` lists types and ranges"
            ) from None
    try:
        config = OmegaConf.to_object(tree)
    except OmegaConfBaseException as err:
        raise ConfigError(f"{path or 'command line'}: {' '.join(str(err).split())}") from None
    assert isinstance(config, Config)
    check_ranges(config)
    return config


def to_yaml(config: Config) -> str:
    """The resolved tree as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _layers(path: str | Path | None, overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if path is not None:
        try:
            layer = OmegaConf.load(path)
        except FileNotFoundError:
            raise ConfigError(f"config file {path} does not exist; shipped recipes are in configs/") from None
        except (YAMLError, OSError) as err:
            raise ConfigError(f"config file {path} cannot be read: {' '.join(str(err).split())}") from None
        if not OmegaConf.is_dict(layer):
            raise ConfigError(
                f"config file {path} must hold `section: {{key: value}}`, as configs/quickstart.yaml does"
            )
        yield str(path), layer
    for item in overrides:
        key, sep, _ = item.partition("=")
        if not sep or not key:
            raise ConfigError(f"override {item!r} is not of the form section.key=value")
        try:
            yield "command line", OmegaConf.from_dotlist([item])
        except (YAMLError, OmegaConfBaseException) as err:
            raise ConfigError(f"override {item!r} cannot be read: {' '.join(str(err).split())}") from None


def _leaf_keys(layer: Any) -> Iterator[str]:
    content: Any = OmegaConf.to_container(layer)
    for section, part in content.items():
        if isinstance(part, dict):
            yield from (f"{section}.{key}" for key in part)
        else:
            yield str(section)


def _check_known(key: str, origin: str) -> None:
    known = [k for k, _, _ in documented_fields(Config())]
    if key in known:
        return
    sections = {k.split(".")[0] for k in known}
    if key in sections:
        raise ConfigError(
            f"{origin}: {key} is a section: set one of its keys, e.g. {next(k for k in known if k.startswith(key))}"
        )
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`fundus-ray config` lists every key"
    raise ConfigError(f"{origin}: unknown key {key}; {hint}")

"""Addresses that lead nowhere."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fundus_ray.config import load
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.store import BuiltStore
from fundus_ray.obs.trace import Trace
from fundus_ray.runtime import start

import ray  # isort: skip  # after fundus_ray, which settles how loud Ray is


@pytest.mark.parametrize("address", ["here", "ray://head:10001", "head:", ":6379", "head:port"])
async def test_address_that_is_none_is_refused_before_ray_starts(address: str, tmp_path: Path) -> None:
    config = load(None, [f"ray.address='{address}'"])
    with pytest.raises(ConfigError, match=r"must be `local`, `auto` or HOST:PORT"):
        async with start(
            config,
            model_path=tmp_path,
            knowledge=BuiltStore(tmp_path, ""),
            run_dir=tmp_path,
            trace=Trace(),
            tell=lambda _: None,
        ):
            pass
    assert not ray.is_initialized()


async def test_address_where_nothing_answers_is_refused_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = load(None, [f"ray.address='{address}'"])
        with pytest.raises(ConfigError, match=f"{address}: nothing answers there"):
            async with start(
                config,
                model_path=tmp_path,
                knowledge=BuiltStore(tmp_path, ""),
                run_dir=tmp_path,
                trace=Trace(),
                tell=lambda _: None,
            ):
                pass

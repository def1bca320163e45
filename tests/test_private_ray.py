"""Ray itself, started privately and joined: what listens where, and what a wrong token says."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from fundus_ray.cluster import cluster
from fundus_ray.config import load
from fundus_ray.places import Ask, Bundle, Group

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_private_ray_listens_on_loopback_only_and_has_no_dashboard() -> None:
    import ray

    with cluster(load(None, []), [Group("reward", "SPREAD", (Bundle((Ask("one", 1.0, 0.0),)),))]):
        ray.get(ray.remote(lambda: os.getpid()).remote())  # a worker has its ports too
        family = {os.getpid(), *(one.pid for one in psutil.Process().children(recursive=True))}
        found = [c for c in psutil.net_connections("inet") if c.pid in family and c.status == psutil.CONN_LISTEN]
        places = [c.laddr for c in found if c.laddr]
    assert len(places) >= 8  # of the head, the raylet, its agents, a worker and this process
    assert {place.ip for place in places} <= LOOPBACK
    assert 8265 not in {place.port for place in places}
    token = Path.home() / ".ray" / "auth_token"
    assert not token.is_file() or token.stat().st_mode & 0o077 == 0
    assert os.environ["RAY_AUTH_MODE"] == "token"

"""Whether a cluster that others can reach lets only those in who hold its token.

In: the addresses of its machines, this process's environment. Out: findings. The token itself is never read.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fundus_ray.connecting import MODE, TOKEN, TOKEN_PATH, token_place
from fundus_ray.doctor.ask_nodes import HERE
from fundus_ray.doctor.findings import Finding, fail, warn

CHECK = "token"


def token(names: Sequence[str]) -> Iterator[Finding]:
    """`names`: of the machines, beginning with their addresses."""
    mode, place = os.environ.get(MODE, "").lower(), token_place()
    if not any(_routable(name.partition("/")[0]) for name in names):
        yield Finding(CHECK, HERE, "a cluster on loopback: nobody else can reach it")
        return
    if mode == "token" and not place:
        found = f"{MODE}=token, but neither {TOKEN} nor {TOKEN_PATH} nor ~/.ray/auth_token holds one"
        yield fail(CHECK, HERE, found, "copy the head's (there: `ray get-auth-token`) to ~/.ray/auth_token, chmod 600")
        return
    if mode != "token" and (mode or not place):
        found = f"{MODE} is {mode or 'not set'}: whoever reaches the cluster's ports can run code on it"
        remedy = f"start every machine and client with {MODE}=token and one token (`ray get-auth-token --generate`)"
        yield warn(CHECK, HERE, found, remedy)
        return
    path = Path(place)
    if path.is_file() and path.stat().st_mode & 0o077:
        found = f"{place} can be read by other users of this machine (mode {path.stat().st_mode & 0o777:o})"
        yield warn(CHECK, HERE, found, f"chmod 600 {place}")
        return
    yield Finding(CHECK, HERE, f"that of {place}")


def _routable(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address != "localhost"

"""Why a cluster does not let us in, and what to do: one line.

In: what Ray raised while connecting or submitting, whatever its class. Out: the cause as a user can act on it. Ray's
own accounts of a wrong token run over a page, and that of a head beside a leftover one is a failed assertion.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
SHARE_IT = (
    "copy the head's token to ~/.ray/auth_token here (chmod 600; on the head `ray get-auth-token` prints it) and set "
    f"{MODE}=token"
)
LEFTOVER = (
    "where a head was left over from before, stop that one on its machine (`ray stop`), or give the new one its own "
    "--port, --dashboard-port and --dashboard-agent-listen-port"
)


NO_ANSWER = "no Ray cluster answers"


def explain_connection(err: BaseException) -> str:
    """The cause and its remedy, in one line. Causes that Ray chains to `err` are read too."""
    text = " ".join(" ".join(str(one).split()) for one in _chain(err))
    low = text.lower()
    if f"{TOKEN_PATH} is set but" in text:
        return (
            f"{TOKEN_PATH}={os.environ.get(TOKEN_PATH, '')} names no readable file on {socket.gethostname()}, or an "
            "empty one; put the head's token into it (on the head `ray get-auth-token` prints it)"
        )
    if "invalid authentication token" in low or "invalidauthtoken" in low or "missing authentication token" in low:
        return f"the cluster asks for a token, and {_what_was_sent()}; {SHARE_IT}; {LEFTOVER}"
    if "no authentication token was found" in low:
        return f"{MODE}=token is set on {socket.gethostname()}, but {_what_was_sent()}; {SHARE_IT}"
    if "is already running at" in low or ("session name" in low and "does not match persisted value" in low):
        return f"another head answers at this address; {LEFTOVER}"
    if "version mismatch" in low:
        return f"{one_line(text)}; install the same Python and Ray here as on the cluster"
    if "no available agent" in low:
        return (
            "its head has no agent for jobs: it has just come up, or the agent's port (52365) is another Ray's on that "
            "machine: give one of them its own --dashboard-agent-listen-port"
        )
    if "could not find any running ray instance" in low:
        return "no Ray cluster runs on this machine; start one with `ray start --head`, or set ray.address=local"
    if any(sign in low for sign in ("failed to connect", "timed out", "unable to connect", "connection refused")):
        return f"{NO_ANSWER} ({one_line(text)}); start one with `ray start --head`; {LEFTOVER}"
    return one_line(text)


def one_line(err: object) -> str:
    """An error's text without its line breaks, of bearable length."""
    text = " ".join(str(err).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


def token_place() -> str:
    """Where Ray reads this process's token, in its own order of preference; "" where there is none."""
    if os.environ.get(TOKEN):
        return f"the variable {TOKEN}"
    path = Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")
    return str(path) if path.is_file() and path.stat().st_size else ""


def keep_token_private() -> None:
    """Ray makes its token readable by every user of the machine, who could then run code as this one; take that
    away."""
    path = Path.home() / ".ray" / "auth_token"
    if path.is_file() and path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _what_was_sent() -> str:
    mode, place = os.environ.get(MODE, "").lower(), token_place()
    if mode and mode != "token":
        return f"none was sent from {socket.gethostname()} as {MODE}={mode}"
    if not place:
        return f"there is none on {socket.gethostname()}"
    return f"that of {place} on {socket.gethostname()} is another one"


def _chain(err: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = err
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__

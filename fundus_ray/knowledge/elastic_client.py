"""A connection to an Elasticsearch cluster: requests with time limits and retries; errors that name host and remedy.

The API key goes from its variable or file to the client and nowhere else: not into the configuration, and out of every
error's text, also where the other side sends it back.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from elastic_transport.client_utils import DEFAULT
from elasticsearch import ApiError, AsyncElasticsearch, ConnectionError, ConnectionTimeout, SSLError, TransportError
from elasticsearch.exceptions import UnsupportedProductError

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.retriever import SearchError

RETRIED = (429, 502, 503, 504)  # the cluster is busy, or not there at this moment
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0

OPEN_TO_OTHERS = 0o027  # read by others, or written by the group
_KEYS: set[str] = set()  # that this process has used

T = TypeVar("T")


class Busy(Exception):
    """An answer that says "not now" inside a success; to be raised by a request, which is then tried again."""


class Cluster:
    """Every request is tried knowledge.retries + 1 times, each for at most knowledge.timeout_s."""

    def __init__(self, config: KnowledgeConfig) -> None:
        """Connects to nothing yet. Raises ConfigError for an address, certificate or key that cannot be used."""
        key = api_key(config)
        self.url = config.url
        self._timeout_s, self._tries = config.timeout_s, config.retries + 1
        try:
            self._client = AsyncElasticsearch(
                config.url,
                api_key=key or None,
                ca_certs=config.ca_certs or DEFAULT,
                request_timeout=config.timeout_s,
                max_retries=0,  # retried here, with pauses
                retry_on_timeout=False,
            )
        except (ValueError, OSError) as err:
            raise ConfigError(f"knowledge.url={config.url}: {one_line(err)}") from None

    async def ask(self, what: str, request: Callable[[AsyncElasticsearch], Awaitable[T]]) -> T:
        """The request's answer. Raises SearchError; lets NotFoundError and BadRequestError through to the caller.

        Pauses grow exponentially and are drawn from [0, pause], so that many workers do not come back at once
        (Brooker: Exponential backoff and jitter, AWS architecture blog, 2015).
        """
        failure = ""
        for attempt in range(self._tries):
            if attempt:
                pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1))
                await asyncio.sleep(random.uniform(0, pause_s))
            try:
                # The client keeps the limit too; this one also holds while a connection waits for its turn.
                async with asyncio.timeout(self._timeout_s):
                    return await request(self._client)
            except SSLError as err:
                raise SearchError(
                    f"{self.url}: no secure connection ({one_line(err)}); set knowledge.ca_certs to the cluster's "
                    "certificate authority, or correct http/https in knowledge.url"
                ) from None
            except (TimeoutError, ConnectionTimeout):
                failure = f"no answer within knowledge.timeout_s={self._timeout_s:g}"
            except (ConnectionError, Busy) as err:
                failure = one_line(err)
            except UnsupportedProductError:
                raise SearchError(f"{self.url}: what answers is not Elasticsearch; correct knowledge.url") from None
            except TransportError as err:
                raise SearchError(f"{self.url}: {what}: {one_line(err)}") from None
            except ApiError as err:
                if err.status_code in (400, 404):
                    raise
                if err.status_code not in RETRIED:
                    raise SearchError(f"{self.url}: {what}: {_refusal(err)}") from None
                failure = one_line(err)
        raise SearchError(
            f"{self.url}: {what} failed {self._tries} times, last: {failure}; start Elasticsearch there, correct "
            "knowledge.url, or set knowledge.store=embedded"
        )

    async def close(self) -> None:
        """Free connections."""
        await self._client.close()


def api_key(config: KnowledgeConfig) -> str:
    """The cluster's key, "" where none is set. Raises ConfigError where its variable or file is not there, or others
    may read the file."""
    key = ""
    if config.api_key_env:
        key = os.environ.get(config.api_key_env, "")
        if not key:
            raise ConfigError(
                f"knowledge.api_key_env={config.api_key_env}: this variable is not set on {socket.gethostname()}; put "
                "the API key into it, on every machine of the cluster"
            )
    elif config.api_key_file:
        key = _read_key(Path(config.api_key_file))
    if key:
        _KEYS.add(key)
    return key


def _read_key(path: Path) -> str:
    setting = f"knowledge.api_key_file={path} on {socket.gethostname()}"
    try:
        mode = path.stat().st_mode
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{setting} cannot be read ({err}); put the API key into it, on every machine") from None
    if mode & OPEN_TO_OTHERS:
        raise ConfigError(f"{setting} is open to other users (mode {mode & 0o777:o}); chmod 600 {path}")
    if len(key.split()) != 1:
        raise ConfigError(f"{setting} must hold the API key and nothing else")
    return key


def one_line(err: object) -> str:
    """An error's text without its line breaks and without API keys, of bearable length."""
    text = " ".join(str(err).split())
    for key in _KEYS:
        text = text.replace(key, "***")
    return text[:300]


def _refusal(err: ApiError) -> str:
    if err.status_code in (401, 403):
        return (
            f"credentials refused ({err.status_code}); put an API key that may read and build this index into an "
            "environment variable and name that in knowledge.api_key_env"
        )
    return one_line(err)

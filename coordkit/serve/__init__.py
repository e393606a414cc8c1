"""The simulated model as an OpenAI-compatible endpoint, or its faults in front of a real one.

So that an agent in any framework or language can be put on the reliability sliders.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address

import uvicorn

from coordkit.cases import load_case
from coordkit.cases.base import Case
from coordkit.data.sample import CASES
from coordkit.faults import Simulation
from coordkit.serve.app import Options, make_app

__all__ = ["Options", "Served", "serve", "serving"]


@dataclass(frozen=True)
class Served:
    """A running endpoint.

    Attributes:
        url: the base URL that clients want, such as ``http://127.0.0.1:8321/v1``.
        metrics_url: where the counts are.
    """

    url: str

    @property
    def metrics_url(self) -> str:
        return self.url.removesuffix("/v1") + "/metrics"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


_named = cache(load_case)  # for its skills, which hold none of its data


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; bound here, so that the port is known and taken when this returns."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family)
    # asyncio sets TCP_NODELAY only where the protocol is named; without it a call takes 40 ms more.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, bound.detach())


@contextmanager
def serving(
    simulation: Simulation | None = None,
    *,
    options: Options | None = None,
    cases: Sequence[str | Case] = tuple(CASES),
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[Served]:
    """Serve in a thread of this process; requests under way get two seconds to end.

    Args:
        simulation: settings of the dice, in short for ``options=Options(simulation)``.
        options: all settings.
        cases: names of cases, or cases, whose prompts are answered with skill.
        host: address to listen at.
        port: where to listen; 0 takes a free one.

    Raises:
        OSError: if the port is taken.
    """
    options = options or Options(simulation or Simulation())
    skilled = [_named(case) if isinstance(case, str) else case for case in cases]
    config = uvicorn.Config(
        make_app(options, [] if options.upstream else skilled),
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    with _listen(host, port) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.002)
            name, port = listener.getsockname()[:2]
            yield Served(
                f"http://[{name}]:{port}/v1" if ":" in name else f"http://{name}:{port}/v1"
            )
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def serve(options: Options, host: str, port: int, announce: Callable[[Served], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        options: all settings.
        host: address to listen at.
        port: where to listen; 0 takes a free one.
        announce: called with the address once the port is taken.

    Raises:
        ValueError: if others could reach the endpoint and it asks for no token.
        OSError: if the port is taken.
    """
    if not is_loopback(host) and not options.token:
        raise ValueError(f"{host} can be reached by others: set COORDKIT_SERVE_TOKEN first")
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have started us without Ctrl-C
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), serving(options=options, host=host, port=port) as served:
        announce(served)
        while True:
            time.sleep(1)

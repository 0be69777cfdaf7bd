"""Notice that a cluster is gone. Ray itself waits for a dead raylet without an end.

The raylet of the driver's machine and the GCS (the control process of the cluster) are greeted
every few seconds; when one of them gives no answer for long enough, the job ends.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import socket
import sys
import threading
import time
from typing import Any

import ray

from longvid.errors import ClusterError

_CHECK_SECONDS, _ANSWER_SECONDS = 5.0, 5.0
#: A process that cannot be reached for this long is dead; the GCS may be restarted meanwhile.
_DOWN_SECONDS = 15.0
#: The preface of RFC 9113, section 3.4, and an empty SETTINGS frame.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
#: Ray's own cleaning up at the end of a process waits for what is dead.
_EXIT_SECONDS = 20.0


class ClusterHealth:
    """Waits for results, as long as the cluster is there.

    Raises:
        ClusterError: The cluster does not say where its processes are.
    """

    def __init__(self) -> None:
        self.lost = False
        context = ray.get_runtime_context()
        me = context.get_node_id()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own
        host, _, port = str(context.gcs_address).rpartition(":")
        self._addresses = {"head (GCS)": (host.strip("[]"), int(port))}
        for node in nodes:
            if node["NodeID"] == me:
                raylet = str(node["NodeManagerAddress"]), int(node["NodeManagerPort"])
                self._addresses["raylet"] = raylet
        self._down_since: dict[str, float] = {}
        self._checked = time.monotonic()
        _bound_exit(tuple(self._addresses.values()))

    def wait(self, refs: list[ray.ObjectRef[object]]) -> list[ray.ObjectRef[object]]:
        """Wait until some of the results are there, and return these references.

        Raises:
            ClusterError: A process of the cluster is gone.
        """
        while True:
            ready, rest = ray.wait(refs, timeout=_CHECK_SECONDS, fetch_local=False)
            self._check()
            if ready:
                if rest:
                    more, _ = ray.wait(rest, num_returns=len(rest), timeout=0, fetch_local=False)
                    ready += more
                return ready

    def _check(self) -> None:
        """Connect to the processes of the cluster, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._checked < _CHECK_SECONDS:
            return
        for name, address in self._addresses.items():
            if _answers(address):
                self._down_since.pop(name, None)
            elif now - self._down_since.setdefault(name, now) >= _DOWN_SECONDS:
                self.lost = True
                raise ClusterError(
                    f"The {name} of the Ray cluster at {address[0]}:{address[1]} has ended; what "
                    "was finished is kept. Start the cluster again and run the same command."
                )
        self._checked = time.monotonic()


def ask(host: str, port: int) -> None:
    """Greet a gRPC server and wait for its first word.

    The kernel accepts connections for a process that is stopped or hangs, so that a connection
    alone says little. A server that wants TLS hangs up: that too is an answer.

    Raises:
        OSError: There is no answer within some seconds.
    """
    with socket.create_connection((host, port), _ANSWER_SECONDS) as connection:
        connection.sendall(_HTTP2_GREETING)
        with contextlib.suppress(ConnectionError):
            connection.recv(1)


def _answers(address: tuple[str, int]) -> bool:
    try:
        ask(*address)
    except OSError:
        return False
    return True


@functools.cache
def _bound_exit(addresses: tuple[tuple[str, int], ...]) -> None:
    """See to it that this process ends, whenever that is, even if the cluster lets go of nothing.

    The thread is started here because none can be started once the interpreter is ending.
    """
    leaving = threading.Event()
    atexit.register(leaving.set)
    threading.Thread(target=_end_in_time, args=(addresses, leaving), daemon=True).start()


def _end_in_time(addresses: tuple[tuple[str, int], ...], leaving: threading.Event) -> None:
    leaving.wait()
    while True:
        time.sleep(_EXIT_SECONDS)
        for address in addresses:
            if not _answers(address):
                with contextlib.suppress(OSError):
                    sys.stdout.flush()
                    print(
                        f"longvid: The Ray cluster at {address[0]}:{address[1]} gives no answer at "
                        "the end of this process; what was finished is kept.",
                        file=sys.stderr,
                        flush=True,
                    )
                os._exit(1)

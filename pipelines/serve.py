"""Host the same server on Ray Serve, where a cluster already runs.

    serve run pipelines.serve:app store=/data/store data=/data/server
    python -m pipelines.serve --store /data/store --data /data/server

One replica serves all: jobs and uploads are kept in the data folder of one process. Ray Serve
restarts it when it dies; what was queued goes on.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve

from longvid.server.app import create_app
from longvid.server.settings import ServerSettings

_MOST_REQUESTS = 256


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=_MOST_REQUESTS,
    max_queued_requests=_MOST_REQUESTS,
    ray_actor_options={"num_cpus": 1},
)
@serve.ingress()
class LongvidServer:
    """The server as a deployment.

    Args:
        settings: What it serves, and to whom.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._settings)


def app(arguments: dict[str, str]) -> Any:
    """Return the application for `serve run`, from `name=value` words.

    Args:
        arguments: store, data, and optionally config, keys (a key file) and hosts.
    """
    keys = arguments.get("keys")
    hosts = tuple(filter(None, arguments.get("hosts", "").split(",")))
    settings = ServerSettings(
        stores={"store": arguments["store"]},
        data_dir=Path(arguments["data"]),
        config=arguments.get("config", "mini"),
        api_key_file=Path(keys) if keys else None,
        allowed_hosts=hosts,
    )
    return LongvidServer.bind(settings)  # type: ignore[attr-defined]  # made by the decorator


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process is stopped."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.serve", description=__doc__)
    parser.add_argument("--store", required=True, metavar="PATH|URI")
    parser.add_argument("--data", required=True, metavar="FOLDER")
    parser.add_argument("--config", default="mini", metavar="NAME|FILE")
    parser.add_argument("--keys", default="", metavar="FILE", help="TOML with [[key]] tables")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    words = {name: getattr(options, name) for name in ("store", "data", "config", "keys")}
    serve.start(http_options={"host": options.host, "port": options.port})
    serve.run(app(words), name="longvid", route_prefix="/")
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    stopped.wait()
    serve.shutdown()  # type: ignore[no-untyped-call]  # Ray does not type it
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Join a cluster and start a job's actors on it, first of all that a driver does.

A process takes half a second to come up and longer to import what it needs, so the driver reads
its configuration and probes its files in the meantime. It never imports torch.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.services import canonicalize_bootstrap_address

from longvid.cluster.actor_pool import Pool
from longvid.cluster.health import ClusterHealth, ask
from longvid.cluster.placement import Plan, make_plan
from longvid.config import Config, Layout
from longvid.errors import ClusterError

_LOCAL = "local"
_IMPORTED_NEXT = "longvid.cluster.job"
#: Chunks that wait in a single actor which decodes and encodes; `frame_batches` bounds them too.
_MOST_WAITING = 32


@dataclass(frozen=True, slots=True)
class Actors:
    """The processes of a job, which come up while the driver goes on.

    Args:
        plan: How many of each.
        decode: Decoding actors, or those that decode and encode.
        encode: Encoding actors, None where decoding is fused into them.
        health: Of the cluster.
    """

    plan: Plan
    decode: Pool
    encode: Pool | None
    health: ClusterHealth

    @property
    def pools(self) -> list[Pool]:
        """All of them, the end of the path first."""
        return [self.decode] if self.encode is None else [self.encode, self.decode]

    def close(self) -> None:
        """End them; those of a cluster that is gone cannot be reached."""
        for pool in self.pools if not self.health.lost else ():
            pool.close()


def start(layout: Layout | Config, announce: Callable[[str], None] | None = None) -> Actors:
    """Connect and start the actors that decode and encode; they are ready some seconds later.

    Args:
        layout: Says how work is cut and what actors ask for.
        announce: Called with a sentence that names the cluster.

    Raises:
        ConfigError: The plan does not fit.
        ClusterError: There is no cluster and none can be started.
    """
    sentence = connect()
    if announce is not None:
        announce(sentence)
    health = ClusterHealth()
    plan = plan_for(layout)
    resources = layout.ray
    share: dict[str, Any] = {"num_cpus": plan.encode_cpus, "num_gpus": resources.encode_gpus}
    if plan.fused_decoders:
        # As many again wait for the encoder; more would be taken from actors that stand idle.
        waiting = plan.fused_decoders if plan.encode_actors > 1 else _MOST_WAITING
        calls = plan.fused_decoders + waiting
        pool = Pool(plan.encode_actors, calls, max_concurrency=calls, **share)
        return Actors(plan, pool, None, health)
    # The encoder first: its weights take long to load.
    encode = Pool(plan.encode_actors, **share)
    decode = Pool(plan.decode_actors, num_cpus=resources.decode_cpus)
    return Actors(plan, decode, encode, health)


def connect() -> str:
    """Join the cluster that RAY_ADDRESS or this machine names, or start one here.

    Returns:
        Which of these it did, in one sentence.

    Raises:
        ClusterError: There is no answer.
    """
    # A job that ends by an error tells it once, not again for every call that was under way.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # Actors tell the cluster of their calls; a driver that did so too would end a moment later.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    if ray.is_initialized():
        return f"joined the Ray cluster at {ray.get_runtime_context().gcs_address}"
    address = _address()
    options: Any = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address == _LOCAL:
        # A dashboard takes seconds to start, and nobody asked for it.
        options["include_dashboard"] = False
    # What the driver imports next, it can import while it waits for an answer.
    threading.Thread(target=importlib.import_module, args=(_IMPORTED_NEXT,)).start()
    try:
        ray.init(address, **options)
    except Exception as error:  # Ray raises a bare Exception for a time-out
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _no_answer(reason) from error
    # By itself Ray leaves half a second later, for messages of workers, which nobody is shown here.
    atexit.register(ray.shutdown)
    did = "started Ray here, at" if address == _LOCAL else "joined the Ray cluster at"
    return f"{did} {ray.get_runtime_context().gcs_address}"


def _address() -> str:
    """Say where to connect. Ray itself waits for minutes at the address of a cluster that ended."""
    named = os.environ.get("RAY_ADDRESS", "")
    if "://" in named:
        return named
    try:
        found = canonicalize_bootstrap_address(named or "auto")
    except ConnectionError:
        found = None
    except (OSError, ValueError) as error:
        raise _no_answer(str(error)) from error
    if found is None:
        return _LOCAL
    host, _, port = found.rpartition(":")
    try:
        ask(host.strip("[]"), int(port))
    except OSError as error:
        if named:
            raise _no_answer(f"{found}: {error.strerror or error}") from error
        return _LOCAL
    return named or "auto"


def _no_answer(reason: str) -> ClusterError:
    return ClusterError(
        f"The Ray cluster cannot be reached ({reason}); check RAY_ADDRESS, set RAY_AUTH_MODE=token "
        "if the cluster asks for its token, or unset RAY_ADDRESS to use this machine alone."
    )


def nodes() -> list[dict[str, float]]:
    """Return what each machine of the cluster offers."""
    found = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own
    return [node["Resources"] for node in found if node["Alive"]]


def plan_for(layout: Layout | Config) -> Plan:
    """Fit a job to the cluster that was joined.

    Raises:
        ConfigError: It does not fit.
    """
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own
    return make_plan(layout, cluster, nodes())

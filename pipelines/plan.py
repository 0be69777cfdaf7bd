"""Fit the stages to a cluster, or say with the sum why they do not fit.

This module knows numbers of processors, not Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longvid.config import Config, RayResources
from longvid.errors import ConfigError

__all__ = ["Plan", "make_plan", "plan_decoders"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many actors each stage gets.

    Args:
        probe_actors, decode_actors, encode_actors: Counts; no decoding actors when fused.
        frame_batches: Decoded segments that may wait for the encoders.
        cpus, gpus: What all actors take together.
    """

    probe_actors: int
    decode_actors: int
    encode_actors: int
    frame_batches: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        decode = f"{self.decode_actors} decoding, " if self.decode_actors else "decoding fused: "
        return (
            f"{self.probe_actors} probing, {decode}{self.encode_actors} encoding actors on "
            f"{self.cpus:g} CPUs and {self.gpus:g} GPUs, at most {self.frame_batches} frame "
            "batches between them"
        )


def make_plan(
    config: Config, cluster: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()
) -> Plan:
    """Decide how many actors each stage gets.

    Args:
        config: Its [ray] table says what an actor takes.
        cluster: Totals, as `ray.cluster_resources()` gives them.
        nodes: The same by machine: an actor must fit on one of them.

    Raises:
        ConfigError: The actors do not fit.
    """
    resources = config.ray
    decoders = 0 if resources.fused else plan_decoders(resources, cluster)
    if resources.fused:
        _require_cpus(resources, 0, cluster.get("CPU", 0.0))
        _require_gpus(resources, cluster.get("GPU", 0.0))
    for stage, cpus, gpus in (
        ("probe", resources.probe_cpus, 0.0),
        ("decode", 0.0 if resources.fused else resources.decode_cpus, 0.0),
        ("encode", resources.encode_cpus, resources.encode_gpus),
    ):
        _require_node(stage, cpus, gpus, nodes)
    chunks = 2 * (decoders + resources.encode_actors)
    chunk_segments = config.sample.chunk_segments
    return Plan(
        probe_actors=resources.probe_actors,
        decode_actors=decoders,
        encode_actors=resources.encode_actors,
        # Less than one chunk would let nothing through.
        frame_batches=max(chunk_segments, resources.frame_batches or chunks * chunk_segments),
        cpus=_others(resources) + decoders * resources.decode_cpus,
        gpus=resources.encode_actors * resources.encode_gpus,
    )


def plan_decoders(resources: RayResources, cluster: Mapping[str, float]) -> int:
    """Say how many decoding actors fit beside the other stages.

    Ray Data waits for ever when actors leave no share for the tasks that feed them, so a plan that
    cannot be scheduled is refused here, with the sum.

    Args:
        resources: The configuration's [ray] table.
        cluster: What `ray.cluster_resources()` offers.

    Raises:
        ConfigError: Not even one decoding actor fits.
    """
    cpus = cluster.get("CPU", 0.0)
    most = int((cpus - _others(resources) + 1e-9) / resources.decode_cpus)
    wanted = resources.decode_actors or most
    _require_cpus(resources, max(wanted, 1), cpus)
    _require_gpus(resources, cluster.get("GPU", 0.0))
    return wanted


def _others(resources: RayResources) -> float:
    return (
        resources.probe_actors * resources.probe_cpus
        + resources.encode_actors * resources.encode_cpus
    )


def _require_cpus(resources: RayResources, decoders: int, cpus: float) -> None:
    needed = _others(resources) + decoders * resources.decode_cpus
    if needed > cpus + 1e-9:
        decode = f" + decode {decoders} x {resources.decode_cpus:g}" if decoders else ""
        raise ConfigError(
            f"The plan needs {needed:g} CPUs (probe {resources.probe_actors} x "
            f"{resources.probe_cpus:g} + encode {resources.encode_actors} x "
            f"{resources.encode_cpus:g}{decode}), the cluster has {cpus:g}; lower the shares in "
            "[ray] or add machines."
        )


def _require_gpus(resources: RayResources, gpus: float) -> None:
    needed = resources.encode_actors * resources.encode_gpus
    if needed > gpus + 1e-9:
        raise ConfigError(
            f"The plan needs {needed:g} GPUs ({resources.encode_actors} encoding actors x "
            f"{resources.encode_gpus:g}), the cluster has {gpus:g}; lower ray.encode_gpus or add "
            "machines."
        )


def _require_node(
    stage: str, cpus: float, gpus: float, nodes: Sequence[Mapping[str, float]]
) -> None:
    """Require that one actor of a stage fits on one machine: it cannot be spread over two."""
    fits = (node.get("CPU", 0.0) >= cpus and node.get("GPU", 0.0) >= gpus for node in nodes)
    if nodes and not any(fits):
        largest = max(node.get("CPU", 0.0) for node in nodes)
        raise ConfigError(
            f"The plan needs {cpus:g} CPUs and {gpus:g} GPUs on one machine for an actor that "
            f"does {stage}, the largest machine has {largest:g} CPUs; lower ray.{stage}_cpus."
        )

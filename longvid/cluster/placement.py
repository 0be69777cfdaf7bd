"""Fit the stages to a cluster; an error shows the sum when they do not fit.

This module knows numbers of processors, not Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longvid.config import Config, Layout, RayResources
from longvid.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Plan:
    """How many actors each stage gets.

    Args:
        probe_actors, decode_actors, encode_actors: Counts; no decoding actors when fused.
        fused_decoders: Chunks that each encoding actor decodes at a time, 0 when not fused.
        encode_cpus: What one encoding actor takes, with the decoding that is fused into it.
        frame_batches: Decoded segments that may wait for the encoders.
        cpus, gpus: What all actors take together.
    """

    probe_actors: int
    decode_actors: int
    encode_actors: int
    fused_decoders: int
    encode_cpus: float
    frame_batches: int
    cpus: float
    gpus: float

    @property
    def num_decoders(self) -> int:
        """Chunks that are decoded at a time."""
        return self.decode_actors + self.fused_decoders * self.encode_actors

    def __str__(self) -> str:
        decode = f"{self.decode_actors} decoding, {self.encode_actors} encoding actors"
        if self.fused_decoders:
            decode = (
                f"decoding fused: {self.encode_actors} encoding actors that decode "
                f"{self.fused_decoders} chunks at a time each,"
            )
        return (
            f"{self.probe_actors} probing, {decode} on {self.cpus:g} CPUs and {self.gpus:g} GPUs, "
            f"at most {self.frame_batches} frame batches between them"
        )


def make_plan(
    config: Config | Layout, cluster: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()
) -> Plan:
    """Decide how many actors each stage gets.

    Args:
        config: Its [ray] table says what an actor takes.
        cluster: Totals, as `ray.cluster_resources()` gives them.
        nodes: The same by machine: an actor must fit on one of them. Where only one has
            processors, decoding is fused unless `ray.decode_actors` asks for actors of its own.

    Raises:
        ConfigError: The actors do not fit.
    """
    resources = config.ray
    alone = sum(node.get("CPU", 0.0) > 0 for node in nodes) == 1
    fused = resources.fused or (alone and not resources.decode_actors)
    decoders = 0 if fused else plan_decoders(resources, cluster)
    if fused:
        _require_cpus(resources, 0, cluster.get("CPU", 0.0))
        _require_gpus(resources, cluster.get("GPU", 0.0))
    for stage, cpus, gpus in (
        ("probe", resources.probe_cpus, 0.0),
        ("decode", 0.0 if fused else resources.decode_cpus, 0.0),
        ("encode", resources.encode_cpus, resources.encode_gpus),
    ):
        _require_node(stage, cpus, gpus, nodes)
    # Without a share for even one, a chunk is decoded within the share of its encoder.
    beside = _beside_encoders(resources, cluster, nodes) if fused else 0
    inside = max(1, beside) if fused else 0
    chunks = 2 * (decoders + resources.encode_actors * max(1, inside))
    chunk_segments = config.sample.chunk_segments
    decode_cpus = (decoders + beside * resources.encode_actors) * resources.decode_cpus
    return Plan(
        probe_actors=resources.probe_actors,
        decode_actors=decoders,
        encode_actors=resources.encode_actors,
        fused_decoders=inside,
        encode_cpus=resources.encode_cpus + beside * resources.decode_cpus,
        # Less than one chunk would let nothing through.
        frame_batches=max(chunk_segments, resources.frame_batches or chunks * chunk_segments),
        cpus=_others(resources) + decode_cpus,
        gpus=resources.encode_actors * resources.encode_gpus,
    )


def room_for_frames(plan: Plan, config: Config) -> int:
    """Return how many decoded segments may wait for the encoders.

    Where frames never leave the one actor they are held back by their bytes, as on one machine
    without Ray: small ones are all decoded while the weights load.
    """
    if not plan.fused_decoders or plan.encode_actors > 1 or config.ray.frame_batches:
        return plan.frame_batches
    size = config.encoder.frame_size()
    segment_bytes: int = 3 * size.height * size.width * config.sample.segment_frames
    held = config.run.prefetch_mb * 1_000_000 // segment_bytes
    return max(plan.frame_batches, held)


def _beside_encoders(
    resources: RayResources, cluster: Mapping[str, float], nodes: Sequence[Mapping[str, float]]
) -> int:
    """Return how many chunks each encoding actor may decode at a time on the processors left."""
    spare = cluster.get("CPU", 0.0) - _others(resources)
    most = int((spare / resources.encode_actors + 1e-9) / resources.decode_cpus)
    if resources.decode_actors:
        most = min(most, resources.decode_actors // resources.encode_actors)

    def room(share: float) -> int:
        return sum(int((node.get("CPU", 0.0) + 1e-9) / share) for node in nodes)

    def fits(decoders: int) -> bool:
        share = resources.encode_cpus + decoders * resources.decode_cpus
        return not nodes or not share or room(share) >= resources.encode_actors

    return next((count for count in range(most, 0, -1) if fits(count)), 0)


def plan_decoders(resources: RayResources, cluster: Mapping[str, float]) -> int:
    """Return how many decoding actors fit beside the other stages.

    An actor for which there is no share is waited for without an end, so a plan that cannot be
    scheduled is refused here, with the sum.

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

"""How many actors a job gets on a cluster, without a cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from longvid.config import Config, RayResources, load_config
from longvid.errors import ConfigError

pytest.importorskip("ray")

from longvid.cluster.placement import make_plan, room_for_frames


def config(**shares: float) -> Config:
    return replace(load_config("mini"), ray=RayResources(**shares))  # type: ignore[arg-type]  # names of fields


def test_a_plan_takes_what_the_cluster_has() -> None:
    plan = make_plan(config(), {"CPU": 8.0})
    assert (plan.probe_actors, plan.decode_actors, plan.encode_actors) == (1, 14, 1)
    assert plan.cpus <= 8.0
    assert plan.frame_batches == 2 * (14 + 1) * 4
    fused = make_plan(config(fused=True, encode_actors=3, encode_gpus=0.5), {"CPU": 2.0, "GPU": 2})
    assert (fused.decode_actors, fused.encode_actors, fused.gpus) == (0, 3, 1.5)


def test_one_machine_decodes_inside_its_encoding_actor() -> None:
    machine = {"CPU": 8.0}
    plan = make_plan(config(), machine, [machine])
    # 8 processors less 0.25 to probe and 0.5 to encode leave room for 14 halves.
    assert (plan.decode_actors, plan.fused_decoders, plan.num_decoders) == (0, 14, 14)
    assert (plan.encode_cpus, plan.cpus) == (7.5, 7.75)
    assert "1 encoding actors that decode 14 chunks at a time each" in str(plan)
    apart = make_plan(config(decode_actors=3), machine, [machine])
    assert (apart.decode_actors, apart.fused_decoders) == (3, 0)
    assert make_plan(config(), {"CPU": 8.0}, [{"CPU": 4.0}, {"CPU": 4.0}]).fused_decoders == 0


def test_fused_actors_are_no_larger_than_the_machines() -> None:
    nodes = [{"CPU": 2.0}, {"CPU": 2.0}]
    plan = make_plan(config(fused=True), {"CPU": 4.0}, nodes)
    assert (plan.fused_decoders, plan.encode_cpus) == (3, 2.0)
    plan = make_plan(config(fused=True, encode_actors=2, decode_actors=2), {"CPU": 4.0}, nodes)
    assert (plan.fused_decoders, plan.num_decoders, plan.encode_cpus) == (1, 2, 1.0)


def test_less_than_a_chunk_cannot_be_the_limit() -> None:
    assert make_plan(config(frame_batches=1), {"CPU": 2.0}).frame_batches == 4


def test_frames_that_stay_in_an_actor_are_held_back_by_their_bytes() -> None:
    machine = {"CPU": 2.0}
    mini = config()
    plan = make_plan(mini, machine, [machine])
    size, sample = mini.encoder.frame_size(), mini.sample
    segment_bytes = 3 * size.height * size.width * sample.segment_frames
    assert room_for_frames(plan, mini) == mini.run.prefetch_mb * 1_000_000 // segment_bytes
    assert room_for_frames(plan, mini) > plan.frame_batches
    asked = config(frame_batches=9)
    assert room_for_frames(make_plan(asked, machine, [machine]), asked) == 9
    apart = make_plan(mini, {"CPU": 8.0})
    assert room_for_frames(apart, mini) == apart.frame_batches


@pytest.mark.parametrize(
    ("shares", "nodes", "sentence"),
    [
        ({"fused": True, "encode_actors": 9}, [2.0], r"needs 4\.75 CPUs \(probe 1 x 0\.25 \+"),
        ({"decode_cpus": 1.5, "decode_actors": 1}, [1.0, 1.0, 1.0], "largest machine has 1 CPUs"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    shares: dict[str, float], nodes: list[float], sentence: str
) -> None:
    machines = [{"CPU": cpus} for cpus in nodes]
    with pytest.raises(ConfigError, match=sentence):
        make_plan(config(**shares), {"CPU": sum(nodes)}, machines)


@pytest.mark.parametrize(
    "wrong",
    [{"decode_cpus": 0.0}, {"encode_actors": 0}, {"probe_cpus": -1.0}, {"frame_batches": -1}],
)
def test_a_ray_table_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="ray needs"):
        config(**wrong)

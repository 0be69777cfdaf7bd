"""What the stages of a job agree on, without a cluster: the supervisor and the plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from longvid.config import Config, RayResources, load_config
from longvid.errors import ConfigError

pytest.importorskip("ray")

from longvid.cluster.placement import make_plan, room_for_frames
from longvid.cluster.retry_policy import GO, POISON, WAIT, Supervisor


def config(**shares: float) -> Config:
    return replace(load_config("mini"), ray=RayResources(**shares))  # type: ignore[arg-type]  # names of fields


def test_frames_wait_up_to_the_limit_and_no_further() -> None:
    supervisor = Supervisor(8, 3)
    words = [supervisor.begin("decode", f"chunk {i}", f"worker {i}", 4) for i in range(3)]
    assert words == [GO, GO, WAIT]
    supervisor.end("decode", "chunk 0", "worker 0", {"frames": 64})
    assert supervisor.begin("decode", "chunk 2", "worker 0", 4) == WAIT
    # Work that is done again, because its result was lost, has its room already.
    assert supervisor.begin("decode", "chunk 0", "worker 0", 4) == GO
    supervisor.consumed("chunk 0")
    assert supervisor.begin("decode", "chunk 2", "worker 2", 4) == GO
    assert supervisor.sums()["most_frame_batches_waiting"] == 8
    assert supervisor.sums()["frame_batches_waiting"] == 8
    assert supervisor.sums()["stages"] == {"decode": {"items": 1, "frames": 64}}


def test_a_chunk_larger_than_the_limit_goes_alone() -> None:
    supervisor = Supervisor(4, 3)
    assert supervisor.begin("decode", "long", "a", 9) == GO
    assert supervisor.begin("decode", "short", "b", 1) == WAIT
    supervisor.consumed("long")
    assert supervisor.begin("decode", "short", "b", 1) == GO


def test_what_kills_its_worker_is_begun_so_often_and_no_more() -> None:
    supervisor = Supervisor(8, 2)
    words = []
    for number in range(4):
        words.append(supervisor.begin("decode", "bad", f"worker {number}", 1))
        supervisor.died(f"worker {number}")
    assert words == [GO, GO, POISON, POISON]
    assert supervisor.begin("decode", "good", "another", 1) == GO
    # What ended is not counted, however often it is done again.
    for _ in range(5):
        assert supervisor.begin("encode", "good", "another") == GO
        supervisor.end("encode", "good", "another", {})
    # Nor is what came back undone because something else was lost.
    for _ in range(5):
        assert supervisor.begin("encode", "good", "another") == GO
        supervisor.take_back("encode", "good", "another")


def attempts(supervisor: Supervisor, stage: str, item: str) -> int:
    count = 0
    while supervisor.begin(stage, item, f"worker {count}") == GO:
        supervisor.died(f"worker {count}")
        count += 1
    return count


def test_a_film_that_kills_in_every_chunk_is_given_up_sooner_and_sooner() -> None:
    supervisor = Supervisor(8, 3)
    assert [attempts(supervisor, "decode", f"film {i}") for i in range(5)] == [3, 1, 1, 0, 0]
    assert attempts(supervisor, "decode", "other 0") == 3


def test_paths_that_begin_alike_are_not_one_film() -> None:
    supervisor = Supervisor(8, 3)
    assert attempts(supervisor, "probe", "/my films/one.mp4") == 3
    assert attempts(supervisor, "probe", "/my films/two.mp4") == 3


def test_what_was_in_work_beside_a_killer_is_done_again_alone() -> None:
    supervisor = Supervisor(8, 3)

    def begin(item: str, worker: str) -> str:
        return supervisor.begin("decode", item, worker, 1)

    assert [begin("killer 0", "first"), begin("other 0", "first")] == [GO, GO]
    supervisor.died("first")
    # Another process takes both items over.
    assert [begin("other 0", "second"), begin("killer 0", "second")] == [GO, WAIT]
    assert begin("new 0", "second") == WAIT  # nothing beside a suspect
    supervisor.end("decode", "other 0", "second", {})
    assert begin("killer 0", "second") == GO
    assert begin("new 0", "third") == GO  # another process is not in danger
    supervisor.died("second")
    assert begin("killer 0", "fourth") == GO
    supervisor.died("fourth")
    assert begin("killer 0", "fifth") == POISON


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

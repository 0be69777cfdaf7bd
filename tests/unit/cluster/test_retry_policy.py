"""Which items of a job may start, without a cluster."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

from longvid.cluster.retry_policy import RetryPolicy, Verdict, WorkItem

START, WAIT, GIVE_UP = Verdict.START, Verdict.WAIT, Verdict.GIVE_UP


def chunk(name: str, stage: str = "decode") -> WorkItem:
    video, _, index = name.partition(" ")
    return WorkItem(stage, video, int(index))


def test_frames_wait_up_to_the_limit_and_no_further() -> None:
    policy = RetryPolicy(8, 3)
    verdicts = [policy.start(chunk(f"film {i}"), f"worker {i}", 4) for i in range(3)]
    assert verdicts == [START, START, WAIT]
    policy.finish(chunk("film 0"), "worker 0", {"frames": 64})
    assert policy.start(chunk("film 2"), "worker 0", 4) is WAIT
    # Work that is done again, because its result was lost, has its room already.
    assert policy.start(chunk("film 0"), "worker 0", 4) is START
    policy.consumed(("film", 0))
    assert policy.start(chunk("film 2"), "worker 2", 4) is START
    assert policy.sums()["most_frame_batches_waiting"] == 8
    assert policy.sums()["frame_batches_waiting"] == 8
    assert policy.sums()["stages"] == {"decode": {"items": 1, "frames": 64}}


def test_a_chunk_larger_than_the_limit_goes_alone() -> None:
    policy = RetryPolicy(4, 3)
    assert policy.start(chunk("long 0"), "a", 9) is START
    assert policy.start(chunk("short 0"), "b", 1) is WAIT
    policy.consumed(("long", 0))
    assert policy.start(chunk("short 0"), "b", 1) is START


def test_what_kills_its_worker_starts_so_often_and_no_more() -> None:
    policy = RetryPolicy(8, 2)
    verdicts = []
    for number in range(4):
        verdicts.append(policy.start(chunk("bad 0"), f"worker {number}", 1))
        policy.worker_died(f"worker {number}")
    assert verdicts == [START, START, GIVE_UP, GIVE_UP]
    good = chunk("good 0", "encode")
    assert policy.start(good, "another", 1) is START
    # What finished is not counted, however often it is done again.
    for _ in range(5):
        assert policy.start(good, "another") is START
        policy.finish(good, "another", {})
    # Nor is what came back undone because something else was lost.
    for _ in range(5):
        assert policy.start(good, "another") is START
        policy.take_back(good, "another")


def attempts(policy: RetryPolicy, item: WorkItem) -> int:
    count = 0
    while policy.start(item, f"worker {count}") is START:
        policy.worker_died(f"worker {count}")
        count += 1
    return count


def test_a_film_that_kills_in_every_chunk_is_given_up_sooner_and_sooner() -> None:
    policy = RetryPolicy(8, 3)
    assert [attempts(policy, chunk(f"film {i}")) for i in range(5)] == [3, 1, 1, 0, 0]
    assert attempts(policy, chunk("other 0")) == 3


def test_paths_that_begin_alike_are_not_one_film() -> None:
    policy = RetryPolicy(8, 3)
    assert attempts(policy, WorkItem("probe", "/my films/one.mp4")) == 3
    assert attempts(policy, WorkItem("probe", "/my films/two.mp4")) == 3


def test_what_ran_beside_a_killer_is_done_again_alone() -> None:
    policy = RetryPolicy(8, 3)

    def start(name: str, worker: str) -> Verdict:
        return policy.start(chunk(name), worker, 1)

    assert [start("killer 0", "first"), start("other 0", "first")] == [START, START]
    policy.worker_died("first")
    # Another process takes both items over.
    assert [start("other 0", "second"), start("killer 0", "second")] == [START, WAIT]
    assert start("new 0", "second") is WAIT  # nothing beside a suspect
    policy.finish(chunk("other 0"), "second", {})
    assert start("killer 0", "second") is START
    assert start("new 0", "third") is START  # another process is not in danger
    policy.worker_died("second")
    assert start("killer 0", "fourth") is START
    policy.worker_died("fourth")
    assert start("killer 0", "fifth") is GIVE_UP

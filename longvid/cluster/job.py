"""Keep the actors of a job busy: paths to probe, chunks to decode and encode, results to enter.

    paths → [Probe] → chunks → [Decode] → frames → [Encode] → ledger          several machines
    paths →  driver → chunks → [DecodeAndEncode] → ledger                     one machine, few files

The driver holds the state of the job, and only of running work: an actor gets one call more than it
works on, so that a list of any length is read as it is worked off. Frames go from actor to actor;
the driver holds references to them. What was running on an actor that died is done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import ray

from longvid.cluster.actor_pool import ACTOR_LOST, Pool, Worker
from longvid.cluster.path_batches import PathBatches
from longvid.cluster.retry_policy import RetryPolicy, Verdict, WorkItem
from longvid.cluster.session import Actors
from longvid.cluster.stages import Probe, refresh
from longvid.config import Config
from longvid.errors import ClusterError, LongvidError
from longvid.indexing.ledger import Ledger, exhausted_paths
from longvid.indexing.messages import Opened, StageSums, Written
from longvid.sample import try_plan_chunks
from longvid.types import Chunk, Failure


@dataclass(frozen=True, slots=True)
class _Probing:
    """Paths that an actor is probing."""

    worker: Worker
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Decoding:
    """A chunk that an actor is decoding, and a reference to what will be its frames.

    Where decoding and encoding are one call there is no such reference.
    """

    worker: Worker
    chunk: Chunk
    frames: ray.ObjectRef[object] | None = None


@dataclass(frozen=True, slots=True)
class _Encoding:
    """A chunk that an actor is encoding, and a reference to its frames."""

    worker: Worker
    chunk: Chunk
    frames: ray.ObjectRef[object]


_Call = _Probing | _Decoding | _Encoding


class Job:
    """One job."""

    def __init__(self, config: Config, actors: Actors, ledger: Ledger, policy: RetryPolicy) -> None:
        self.num_paths = 0
        self._config, self._actors = config, actors
        self._ledger, self._policy = ledger, policy
        self._given_up = exhausted_paths(ledger.store, config.run.max_attempts)
        self._paths = PathBatches()
        self._chunks: deque[Chunk] = deque()
        self._decoded: deque[tuple[Chunk, ray.ObjectRef[object]]] = deque()
        self._calls: dict[ray.ObjectRef[object], _Call] = {}
        self._decode, self._encode = actors.decode, actors.encode
        self._probe: Pool | None = None
        uri = ledger.store.uri
        if self._encode is None:
            self._decode.load("DecodeAndEncode", config, uri, actors.plan.fused_decoders)
        else:
            self._encode.load("Encode", config, uri)
            self._decode.load("Decode", config)

    def probe_here(self, paths: Iterable[str]) -> None:
        """Probe a few files in this process, while the actors start."""
        probe = Probe(self._config)
        try:
            for path in self._untried(paths):
                self._probed(probe.run([path])[0])
        finally:
            probe.close()

    def run(self, paths: Iterable[str] = (), together: bool = False) -> None:
        """Do all the work, with what was probed before.

        Args:
            paths: To be probed by actors; read as they are needed.
            together: Begin when all actors are ready, as a measurement needs it.

        Raises:
            LongvidError: What a stage raised.
            ClusterError: The job broke down.
        """
        self._paths = PathBatches(self._untried(paths))
        try:
            while together and self._starting():
                self._wait()
            while True:
                if self._probe is None and self._paths.any_left():
                    self._start_probe()
                self._assign()
                if not self._calls and not self._work_left():
                    return
                self._wait()
        except ray.exceptions.RayError as error:
            raise unwrapped(error) from error

    def refresh(self) -> None:
        """Bring the store's caches up to date, in an actor if one is ready."""
        worker = self._decode.free()
        try:
            if worker is not None:
                done: ray.ObjectRef[object] = worker.actor.refresh.remote(self._ledger.store.uri)
                self._actors.health.wait([done])
                ray.get(done)
                return
        except ACTOR_LOST:
            pass  # then here
        except ray.exceptions.RayError as error:
            raise unwrapped(error) from error
        refresh(self._ledger.store.uri)

    def close(self) -> None:
        """End the actors that this job started itself."""
        if self._probe is not None and not self._actors.health.lost:
            self._probe.close()

    def _untried(self, paths: Iterable[str]) -> Iterator[str]:
        """Count paths, and leave out those that failed too often."""
        for path in paths:
            self.num_paths += 1
            if path in self._given_up:
                self._ledger.skip(path)
            else:
                yield path

    def _work_left(self) -> bool:
        return bool(self._chunks or self._decoded) or self._paths.any_left()

    def _pools(self) -> list[Pool]:
        return [*self._actors.pools, *([self._probe] if self._probe else [])]

    def _starting(self) -> dict[ray.ObjectRef[object], Pool]:
        return {ref: pool for pool in self._pools() for ref in pool.starting}

    def _start_probe(self) -> None:
        self._probe = Pool(self._actors.plan.probe_actors, num_cpus=self._config.ray.probe_cpus)
        self._probe.load("Probe", self._config)

    # Work to actors

    def _assign(self) -> None:
        """Give every actor what it can take, the end of the path first."""
        while self._encode is not None and self._decoded and self._assign_decoded(self._encode):
            pass
        while self._chunks and self._assign_chunk():
            pass
        # A film is planned as a whole, and few films ahead of the decoders.
        most = 4 * self._actors.plan.num_decoders
        while self._probe is not None and len(self._chunks) < most and self._paths.any_left():
            worker = self._probe.free()
            if worker is None or not self._assign_paths(worker):
                break

    def _assign_decoded(self, pool: Pool) -> bool:
        """Give one decoded chunk to an encoder; False if it has to wait."""
        worker = pool.free()
        chunk, frames = self._decoded[0]
        verdict = self._start("encode", chunk, worker)
        if worker is None or verdict is Verdict.WAIT:
            return False
        self._decoded.popleft()
        if verdict is Verdict.START:
            self._call(worker.actor.run.remote(chunk, frames), _Encoding(worker, chunk, frames))
        return True

    def _assign_chunk(self) -> bool:
        """Give one chunk to an actor that decodes; False if it has to wait."""
        worker = self._decode.free()
        chunk = self._chunks[0]
        verdict = self._start("decode", chunk, worker)
        if worker is None or verdict is Verdict.WAIT:
            return False
        self._chunks.popleft()
        if verdict is Verdict.GIVE_UP:
            return True
        if self._encode is None:
            self._call(worker.actor.run.remote(chunk), _Decoding(worker, chunk))
        else:
            refs: list[ray.ObjectRef[object]]
            refs = worker.actor.run.options(num_returns=2).remote(chunk)
            frames, done = refs
            self._call(done, _Decoding(worker, chunk, frames))
        return True

    def _start(self, stage: str, chunk: Chunk, worker: Worker | None) -> Verdict:
        """Ask what to do with a chunk, and enter it as a gap if it is given up."""
        if worker is None:
            return Verdict.WAIT
        batches = len(chunk.segments) if stage == "decode" else 0
        verdict = self._policy.start(WorkItem(stage, *chunk.key), worker.name, batches)
        if verdict is Verdict.GIVE_UP:
            gap = replace(
                _killer(stage, chunk.video.video_id, chunk.video.path),
                start_seconds=chunk.start_seconds,
                end_seconds=chunk.end_seconds,
            )
            self._finish(chunk, Written(chunk.video.video_id, None, (gap,), {}))
        return verdict

    def _assign_paths(self, worker: Worker) -> bool:
        """Give a probing actor some paths; False if they have to wait."""
        started = []
        paths = self._paths.take()
        for path in paths:
            verdict = self._policy.start(WorkItem("probe", path), worker.name)
            if verdict is Verdict.WAIT:  # a path whose actor died, which comes alone
                self._paths.add_alone([path])
                return False
            if verdict is Verdict.GIVE_UP:
                self._ledger.fail(_killer("probe", "", path))
            else:
                started.append(path)
        if started:
            self._call(worker.actor.run.remote(started), _Probing(worker, tuple(started)))
        return True

    def _call(self, ref: ray.ObjectRef[object], call: _Call) -> None:
        call.worker.num_calls += 1
        self._calls[ref] = call

    # Results from actors

    def _wait(self) -> None:
        """Block until a call finishes; process every finished call."""
        starting = self._starting()
        for ref in self._actors.health.wait([*self._calls, *starting]):
            if ref in starting:
                starting[ref].loaded(ref)
            else:
                self._receive(ref, self._calls.pop(ref))

    def _receive(self, ref: ray.ObjectRef[object], call: _Call) -> None:
        """Enter the result of one call."""
        call.worker.num_calls -= 1
        try:
            result = ray.get(ref)
        except ACTOR_LOST:
            self._repeat(call)
            return
        except ray.exceptions.ObjectLostError:
            if not isinstance(call, _Encoding):
                raise
            # The frames were on a machine that is gone.
            self._policy.take_back(WorkItem("encode", *call.chunk.key), call.worker.name)
            self._chunks.appendleft(call.chunk)
            return
        match call:
            case _Probing():
                for opened in cast("list[Opened]", result):
                    self._probed(opened, call.worker.name)
            case _Decoding(frames=None):
                self._written(("decode", "encode"), call, cast("Written", result))
            case _Decoding(frames=frames) if frames is not None:
                self._count(("decode",), call, {"decode": cast("StageSums", result)})
                self._decoded.append((call.chunk, frames))
            case _Encoding():
                self._written(("encode",), call, cast("Written", result))

    def _repeat(self, call: _Call) -> None:
        """Queue again, first in line, what was running on an actor that died."""
        worker = call.worker
        if worker.pool.replace(worker):
            self._policy.worker_died(worker.name)
        match call:
            case _Probing():
                if len(call.paths) > 1:  # nobody knows which path it was
                    for path in call.paths:
                        self._policy.take_back(WorkItem("probe", path), worker.name)
                self._paths.add_alone(call.paths)
            case _Decoding():
                self._chunks.appendleft(call.chunk)
            case _Encoding():
                self._decoded.appendleft((call.chunk, call.frames))

    def _probed(self, opened: Opened, worker: str = "driver") -> None:
        """Enter a file, and plan its chunks unless its content is known already."""
        sums = {"busy_seconds": opened.busy_seconds}
        self._policy.finish(WorkItem("probe", opened.path), worker, sums)
        chunks = try_plan_chunks(opened.found, self._config.sample)
        if isinstance(chunks, Failure):
            self._ledger.fail(chunks)
        elif self._ledger.start(chunks[0].video, len(chunks), opened):
            self._chunks.extend(chunks)

    def _count(
        self, stages: tuple[str, ...], call: _Decoding | _Encoding, sums: dict[str, StageSums]
    ) -> None:
        """Count the stages that a call did with a chunk."""
        for stage in stages:
            item = WorkItem(stage, *call.chunk.key)
            self._policy.finish(item, call.worker.name, sums[stage])

    def _written(
        self, stages: tuple[str, ...], call: _Decoding | _Encoding, written: Written
    ) -> None:
        """Count the stages of a chunk that is written, and enter its result."""
        self._count(stages, call, written.sums)
        self._finish(call.chunk, written)

    def _finish(self, chunk: Chunk, written: Written) -> None:
        """Enter the result of a chunk."""
        self._policy.consumed(chunk.key)
        self._paths.add_alone(self._ledger.chunk_done(written))


def unwrapped(error: ray.exceptions.RayError) -> LongvidError:
    """Return longvid's error inside one of Ray's, or say that the job broke down."""
    cause: BaseException | None = getattr(error, "cause", None)
    while cause is not None and not isinstance(cause, LongvidError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    if isinstance(cause, LongvidError):
        return cause
    return ClusterError(
        f"The job broke down ({str(error).strip().splitlines()[-1]}); what was finished is "
        "kept, run the same command to go on."
    )


def _killer(stage: str, video_id: str, path: str) -> Failure:
    return Failure(
        video_id,
        path,
        stage,
        "worker-crash",
        f"The process that does {stage} died every time that it worked on {path}; the job went on "
        "without it.",
    )

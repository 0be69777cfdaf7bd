"""Keep the actors of a job at work: paths to probe, chunks to decode and encode, results to enter.

    paths → [Probe] → chunks → [Decode] → frames → [Encode] → ledger          several machines
    paths →  driver → chunks → [DecodeAndEncode] → ledger                     one machine, few files

Everything that a job knows lies in its driver, and only work in hand is known: an actor is given
one call more than it works on, so a list of any length is read as it is worked off. Frames go from
actor to actor; the driver holds references to them. What an actor that died was at is done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import ray

from longvid.cluster.actor_pool import GONE, Pool, Worker
from longvid.cluster.retry_policy import POISON, WAIT, Supervisor
from longvid.cluster.session import Actors
from longvid.cluster.stages import Probe, Sums, Written, refresh
from longvid.config import Config
from longvid.errors import ClusterError, LongvidError
from longvid.indexing.ledger import Ledger, tried_out
from longvid.remote_files import file_bytes, is_remote
from longvid.sample import try_plan_chunks
from longvid.types import Chunk, Failure, Video

__all__ = ["Job", "unwrapped"]

#: Paths that one call probes: hashing small files takes less time than a call.
_PATHS_PER_CALL, _BYTES_PER_CALL = 64, 256 << 20


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
    frames: Any = None


@dataclass(frozen=True, slots=True)
class _Encoding:
    """A chunk that an actor is encoding, and a reference to its frames."""

    worker: Worker
    chunk: Chunk
    frames: Any


_Call = _Probing | _Decoding | _Encoding


class _Paths:
    """Paths to probe, as many at a time as make a call worth while.

    Args:
        paths: Read as they are needed.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = iter(paths)
        self._next: deque[str] = deque()
        self._alone: deque[str] = deque()

    def any_left(self) -> bool:
        """Tell whether there are more."""
        if not self._next:
            self._next.extend(islice(self._paths, 1))
        return bool(self._next or self._alone)

    def take(self) -> tuple[str, ...]:
        """Return those of the next call, at least one of `any_left`."""
        if self._alone:
            return (self._alone.popleft(),)
        taken = [self._next.popleft()]
        room = _BYTES_PER_CALL - _weight(taken[0])
        while room > 0 and len(taken) < _PATHS_PER_CALL and self.any_left():
            room -= _weight(self._next[0])
            if room > 0:
                taken.append(self._next.popleft())
        return tuple(taken)

    def alone(self, paths: Iterable[str]) -> None:
        """Take back paths whose actor died, each for a call of its own."""
        self._alone.extend(paths)


def _weight(path: str) -> int:
    """Return the bytes to hash; a remote file is fetched first, and so has a call of its own."""
    return _BYTES_PER_CALL if is_remote(path) else file_bytes(path)


class Job:
    """One job.

    Args:
        config: The whole configuration.
        actors: Started for it.
        ledger: The job's account.
        supervisor: Knows what is in the hands of actors.
    """

    def __init__(
        self, config: Config, actors: Actors, ledger: Ledger, supervisor: Supervisor
    ) -> None:
        self.num_paths = 0
        self._config, self._actors = config, actors
        self._ledger, self._supervisor = ledger, supervisor
        self._given_up = tried_out(ledger.store, config.run.max_attempts)
        self._paths = _Paths(())
        self._chunks: deque[Chunk] = deque()
        self._decoded: deque[tuple[Chunk, Any]] = deque()
        self._calls: dict[Any, _Call] = {}
        self._decode, self._encode = actors.decode, actors.encode
        self._probe: Pool | None = None
        uri = ledger.store.uri
        if self._encode is None:
            self._decode.load("DecodeAndEncode", config, uri, actors.plan.fused_decoders)
        else:
            self._encode.load("Encode", config, uri)
            self._decode.load("Decode", config)

    def probe_here(self, paths: Iterable[str]) -> None:
        """Probe a few files in this process, while the actors come up."""
        probe = Probe(self._config)
        try:
            for path in self._untried(paths):
                self._probed(path, *probe.run([path])[0])
        finally:
            probe.close()

    def run(self, paths: Iterable[str] = (), together: bool = False) -> None:
        """Work everything off, and what was probed before.

        Args:
            paths: To be probed by actors; read as they are needed.
            together: Begin when all actors are up, as a measurement wants it.

        Raises:
            LongvidError: What a stage raised.
            ClusterError: The job broke down.
        """
        self._paths = _Paths(self._untried(paths))
        try:
            if self._paths.any_left():
                size, cpus = self._actors.plan.probe_actors, self._config.ray.probe_cpus
                self._probe = Pool(size, num_cpus=cpus)
                self._probe.load("Probe", self._config)
            while together and self._starting():
                self._wait()
            while True:
                self._hand_out()
                if not self._calls and not self._left():
                    return
                self._wait()
        except ray.exceptions.RayError as error:
            raise unwrapped(error) from error

    def refresh(self) -> None:
        """Bring the store's caches up to date, in an actor if one is up."""
        worker = self._decode.free()
        try:
            if worker is not None:
                ray.get(worker.actor.refresh.remote(self._ledger.store.uri))
                return
        except GONE:
            pass  # then here
        except ray.exceptions.RayError as error:
            raise unwrapped(error) from error
        refresh(self._ledger.store.uri)

    def close(self) -> None:
        """End the actors that this job started itself."""
        if self._probe is not None:
            self._probe.close()

    def _untried(self, paths: Iterable[str]) -> Iterator[str]:
        """Count paths, and leave out those that failed too often."""
        for path in paths:
            self.num_paths += 1
            if path in self._given_up:
                self._ledger.skip(path)
            else:
                yield path

    def _left(self) -> bool:
        return bool(self._chunks or self._decoded) or self._paths.any_left()

    def _pools(self) -> list[Pool]:
        return [*self._actors.pools, *([self._probe] if self._probe else [])]

    def _starting(self) -> dict[Any, Pool]:
        return {ref: pool for pool in self._pools() for ref in pool.starting}

    # Work to actors

    def _hand_out(self) -> None:
        """Give every actor what it can take, the end of the path first."""
        while self._encode is not None and self._decoded and self._hand_decoded(self._encode):
            pass
        while self._chunks and self._hand_chunk():
            pass
        # A film is planned as a whole, and few films ahead of the decoders.
        most = 4 * self._actors.plan.num_decoders
        while self._probe is not None and len(self._chunks) < most and self._paths.any_left():
            worker = self._probe.free()
            if worker is None or not self._hand_paths(worker):
                break

    def _hand_decoded(self, pool: Pool) -> bool:
        """Give one decoded chunk to an encoder; False if it has to wait."""
        worker = pool.free()
        chunk, frames = self._decoded[0]
        word = WAIT if worker is None else self._begin("encode", chunk, worker)
        if worker is None or word == WAIT:
            return False
        self._decoded.popleft()
        if word != POISON:
            self._call(worker.actor.run.remote(chunk, frames), _Encoding(worker, chunk, frames))
        return True

    def _hand_chunk(self) -> bool:
        """Give one chunk to an actor that decodes; False if it has to wait."""
        worker = self._decode.free()
        chunk = self._chunks[0]
        word = WAIT if worker is None else self._begin("decode", chunk, worker)
        if worker is None or word == WAIT:
            return False
        self._chunks.popleft()
        if word == POISON:
            return True
        if self._encode is None:
            self._call(worker.actor.run.remote(chunk), _Decoding(worker, chunk))
        else:
            frames, done = worker.actor.run.options(num_returns=2).remote(chunk)
            self._call(done, _Decoding(worker, chunk, frames))
        return True

    def _begin(self, stage: str, chunk: Chunk, worker: Worker) -> str:
        """Ask what to do with a chunk, and enter it as a gap if nobody may touch it again."""
        batches = len(chunk.segments) if stage == "decode" else 0
        word = self._supervisor.begin(stage, _item(chunk), worker.name, batches)
        if word == POISON:
            self._finish(chunk, Written(None, [_poison_gap(stage, chunk)], {}))
        return word

    def _hand_paths(self, worker: Worker) -> bool:
        """Give a prober some paths; False if they have to wait."""
        able = []
        paths = self._paths.take()
        for path in paths:
            word = self._supervisor.begin("probe", path, worker.name)
            if word == WAIT:  # a path whose actor died, which comes alone
                self._paths.alone([path])
                return False
            if word == POISON:
                self._ledger.fail(_poison("probe", "", path))
            else:
                able.append(path)
        if able:
            self._call(worker.actor.run.remote(able), _Probing(worker, tuple(able)))
        return True

    def _call(self, ref: Any, call: _Call) -> None:
        call.worker.calls += 1
        self._calls[ref] = call

    # Results from actors

    def _wait(self) -> None:
        """Wait for the next news and take in all there are."""
        starting = self._starting()
        refs = [*self._calls, *starting]
        ready, rest = ray.wait(refs, fetch_local=False)
        if rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0, fetch_local=False)[0]
        for ref in ready:
            if ref in starting:
                starting[ref].loaded(ref)
            else:
                self._take(ref, self._calls.pop(ref))

    def _take(self, ref: Any, call: _Call) -> None:
        """Take in what one call gave."""
        call.worker.calls -= 1
        try:
            result = ray.get(ref)
        except GONE:
            self._do_again(call)
            return
        except ray.exceptions.ObjectLostError:
            if not isinstance(call, _Encoding):
                raise
            # The frames were on a machine that is gone.
            self._supervisor.take_back("encode", _item(call.chunk), call.worker.name)
            self._chunks.appendleft(call.chunk)
            return
        match call:
            case _Probing():
                for path, (found, sums) in zip(call.paths, result, strict=True):
                    self._probed(path, found, sums, call.worker.name)
            case _Decoding(frames=None):
                self._end("decode", call, result.sums)
                self._finish(call.chunk, result)
            case _Decoding():
                self._end("decode", call, {"decode": result})
                self._decoded.append((call.chunk, call.frames))
            case _Encoding():
                self._end("encode", call, result.sums)
                self._finish(call.chunk, result)

    def _do_again(self, call: _Call) -> None:
        """Put back what an actor was at when it died, first in line."""
        worker = call.worker
        if worker.pool.replace(worker):
            self._supervisor.died(worker.name)
        match call:
            case _Probing():
                if len(call.paths) > 1:  # nobody knows which it was
                    for path in call.paths:
                        self._supervisor.take_back("probe", path, worker.name)
                self._paths.alone(call.paths)
            case _Decoding():
                self._chunks.appendleft(call.chunk)
            case _Encoding():
                self._decoded.appendleft((call.chunk, call.frames))

    def _probed(
        self, path: str, found: Video | Failure, sums: Sums, worker: str = "driver"
    ) -> None:
        """Enter a file, and plan its chunks if nobody else has its content."""
        self._supervisor.end("probe", path, worker, sums)
        chunks = try_plan_chunks(found, self._config.sample)
        if isinstance(chunks, Failure):
            self._ledger.fail(chunks)
        elif self._ledger.start(chunks[0].video, len(chunks)):
            self._chunks.extend(chunks)

    def _end(self, stage: str, call: _Decoding | _Encoding, sums: dict[str, Sums]) -> None:
        """Note that a stage, or all that one call did, is done with a chunk."""
        for name in (stage, *(other for other in sums if other != stage)):
            self._supervisor.end(name, _item(call.chunk), call.worker.name, sums[name])

    def _finish(self, chunk: Chunk, written: Written) -> None:
        """Enter what became of a chunk."""
        self._supervisor.consumed(_item(chunk))
        self._ledger.chunk_done(chunk.video.video_id, written.record, written.gaps)


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


def _item(chunk: Chunk) -> str:
    """Name a chunk for the supervisor, alike however often it is worked on."""
    return f"{chunk.video.video_id} {chunk.segments[0].segment_index}"


def _poison(stage: str, video_id: str, path: str) -> Failure:
    return Failure(
        video_id,
        path,
        stage,
        "worker-crash",
        f"The process that does {stage} died every time that it worked on {path}; the job went on "
        "without it.",
    )


def _poison_gap(stage: str, chunk: Chunk) -> Failure:
    failure = _poison(stage, chunk.video.video_id, chunk.video.path)
    return replace(failure, start_seconds=chunk.start_seconds, end_seconds=chunk.end_seconds)

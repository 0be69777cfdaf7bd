"""Segments come back as they were written, bit for bit, and equal segments are equal bytes."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from longvid.errors import ConfigError, StoreError
from longvid.store import Store, StoreOptions
from longvid.store.chunk_encoding import segment_vectors
from longvid.store.quantization import bytes_per_row, dequantise, quantise
from longvid.types import Segment, Tokens
from tests.reference.search import search_slowly
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import add_video, assert_same, make_segment, make_video


def test_segments_come_back_bit_for_bit_in_the_order_asked(store: Store) -> None:
    segments = add_video(store, "a" * 32) + add_video(store, "b" * 32, chunks=(1, 4))
    keys = [segment.key for segment in segments][::-1]
    for loaded, segment in zip(store.load(keys), segments[::-1], strict=True):
        assert_same(loaded, segment)
    [again, once_more] = store.load([keys[2], keys[2]])
    assert_same(again, once_more)


@pytest.mark.parametrize("reach", [0, 1, 2, 10**12])
def test_segments_around_others_are_those_that_are_stored(store: Store, reach: int) -> None:
    a, b, unknown = "a" * 32, "b" * 32, "f" * 32
    stored = [segment.key for name in (a, b) for segment in add_video(store, name, chunks=(4, 5))]
    for keys in (
        {(a, 4)},
        {(a, 0), (a, 3), (b, 8)},
        {(b, 2), (unknown, 7)},
        set[tuple[str, int]](),
    ):
        near = [
            (video, index)
            for video, index in stored
            if any(video == other and abs(index - place) <= reach for other, place in keys)
        ]
        assert store.around(keys, reach) == sorted({*near, *keys})


def test_reading_by_ranges_equals_reading_with_safetensors(store: Store) -> None:
    segments = add_video(store, "a" * 32, chunks=(3,))
    [path] = Path(store.uri).glob("videos/*/segments-*.safetensors")
    with safe_open(path, framework="pt") as chunk:
        for name, field in (("tokens", "data"), ("position", "position"), ("size", "size")):
            whole = torch.cat([getattr(segment.tokens, field) for segment in segments])
            assert torch.equal(chunk.get_tensor(name), whole)
        counts = chunk.get_tensor("num_frame_tokens").tolist()
        frames = torch.cat([segment.frame_embeddings for segment in segments])
        assert torch.equal(chunk.get_tensor("frame_embeddings"), frames)
        vectors = [segment_vectors(segment.frame_embeddings, 4) for segment in segments]
        assert torch.equal(chunk.get_tensor("vectors"), torch.cat(vectors))
    assert sum(counts) == sum(len(segment.tokens) for segment in segments)
    loaded = store.load([segment.key for segment in segments])
    for one, other in zip(loaded, segments, strict=True):
        assert_same(one, other)


def test_a_segment_without_tokens_and_a_long_head(store: Store) -> None:
    video_id = "c" * 32
    segments = [make_segment(video_id, i, num_tokens=0 if i % 2 else 3) for i in range(200)]
    record = store.write_chunk(video_id, segments)
    store.finish(make_video(video_id), [record])
    for index in (0, 1, 199):
        assert_same(store.load([(video_id, index)])[0], segments[index])


def test_equal_input_gives_equal_bytes(make_store: MakeStore) -> None:
    names = []
    for name in ("one", "two"):
        store = make_store(name)
        # The order of writing and finishing must not matter either.
        for video_id in ("ab" * 16, "cd" * 16)[:: 1 if name == "one" else -1]:
            chunks = [[make_segment(video_id, i) for i in r] for r in (range(2), range(2, 5))]
            records = [store.write_chunk(video_id, chunk) for chunk in chunks]
            store.finish(make_video(video_id), records[:: 1 if name == "one" else -1])
        root = Path(store.uri)
        names.append(
            {
                str(path.relative_to(root)): path.read_bytes()
                for path in sorted(root.rglob("*"))
                if path.is_file()
            }
        )
        assert store.verify() == []
    assert names[0] == names[1]
    assert make_store("one").digest() == make_store("two").digest()


def test_the_digest_sees_content_and_names(make_store: MakeStore) -> None:
    digests = set()
    for i, path in enumerate(("/a.mp4", "/b.mp4", "/b.mp4")):
        store = make_store(f"store{i}")
        add_video(store, "a" * 32, path=path, seed=i // 2)
        digests.add(store.digest())
    assert len(digests) == 3


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    scale=st.floats(-30, 30).map(lambda exponent: 2.0**exponent),
    num_tokens=st.integers(0, 9),
    seed=st.integers(0, 1000),
)
def test_int8_is_off_by_at_most_half_a_step(scale: float, num_tokens: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = scale * torch.randn(num_tokens, 5, generator=generator)
    if num_tokens > 2:
        tokens[1] = 0
    stored, step = quantise(tokens, "int8")
    assert stored.dtype == torch.int8
    back = dequantise(stored, step, torch.float32)
    peak = tokens.abs().amax(dim=1, keepdim=True)
    assert bool(((back - tokens).abs() <= peak / 254 * (1 + 1e-5)).all())
    assert bool((back[peak[:, 0] == 0] == 0).all())


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    scale=st.floats(-30, 30).map(lambda exponent: 2.0**exponent),
    num_tokens=st.integers(0, 9),
    seed=st.integers(0, 1000),
)
def test_int4_is_off_by_at_most_half_a_step(scale: float, num_tokens: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = scale * torch.randn(num_tokens, 192, generator=generator)
    tokens[:, 64:128] *= 100  # a group has a scale of its own
    if num_tokens > 2:
        tokens[1, :64] = 0
    stored, step = quantise(tokens, "int4")
    assert (stored.dtype, stored.shape) == (torch.uint8, (num_tokens, 96))
    assert stored.nbytes + step.nbytes == num_tokens * bytes_per_row(192, "int4")
    back = dequantise(stored, step, torch.float32)
    groups = tokens.view(num_tokens, 3, 64)
    error = (back - tokens).view(num_tokens, 3, 64).abs()
    peak = groups.abs().amax(dim=2, keepdim=True)
    assert bool((error <= peak / 14 * 1.01).all())  # a bfloat16 scale is off by 0.4 %
    assert bool((back.view(num_tokens, 3, 64)[peak[..., 0] == 0] == 0).all())


def test_int4_packs_as_it_says() -> None:
    tokens = torch.arange(64).float().remainder(15)[None] - 7
    stored, step = quantise(tokens, "int4")
    assert step.tolist() == [[1.0]]
    expected = [int(tokens[0, i]) + 8 + 16 * (int(tokens[0, i + 32]) + 8) for i in range(32)]
    assert stored[0].tolist() == expected
    assert torch.equal(dequantise(stored, step, torch.float32), tokens)


def test_many_rows_are_kept_as_few_are() -> None:
    tokens = torch.randn(5000, 64, generator=torch.Generator().manual_seed(0))
    for kind in ("int8", "int4"):
        stored, step = quantise(tokens, kind)
        few = [quantise(rows, kind) for rows in tokens.split(1234)]
        assert torch.equal(stored, torch.cat([one for one, _ in few]))
        assert torch.equal(step, torch.cat([scale for _, scale in few]))


def _int4_twin(row: list[float]) -> tuple[list[int], list[float]]:
    """The format's description, value by value: the bytes of a row and its scales."""
    packed, scales = [], []
    for first in range(0, len(row), 64):
        group = torch.tensor(row[first : first + 64])
        step = float((group.abs().max() / 7).bfloat16()) or 1.0
        nibbles = [round(value / step) + 8 for value in group.tolist()]
        nibbles += [8] * (len(nibbles) % 2)
        half = len(nibbles) // 2
        packed += [
            low + 16 * high for low, high in zip(nibbles[:half], nibbles[half:], strict=True)
        ]
        scales.append(step)
    return packed, scales


@pytest.mark.parametrize("width", [1, 2, 8, 40, 63, 64, 65, 127, 150])
def test_int4_takes_any_width(width: int) -> None:
    tokens = torch.randint(-7, 8, (3, width), generator=torch.Generator().manual_seed(width))
    tokens[:, ::64] = 7  # every group reaches its most, so that nothing is rounded
    stored, step = quantise(tokens.float(), "int4")
    twins = [_int4_twin(row) for row in tokens.float().tolist()]
    assert (stored.tolist(), step.tolist()) == tuple(map(list, zip(*twins, strict=True)))
    assert stored.nbytes + step.nbytes == 3 * bytes_per_row(width, "int4")
    assert torch.equal(dequantise(stored, step, torch.float32, width), tokens.float())
    none = quantise(tokens[:0].float(), "int4")
    assert dequantise(*none, torch.float32, width).shape == (0, width)


@pytest.mark.parametrize("width", [7, 8, 64])
def test_a_store_in_int4_gives_tokens_of_any_width_back(make_store: MakeStore, width: int) -> None:
    store = make_store(tokens="int4")
    segments = [
        dataclasses.replace(
            segment,
            tokens=dataclasses.replace(
                segment.tokens, data=segment.tokens.data.repeat(1, 8)[:, :width].contiguous()
            ),
        )
        for segment in (make_segment("a" * 32, i, num_tokens=7 * (i != 1)) for i in range(3))
    ]
    store.finish(make_video("a" * 32), [store.write_chunk("a" * 32, segments)])
    loaded = store.load([segment.key for segment in segments])
    for one, other in zip(loaded, segments, strict=True):
        wanted = other.tokens.data
        assert (one.tokens.data.shape, one.tokens.data.dtype) == (wanted.shape, torch.float16)
        peak = wanted.abs().amax() if len(wanted) else 0.0
        assert bool(((one.tokens.data - wanted).abs() <= peak / 14 * 1.02).all())


@pytest.mark.parametrize(("kind", "most"), [("float16", 1e-3), ("int8", 2e-2)])
def test_embeddings_in_fewer_bytes_are_unit_and_close(
    make_store: MakeStore, kind: str, most: float
) -> None:
    store = make_store(embeddings=kind)
    segments = add_video(store, "a" * 32)
    for segment, loaded in zip(segments, store.load([s.key for s in segments]), strict=True):
        assert loaded.frame_embeddings.dtype == torch.float32
        norms = loaded.frame_embeddings.norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
        assert (loaded.frame_embeddings - segment.frame_embeddings).norm(dim=1).max() < most
        assert torch.equal(loaded.tokens.data, segment.tokens.data)
    store.refresh()
    query = segments[2].frame_embeddings[0]
    found = store.search(query, 3)
    assert found == search_slowly(store, query, 3)
    assert found[0].segment_index == 2


def test_int8_tokens_come_back_in_their_own_type(make_store: MakeStore) -> None:
    store = make_store(tokens="int8")
    [segment, *_] = add_video(store, "a" * 32)
    [loaded] = store.load([segment.key])
    assert loaded.tokens.data.dtype == torch.float16
    error = (loaded.tokens.data.float() - segment.tokens.data.float()).abs()
    peak = segment.tokens.data.float().abs().amax(dim=1, keepdim=True)
    assert bool((error <= peak / 254 + peak / 1024).all())
    assert torch.equal(loaded.frame_embeddings, segment.frame_embeddings)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_float_tokens_are_rounded_to_the_type_asked(make_store: MakeStore, kind: str) -> None:
    store = make_store(tokens=kind)
    segment = make_segment("a" * 32, 0)
    data = segment.tokens.data.float() * 1.0001
    segment = segment.with_tokens(dataclasses.replace(segment.tokens, data=data))
    store.finish(make_video("a" * 32), [store.write_chunk("a" * 32, [segment])])
    [loaded] = store.load([segment.key])
    assert torch.equal(loaded.tokens.data, data.to(getattr(torch, kind)))


def test_values_that_cannot_be_kept_are_refused(make_store: MakeStore) -> None:
    segment = make_segment("a" * 32, 0)

    def with_value(value: float) -> list[Segment]:
        data = segment.tokens.data.float().clone()
        data[0, 0] = value
        return [segment.with_tokens(dataclasses.replace(segment.tokens, data=data))]

    with pytest.raises(StoreError, match=r"set store.tokens to bfloat16"):
        make_store().write_chunk("a" * 32, with_value(1e6))
    make_store("wide", tokens="bfloat16").write_chunk("a" * 32, with_value(1e6))
    for name, kind in (("e", "int8"), ("f", "float32")):
        with pytest.raises(StoreError, match="not finite"):
            make_store(name, tokens=kind).write_chunk("a" * 32, with_value(float("nan")))
    broken = dataclasses.replace(segment, frame_embeddings=segment.frame_embeddings * float("inf"))
    with pytest.raises(StoreError, match="embeddings that are not finite"):
        make_store().write_chunk("a" * 32, [broken])


def test_foreign_segments_are_refused(store: Store) -> None:
    one, two = make_segment("a" * 32, 0), make_segment("a" * 32, 1)
    empty = torch.empty
    narrow = Tokens(empty(0, 3), empty(0, dtype=torch.int32), empty(0, 2), empty(0))
    wide_embedding = torch.nn.functional.normalize(torch.ones(5, 99), dim=1)
    for segments, message in (
        ([], "no segment"),
        ([two, one], "in order"),
        ([one, one], "in order"),
        ([make_segment("b" * 32, 0)], "written as one of video"),
        ([dataclasses.replace(one, space="other")], "'other'.*'test-space'.*another folder"),
        ([dataclasses.replace(one, frame_embeddings=wide_embedding)], "width 99"),
        ([one, two.with_tokens(narrow)], "one dtype and width"),
    ):
        with pytest.raises(StoreError, match=message):
            store.write_chunk("a" * 32, segments)
    with pytest.raises(StoreError, match="cannot be a video id"):
        store.write_chunk("../up", [dataclasses.replace(one, video_id="../up")])


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="float16, bfloat16, float32, int8 or int4"):
        StoreOptions(tokens="int2")
    with pytest.raises(ConfigError, match=r"store\.embeddings is 'int4'; use float32"):
        StoreOptions(embeddings="int4")
    with pytest.raises(ConfigError, match="1 or more"):
        StoreOptions(vectors_per_segment=0)


@pytest.mark.parametrize(("num_frames", "num_vectors"), [(1, 4), (3, 4), (4, 4), (7, 3), (16, 1)])
def test_vectors_are_means_of_equal_groups(num_frames: int, num_vectors: int) -> None:
    embeddings = make_segment("a", 0, num_frames=num_frames).frame_embeddings
    vectors = segment_vectors(embeddings, num_vectors)
    groups = min(num_frames, num_vectors)
    assert vectors.shape == (groups, embeddings.shape[1])
    bounds = [k * num_frames // groups for k in range(groups + 1)]
    assert all(stop > start for start, stop in itertools.pairwise(bounds))
    for k, vector in enumerate(vectors):
        mean = embeddings[bounds[k] : bounds[k + 1]].mean(dim=0)
        assert torch.allclose(vector, mean / mean.norm(), atol=1e-6)
        assert abs(float(vector.norm()) - 1) < 1e-6


def test_a_group_that_cancels_out_keeps_its_first_frame() -> None:
    one = torch.zeros(1, 4)
    one[0, 0] = 1
    assert torch.equal(segment_vectors(torch.cat([one, -one]), 1), one)

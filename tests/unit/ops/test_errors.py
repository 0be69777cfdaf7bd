"""A wrong argument gives one sentence with what was given, from every implementation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from longvid import ops
from longvid.errors import OpError
from longvid.ops import native, reference

X = torch.ones(2, 6, 4)
ROWS = torch.ones(6, 4)
INDEX = torch.tensor([[0, 1], [0, 1]])
NAN = torch.full((2, 6, 4), torch.nan)
INFINITE = torch.full((2, 6, 4), torch.inf)


def _mean(x: torch.Tensor, offsets: list[int], members: list[int]) -> torch.Tensor:
    return ops.segment_mean(x, torch.tensor(offsets), torch.tensor(members, dtype=torch.int64))


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "match: dtype": (lambda: ops.match(X.int(), 1), "int32"),
    "match: shape": (lambda: ops.match(ROWS, 1), r"\(6, 4\)"),
    "match: negative r": (lambda: ops.match(X, -1), "-1"),
    "match: negative protected": (lambda: ops.match(X, 1, protected=-2), "-2"),
    "match: no channels": (lambda: ops.match(X[..., :0], 1), "no channels"),
    "match: one set": (lambda: ops.match(X, 1, a_index=INDEX), "b_index"),
    "match: protected sets": (
        lambda: ops.match(X, 1, protected=1, a_index=INDEX, b_index=INDEX + 2),
        "protected=1",
    ),
    "match: set dtype": (
        lambda: ops.match(X, 1, a_index=INDEX.float(), b_index=INDEX + 2),
        "float32",
    ),
    "match: set shape": (
        lambda: ops.match(X, 1, a_index=INDEX[0], b_index=INDEX + 2),
        r"\(2,\)",
    ),
    "match: sets overlap": (lambda: ops.match(X, 1, a_index=INDEX, b_index=INDEX), "at most once"),
    "match: set out of range": (
        lambda: ops.match(X, 1, a_index=INDEX, b_index=INDEX + 5),
        r"\[0, 6\)",
    ),
    "match: negative position": (
        lambda: ops.match(X, 1, a_index=INDEX - 1, b_index=INDEX + 2),
        r"\[0, 6\)",
    ),
    "match: devices": (
        lambda: ops.match(X.to("meta"), 1, a_index=INDEX, b_index=INDEX + 2),
        "meta",
    ),
    "match: NaN": (lambda: ops.match(NAN, 1), "NaN"),
    "match: infinity": (lambda: ops.match(INFINITE, 1), "infinite"),
    "match_and_merge: other tokens": (
        lambda: ops.match_and_merge(X, X[:, :5], 1),
        r"x must have the \(G, N\).*\(2, 5, 4\)",
    ),
    "match_and_merge: other sizes": (
        lambda: ops.match_and_merge(X, X, 1, size=X),
        r"size must have the \(G, N\).*\(2, 6, 4\)",
    ),
    "match_and_merge: shape": (lambda: ops.match_and_merge(X, X[..., 0], 1), r"\(G, N, C\)"),
    "match_and_merge: NaN": (lambda: ops.match_and_merge(NAN, X, 1), "NaN"),
    "segment_mean: dtype": (lambda: _mean(ROWS.long(), [0, 1], [0]), "int64"),
    "segment_mean: shape": (lambda: _mean(X, [0, 1], [0]), r"\(2, 6, 4\)"),
    "segment_mean: no offsets": (
        lambda: ops.segment_mean(ROWS, torch.zeros(0, dtype=torch.int64), INDEX[0]),
        "offsets",
    ),
    "segment_mean: offsets fall": (lambda: _mean(ROWS, [0, 2, 1, 3], [0, 1, 2]), "rise"),
    "segment_mean: offsets end": (lambda: _mean(ROWS, [0, 2], [0, 1, 2]), "rise"),
    "segment_mean: offsets start": (lambda: _mean(ROWS, [1, 3], [0, 1, 2]), "rise"),
    "segment_mean: members": (lambda: _mean(ROWS, [0, 2], [0, 6]), r"\[0, 6\)"),
    "segment_mean: negative member": (lambda: _mean(ROWS, [0, 2], [0, -1]), r"\[0, 6\)"),
    "segment_mean: weights": (
        lambda: ops.segment_mean(ROWS, INDEX[0], INDEX[0, :1], torch.ones(5)),
        r"\(5,\)",
    ),
    "token_cosine: dtype": (lambda: ops.token_cosine(X.bool(), 2), "bool"),
    "token_cosine: shape": (lambda: ops.token_cosine(ROWS, 2), r"\(F, N, C\)"),
    "token_cosine: window": (lambda: ops.token_cosine(X, -1), "-1"),
    "token_cosine: NaN": (lambda: ops.token_cosine(NAN, 2), "NaN"),
    "compact: mask dtype": (lambda: ops.compact(X, X[..., 0]), "bool"),
    "compact: mask shape": (lambda: ops.compact(X, X[:, :5, 0] > 0), r"\(2, 5\)"),
    "compact: rows": (lambda: ops.compact(X, X[..., 0] > 0, rows=13), r"\[0, 12\]"),
    "compact: negative rows": (lambda: ops.compact(X, X[..., 0] > 0, rows=-1), "got -1"),
    "prune: shape": (lambda: ops.prune(ROWS, 2, 0.5), r"prune: x must be \(F, N, C\)"),
    "prune: window": (lambda: ops.prune(X, -1, 0.5), "prune: window.*-1"),
    "prune: NaN": (lambda: ops.prune(NAN, 2, 0.5), "NaN"),
    "window_gram: window": (lambda: ops.window_gram(ROWS, 0), "got 0"),
    "window_gram: shape": (lambda: ops.window_gram(X, 2), r"\(T, D\)"),
    "window_gram: NaN": (lambda: ops.window_gram(NAN[0], 2), "NaN"),
    "context_attention: weight": (
        lambda: ops.context_attention(ROWS, torch.eye(3), X, 1.0),
        r"\(4, 4\)",
    ),
    "context_attention: frames": (
        lambda: ops.context_attention(torch.ones(3, 2, 4), torch.eye(4), X, 1.0),
        r"\(3, 2, 4\)",
    ),
    "context_attention: dtypes": (
        lambda: ops.context_attention(ROWS.half(), torch.eye(4), X, 1.0),
        "float16",
    ),
    "context_attention: no queries": (
        lambda: ops.context_attention(ROWS[:0], torch.eye(4), X, 1.0),
        "no rows",
    ),
    "context_attention: no tokens": (
        lambda: ops.context_attention(ROWS, torch.eye(4), X[:, :0], 1.0),
        "without tokens",
    ),
    "context_attention: mask shape": (
        lambda: ops.context_attention(
            ROWS, torch.eye(4), X, 1.0, query_mask=torch.ones(5, dtype=torch.bool)
        ),
        r"\(5,\)",
    ),
    "context_attention: all masked": (
        lambda: ops.context_attention(
            ROWS, torch.eye(4), X, 1.0, query_mask=torch.zeros(6, dtype=torch.bool)
        ),
        "leave at least one",
    ),
    "context_attention: NaN": (lambda: ops.context_attention(ROWS, torch.eye(4), NAN, 1.0), "NaN"),
    "context_attention: NaN query": (
        lambda: ops.context_attention(NAN[0], torch.eye(4), X, 1.0),
        "NaN",
    ),
    "merge: other tokens": (lambda: ops.merge(ops.match(X, 1), X[:, :5]), r"\(2, 5, 4\)"),
    "merge: other sizes": (lambda: ops.merge(ops.match(X, 1), X, X[:, :5, 0]), r"\(2, 5\)"),
    "unmerge: other tokens": (lambda: ops.unmerge(ops.match(X, 1), X), r"\(2, 6, 4\)"),
    "kth_split: k": (lambda: ops.kth_split(6, 1, 2), "got 1"),
    "clip_rounds: target": (lambda: ops.clip_rounds(6, 0), "got 0"),
    "head_mean: heads": (lambda: ops.head_mean(X, 3), "3 heads"),
    "head_mean: dtype": (lambda: ops.head_mean(X.long(), 2), "int64"),
    "frame_products: shape": (lambda: ops.frame_products(ROWS), r"\(F, N, C\)"),
    "frame_products: dtype": (lambda: ops.frame_products(X.long()), "int64"),
    "frame_products: NaN": (lambda: ops.frame_products(NAN), "NaN"),
    "merge_rounds: shape": (lambda: ops.merge_rounds(ROWS, [2]), r"\(G, N, Cm\)"),
    "merge_rounds: rounds": (lambda: ops.merge_rounds(X, [2, -1]), r"\[2, -1\]"),
    "merge_rounds: size": (lambda: ops.merge_rounds(X, [2], X[:, :5, 0]), r"\(2, 5\)"),
    "merge_rounds: no channels": (lambda: ops.merge_rounds(X[..., :0], [2]), "no channels"),
    "merge_rounds: NaN": (lambda: ops.merge_rounds(NAN, [2]), "NaN"),
}


@pytest.mark.parametrize("case", WRONG)
def test_named_error(case: str) -> None:
    call, words = WRONG[case]
    with pytest.raises(OpError, match=words):
        call()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("position", [0, 1, 7, 39])
def test_one_bad_value_anywhere_is_found(dtype: torch.dtype, value: float, position: int) -> None:
    x = torch.randn(2, 40, 33, generator=torch.Generator().manual_seed(0)).to(dtype)
    x[1, position, 32] = value
    implementations = [reference, *([native.KERNELS] if native.KERNELS else [])]
    for ops_of in implementations:
        calls = (
            lambda ops_of=ops_of: ops_of.match(x, None, None, 3, 0, False),
            lambda ops_of=ops_of: ops_of.match_and_merge(x, x, None, 3, 0),
            lambda ops_of=ops_of: ops_of.prune(x, 2, 0.5),
            lambda ops_of=ops_of: ops_of.merge_rounds(x, None, [3, 2]),
            lambda ops_of=ops_of: ops_of.token_cosine(x, 2),
            lambda ops_of=ops_of: ops_of.window_gram(x.flatten(1), 2),
            lambda ops_of=ops_of: ops_of.context_attention(
                x[0, :5], torch.eye(33, dtype=dtype), x, 0.1, None
            ),
        )
        for call in calls:
            with pytest.raises(OpError, match="NaN or infinite"):
                call()


def test_a_bad_token_outside_both_sets_does_no_harm() -> None:
    x = torch.randn(1, 6, 4)
    x[0, 0] = torch.nan
    plan = ops.match(x, 2, a_index=torch.tensor([[2, 4]]), b_index=torch.tensor([[1, 3, 5]]))
    assert plan.score.isfinite().all()

"""The schemas of the ops under the namespace `longvid`, their reference and shape functions.

The torch reference is the default kernel of every device (CompositeExplicitAutograd), so an op
exists without any build; `native` and `cuda` put faster kernels in front of it where they can.
The ops are for inference: they define no gradient.
"""

from __future__ import annotations

from typing import Any

import torch

from longvid.ops import reference, shapes

_torch_library: Any = torch.library  # its functions carry no types
LIBRARY = _torch_library.Library("longvid", "DEF")

_SCHEMAS = (
    "match(Tensor metric, Tensor? a_index, Tensor? b_index, SymInt r, SymInt protected, "
    "bool position_order) -> (Tensor source, Tensor destination, Tensor score, Tensor segment, "
    "Tensor offsets, Tensor members)",
    "match_and_merge(Tensor metric, Tensor x, Tensor? size, SymInt r, SymInt protected) -> "
    "(Tensor merged, Tensor source, Tensor destination, Tensor score, Tensor segment, "
    "Tensor offsets, Tensor members)",
    "segment_mean(Tensor x, Tensor offsets, Tensor members, Tensor? weights) -> Tensor",
    "token_cosine(Tensor x, int window) -> Tensor",
    "compact(Tensor x, Tensor keep, SymInt? rows=None) -> (Tensor packed, Tensor cu_seqlens)",
    "prune(Tensor x, int window, float threshold) -> (Tensor packed, Tensor keep, "
    "Tensor cu_seqlens)",
    "window_gram(Tensor x, int window) -> Tensor",
    "context_attention(Tensor query, Tensor key_weight, Tensor x, float scale, "
    "Tensor? query_mask) -> Tensor",
    "head_mean(Tensor x, SymInt num_heads) -> Tensor",
    "frame_products(Tensor x) -> (Tensor mean, Tensor dot, Tensor square)",
    "merge_rounds(Tensor metric, Tensor? size, SymInt[] rounds) -> (Tensor offsets, "
    "Tensor members, Tensor segment, Tensor merged_size)",
)

NAMES = tuple(schema.split("(", 1)[0] for schema in _SCHEMAS)

for _name, _schema in zip(NAMES, _SCHEMAS, strict=True):
    LIBRARY.define(_schema, tags=(torch.Tag.needs_fixed_stride_order,))
    LIBRARY.impl(_name, getattr(reference, _name), "CompositeExplicitAutograd")
    _torch_library.register_fake(f"longvid::{_name}", getattr(shapes, _name), lib=LIBRARY)

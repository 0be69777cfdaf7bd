"""LLaMA-VID against the formulas written out, and the edges its specification names."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from longvid.errors import ConfigError, ModelError, OpError
from longvid.methods.content_tokens import content_tokens, grid_size
from longvid.systems.llama_vid.eva_vit import (
    EvaConfig,
    EvaVisionTransformer,
    interpolate_position_embedding,
)
from longvid.systems.llama_vid.network import (
    LlamaVid,
    LlamaVidConfig,
    drop_class_token,
    paper_context,
    without_class_token,
)
from longvid.systems.llama_vid.qformer import QFormer, QFormerConfig
from tests.parity.llama_vid_subtitles import interleave_subtitles
from tests.reference.methods import attention_map

QFORMER = QFormerConfig(
    hidden=8, depth=3, num_heads=2, feedforward=12, vocabulary=20, max_positions=9, vision_width=6
)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _model(content: str = "mean", context: str = "code", vision_width: int = 6) -> LlamaVid:
    torch.manual_seed(0)
    model = LlamaVid(
        LlamaVidConfig(QFORMER, 4, vision_width, llm_width=10, content=content, context=context)
    )
    torch.nn.init.normal_(model.vlm_att_query)
    return model.requires_grad_(False).eval()


def _ids(*rows: list[int]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    return ids, mask


# --- content tokens ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "k", "out"), [(8, 3, 4), (5, 2, 2), (7, 3, 3), (16, 3, 3), (4, 2, 2), (3, 3, 3)]
)
def test_grid_content_averages_whole_blocks(side: int, k: int, out: int) -> None:
    x = _random(2, side * side, 3)
    stride = side // k
    grid = x.reshape(2, side, side, 3)
    expected = torch.stack(
        [
            grid[:, r * stride : (r + 1) * stride, c * stride : (c + 1) * stride].mean((1, 2))
            for r in range(out)
            for c in range(out)
        ],
        dim=1,
    )
    torch.testing.assert_close(content_tokens(x, f"grid:{k}"), expected)


def test_none_and_mean_content() -> None:
    x = _random(2, 7, 3)
    assert content_tokens(x, "none") is x
    torch.testing.assert_close(content_tokens(x, "mean"), x.mean(1, keepdim=True))


@pytest.mark.parametrize("content", ["grid:1", "grid:0", "grid", "grid:-2", "Mean", ""])
def test_a_content_mode_that_is_none_is_refused(content: str) -> None:
    with pytest.raises(ConfigError, match="grid:k"):
        grid_size(content)


def test_a_grid_needs_a_square_at_least_as_fine() -> None:
    with pytest.raises(OpError, match="square"):
        content_tokens(_random(1, 8, 3), "grid:2")
    with pytest.raises(OpError, match="square"):
        content_tokens(_random(1, 9, 3), "grid:4")


# --- the class token --------------------------------------------------------------------------


def test_the_first_token_goes_when_the_count_is_odd() -> None:
    x = _random(2, 17, 3)
    torch.testing.assert_close(drop_class_token(x), x[:, 1:])
    torch.testing.assert_close(drop_class_token(x[:, 1:]), x[:, 1:])
    # Nine patches without a class token lose a patch all the same.
    assert drop_class_token(_random(1, 9, 3)).shape == (1, 8, 3)


def test_online_and_long_video_differ_only_in_what_the_qformer_sees() -> None:
    model = _model()
    features = _random(3, 17, 6)
    ids, mask = _ids([5, 9, 12])
    online = model.video_tokens(features, ids, mask)
    stored = model.video_tokens(without_class_token(features), ids, mask)
    assert not torch.allclose(online, stored)
    content = [tokens.reshape(1, 3, 2, 10)[:, :, 1] for tokens in (online, stored)]
    torch.testing.assert_close(*content)


# --- the context token ------------------------------------------------------------------------


def test_context_token_equals_the_formula() -> None:
    model = _model()
    text_query, x = _random(5, 4, 6, seed=1), _random(5, 16, 6, seed=2)
    key = x @ model.vlm_att_key_projector.weight.T + model.vlm_att_key_projector.bias
    scores = torch.softmax(text_query @ key.transpose(1, 2) / math.sqrt(6), dim=-1)
    expected = model.vlm_att_val_projector((scores @ x).mean(1, keepdim=True))
    torch.testing.assert_close(model.context_token(text_query, x), expected)
    torch.testing.assert_close(attention_map(text_query, key, 6**-0.5), scores)


def test_paper_context_has_no_projections_and_no_scale() -> None:
    text_query, x = _random(5, 4, 6, seed=1), _random(5, 16, 6, seed=2)
    expected = (torch.softmax(text_query @ x.transpose(1, 2), dim=-1) @ x).mean(1)
    torch.testing.assert_close(paper_context(text_query, x), expected)
    model = _model(context="paper")
    torch.testing.assert_close(
        model.context_token(text_query, x)[:, 0], model.vlm_att_val_projector(expected)
    )
    with pytest.raises(ConfigError, match="paper"):
        LlamaVidConfig(context="papers")


def test_tokens_go_frame_after_frame_context_first() -> None:
    model = _model("grid:2")
    features = _random(3, 17, 6)
    ids, mask = _ids([5, 9, 12])
    video = model.video_tokens(features, ids, mask).reshape(3, 5, 10)
    for t in range(3):
        frame = model.frame_tokens(features[t : t + 1], ids, mask)[0]
        torch.testing.assert_close(video[t], frame)
    torch.testing.assert_close(video[:, 1:], model.content_tokens(features[:, 1:]))


def test_questions_of_one_video_do_not_see_each_other() -> None:
    model = _model()
    features = _random(2, 17, 6)
    ids, mask = _ids([5, 9, 12, 3], [7, 8])
    both = model.video_tokens(features, ids, mask)
    alone = model.video_tokens(features, torch.tensor([[7, 8]]))
    torch.testing.assert_close(both[1:], alone)
    assert not torch.allclose(both[0], both[1])


def test_images_are_videos_of_one_frame() -> None:
    model = _model()
    images = _random(3, 17, 6)
    ids, mask = _ids([5, 9, 12, 3], [7, 8])
    pairs = model.frame_tokens(images.repeat_interleave(2, 0), ids.repeat(3, 1), mask.repeat(3, 1))
    tokens = pairs.unflatten(0, (3, 2))  # by image and question
    assert tokens.shape == (3, 2, 2, 10)
    for b in range(3):
        torch.testing.assert_close(tokens[b], model.video_tokens(images[b : b + 1], ids, mask))


def test_blocks_of_frames_change_no_number() -> None:
    model = _model()
    features = _random(130, 4, 6)
    ids, mask = _ids([5, 9])
    whole = model.video_tokens(features, ids, mask)[0]
    parts = [model.video_tokens(part, ids, mask)[0] for part in (features[:50], features[50:])]
    torch.testing.assert_close(whole, torch.cat(parts))


def test_a_tower_of_another_width_is_mapped_first() -> None:
    model = _model(vision_width=5)
    features = _random(2, 17, 5)
    ids, mask = _ids([5, 9])
    assert model.video_tokens(features, ids, mask).shape == (1, 4, 10)
    assert "vlm_att_bert_proj.weight" in model.state_dict()
    assert "vlm_att_bert_proj.weight" not in _model().state_dict()


def test_frames_and_questions_must_fit() -> None:
    model = _model()
    ids, mask = _ids([5, 9])
    with pytest.raises(OpError, match="question"):
        model.frame_tokens(_random(2, 17, 6), ids, mask)
    with pytest.raises(OpError, match="question"):
        model.frame_tokens(_random(0, 17, 6), ids[:0], mask[:0])


# --- the Q-Former -----------------------------------------------------------------------------


def test_padding_of_the_question_is_not_read() -> None:
    torch.manual_seed(0)
    qformer = QFormer(QFORMER).requires_grad_(False)
    queries, frames = _random(2, 4, 8), _random(2, 5, 6, seed=1)
    short = torch.tensor([[3, 4], [5, 6]])
    padded = torch.tensor([[3, 4, 7, 8], [5, 6, 0, 0]])
    seen = torch.tensor([[True, True, False, False]]).expand(2, -1)
    torch.testing.assert_close(
        qformer(queries, padded, seen, frames), qformer(queries, short, seen[:, :2], frames)
    )


def test_only_queries_of_even_layers_look_at_the_frame() -> None:
    names = QFormer(QFORMER).state_dict().keys()
    looking = {name.split(".")[2] for name in names if "crossattention" in name}
    assert looking == {"0", "2"}
    with pytest.raises(OpError, match="at most 9"):
        QFormer(QFORMER)(
            _random(1, 4, 8),
            torch.zeros(1, 10, dtype=torch.int64),
            torch.ones(1, 10, dtype=torch.bool),
            _random(1, 5, 6),
        )
    with pytest.raises(ConfigError):
        QFormerConfig(hidden=10, num_heads=3)
    with pytest.raises(ConfigError):
        QFormerConfig(depth=0)


# --- released names ---------------------------------------------------------------------------


def test_parameters_have_the_released_names_and_shapes() -> None:
    with torch.device("meta"):
        state = LlamaVid(LlamaVidConfig()).state_dict()
    bert = "vlm_att_encoder.bert."
    layer = bert + "encoder.layer.10."
    shapes = {
        "vlm_att_query": (1, 32, 768),
        "vlm_att_ln.weight": (1408,),
        "vlm_att_projector.weight": (1408, 768),
        "vlm_att_key_projector.bias": (1408,),
        "vlm_att_val_projector.weight": (4096, 1408),
        "mm_projector.0.weight": (4096, 1408),
        "mm_projector.2.bias": (4096,),
        bert + "embeddings.word_embeddings.weight": (30523, 768),
        bert + "embeddings.position_embeddings.weight": (512, 768),
        bert + "embeddings.LayerNorm.bias": (768,),
        layer + "attention.self.query.weight": (768, 768),
        layer + "attention.output.LayerNorm.weight": (768,),
        layer + "crossattention.self.key.weight": (768, 1408),
        layer + "crossattention.output.dense.bias": (768,),
        layer + "intermediate.dense.weight": (3072, 768),
        layer + "output.dense.weight": (768, 3072),
        layer + "intermediate_query.dense.bias": (3072,),
        layer + "output_query.LayerNorm.weight": (768,),
    }
    for name, shape in shapes.items():
        assert tuple(state[name].shape) == shape
    assert bert + "encoder.layer.11.crossattention.self.key.weight" not in state


def test_a_released_checkpoint_loads() -> None:
    source = _model()
    state = {f"model.{name}": value for name, value in source.state_dict().items()}
    state["model.vision_tower.vision_tower.cls_token"] = torch.zeros(1)
    state["model.vlm_att_encoder.bert.embeddings.position_ids"] = torch.zeros(1)
    torch.manual_seed(1)
    model = LlamaVid(source.config).requires_grad_(False)
    model.load_released(state)
    features, (ids, mask) = _random(2, 17, 6), _ids([5, 9])
    torch.testing.assert_close(
        model.video_tokens(features, ids, mask), source.video_tokens(features, ids, mask)
    )
    short = {name: value for name, value in state.items() if "key_projector" not in name}
    with pytest.raises(ModelError, match="lacks 2"):
        model.load_released(short)
    state["model.vlm_att_query"] = torch.zeros(1, 5, 8)
    with pytest.raises(ModelError, match="vlm_att_query"):
        model.load_released(state)


# --- the EVA tower ----------------------------------------------------------------------------


def _tower(image_size: int) -> EvaVisionTransformer:
    torch.manual_seed(0)
    config = EvaConfig(image_size, patch_size=7, width=12, depth=2, num_heads=3, mlp_width=20)
    return EvaVisionTransformer(config).requires_grad_(False)


def test_eva_loads_the_released_names_and_resizes_positions() -> None:
    small, large = _tower(28), _tower(42)
    state = dict(small.state_dict())
    state["pos_embed"] = _random(1, 17, 12)
    for ignored in ("norm.weight", "head.bias", "blocks.2.norm1.weight"):
        state[ignored] = torch.zeros(3)
    small.load_released(state)
    torch.testing.assert_close(small.pos_embed, state["pos_embed"])
    large.load_released(state)
    assert large(_random(2, 3, 42, 42)).shape == (2, 37, 12)
    torch.testing.assert_close(
        large.pos_embed, interpolate_position_embedding(state["pos_embed"], 36)
    )
    torch.testing.assert_close(large.pos_embed[:, 0], state["pos_embed"][:, 0])
    with pytest.raises(OpError, match="42, 42"):
        large(_random(2, 3, 28, 28))
    del state["cls_token"]
    with pytest.raises(ModelError, match="cls_token"):
        small.load_released(state)
    state["cls_token"] = torch.zeros(1, 1, 13)
    with pytest.raises(ModelError, match="cls_token"):
        small.load_released(state)


def test_positions_of_the_right_size_stay() -> None:
    position = _random(1, 17, 4)
    assert interpolate_position_embedding(position, 16) is position
    flat = torch.ones(1, 17, 4)
    torch.testing.assert_close(interpolate_position_embedding(flat, 576), torch.ones(1, 577, 4))
    with pytest.raises(OpError, match="square"):
        interpolate_position_embedding(position, 15)


def test_default_eva_is_eva_clip_g() -> None:
    with torch.device("meta"):
        tower = EvaVisionTransformer(EvaConfig(image_size=336))
    assert sum(p.numel() for p in tower.parameters()) > 0.98e9
    assert tower.pos_embed.shape == (1, 577, 1408)
    assert "norm.weight" not in tower.state_dict()
    with pytest.raises(ConfigError):
        EvaConfig(width=10, num_heads=3)
    with pytest.raises(ConfigError):
        EvaConfig(image_size=7)


# --- subtitles --------------------------------------------------------------------------------


def test_a_subtitle_before_the_first_frame() -> None:
    times = [1.0, 2.0, 3.0]
    faithful = interleave_subtitles([0.5, 1.5], ["early", "b"], times, faithful=True)
    assert faithful == "<image>b<image><image>early"
    assert interleave_subtitles([0.5, 1.5], ["early", "b"], times) == "<image>early b<image><image>"


def test_a_subtitle_ends_at_a_frame_after_it() -> None:
    # At exactly a frame's time a subtitle is over: it belongs to the frame before.
    assert interleave_subtitles([1.0], ["a"], [0.0, 1.0]) == "<image>a<image>"
    # The walk does not go back.
    out = interleave_subtitles([2.5, 0.5], ["late", "older"], [0.0, 1.0, 2.0])
    assert out == "<image><image><image>late older"
    assert interleave_subtitles([], [], [0.0, 1.0]) == "<image><image>"

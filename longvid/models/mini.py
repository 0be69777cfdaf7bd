"""longvid-mini: a video question-answering model of 4 million weights, in Hugging Face format.

Two models share one vision tower: a `SiglipModel` (the embedder: frames and texts in one space) and
a `LlavaOnevisionForConditionalGeneration` (the answering model: the same tower, a projector and a
Qwen2 decoder that reads the tower's last layer but one; the last serves the search). Both read and
write their weights with `save_pretrained` / `from_pretrained`, so the code that loads mini is the
code that loads a 7B checkpoint. This module knows the architecture, `mini_vocabulary`
knows the words and the prompt; neither knows how mini was trained or how its world is drawn.

    directory/vlm/        config, weights, tokenizer, generation config, processor, prompt.json
    directory/embedder/   config, weights, tokenizer (SigLIP: always pad to `max_length`)
    directory/README.md   the model card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.models.mini_vocabulary import (
    PROMPT,
    SPECIAL_TOKENS,
    VIDEO_TOKEN,
    build_tokenizer,
    vocabulary,
)

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipModel,
    )

IMAGE_SIZE = 64
TOWER_WIDTH = 128
DECODER_WIDTH = 192
PATCH_SIZE = 8
TEXT_LENGTH = 24
"""Positions of the embedder's text tower; every text is padded to it."""


# --- the architecture -----------------------------------------------------------------------------


def build(
    seed: int = 0,
) -> tuple[SiglipModel, LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast]:
    """Build mini with random weights; the same seed gives the same weights.

    The answering model's tower is a copy of the embedder's. Patch positions start as 2-D sines and
    each query projection starts equal to its key projection, so attention begins content- and
    place-aware and training needs fewer steps. The tower's last layer starts as the identity.

    Returns:
        The embedder, the answering model and the tokenizer, all float32 on CPU.
    """
    import torch
    from transformers import LlavaOnevisionForConditionalGeneration, SiglipModel

    token_id = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *vocabulary()))}
    special = {
        "pad_token_id": token_id["<pad>"],
        "bos_token_id": token_id["<bos>"],
        "eos_token_id": token_id["<eos>"],
    }
    embedder_config, vlm_config = _configurations(token_id, special)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        embedder = SiglipModel(embedder_config)
        vlm = LlavaOnevisionForConditionalGeneration(vlm_config)
    for tower_module in (embedder.vision_model, vlm.model.vision_tower):
        tower_module.encoder.layers.append(search_layer(tower_module.encoder.layers[-1]))
        tower_module.config.num_hidden_layers += 1
    with torch.no_grad():
        vision = embedder.vision_model
        vision.embeddings.position_embedding.weight.copy_(
            _sine_positions(IMAGE_SIZE // PATCH_SIZE, 128)
        )
        for layer in vision.encoder.layers:
            layer.self_attn.q_proj.weight.copy_(layer.self_attn.k_proj.weight)
        for block in vlm.model.language_model.layers:
            block.self_attn.q_proj.weight.copy_(block.self_attn.k_proj.weight)
        embedder.logit_scale.fill_(2.3)
        embedder.logit_bias.fill_(-5.0)
    share_tower(embedder, vlm)
    _set_generation(vlm, special)
    for model in (embedder, vlm):
        model.train(False)
    return embedder, vlm, build_tokenizer()


def _configurations(
    token_id: Mapping[str, int], special: Mapping[str, int]
) -> tuple[SiglipConfig, LlavaOnevisionConfig]:
    """Return the sizes of both models, before the tower's last layer is added.

    Args:
        token_id: Of every token.
        special: The ids of the tokens that pad, begin and end a text.
    """
    from transformers import (
        LlavaOnevisionConfig,
        Qwen2Config,
        SiglipConfig,
        SiglipTextConfig,
        SiglipVisionConfig,
    )

    marks: dict[str, Any] = dict(special)
    tower: dict[str, Any] = {
        "hidden_size": TOWER_WIDTH,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
    }
    text = SiglipTextConfig(
        vocab_size=len(token_id),
        hidden_size=TOWER_WIDTH,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH,
        **marks,
    )
    decoder = Qwen2Config(
        vocab_size=len(token_id),
        hidden_size=DECODER_WIDTH,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=8192,
        initializer_range=0.05,
        tie_word_embeddings=True,
        **marks,
    )
    embedder_config = SiglipConfig(
        text_config=text.to_dict(), vision_config=SiglipVisionConfig(**tower).to_dict()
    )
    vlm_config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(vision_use_head=False, **tower).to_dict(),
        text_config=decoder.to_dict(),
        image_token_index=token_id["<image>"],
        video_token_index=token_id[VIDEO_TOKEN],
        vision_feature_layer=-2,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[IMAGE_SIZE, IMAGE_SIZE]],
        tie_word_embeddings=True,
        **marks,
    )
    return embedder_config, vlm_config


def search_layer(layer: nn.Module) -> nn.Module:
    """Make the tower's last layer from the one before it: a copy that adds nothing yet.

    Pooling sums patches, which keeps the shapes and the colours of a frame but not which belong
    together. This layer can join them in every patch first; the decoder, which attends to patches
    one by one, reads the tower before it.
    """
    import copy

    import torch

    added = copy.deepcopy(layer)
    with torch.no_grad():
        for name in ("self_attn.out_proj", "mlp.fc2"):
            for parameter in added.get_submodule(name).parameters():
                parameter.zero_()
    return added


def share_tower(embedder: SiglipModel, vlm: LlavaOnevisionForConditionalGeneration) -> None:
    """Copy the embedder's vision tower (without its pooling head) into the answering model."""
    state = embedder.vision_model.state_dict()
    body = {name: value for name, value in state.items() if not name.startswith("head.")}
    vlm.model.vision_tower.load_state_dict(body)


def _set_generation(
    vlm: LlavaOnevisionForConditionalGeneration, special: Mapping[str, int]
) -> None:
    from transformers import GenerationConfig

    make: Any = GenerationConfig  # its constructor is untyped
    vlm.generation_config = make(do_sample=False, max_new_tokens=PROMPT.max_new_tokens, **special)


def _sine_positions(side: int, width: int) -> Tensor:
    """Return sine-cosine positions of a (side, side) grid, scaled to 0.4: (side*side, width)."""
    import torch

    quarter = width // 4
    frequency = 1.0 / (100.0 ** (torch.arange(quarter) / quarter))
    angle = torch.arange(side)[:, None] * frequency  # (side, width/4)
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # (side, width/2)
    rows = wave[:, None].expand(side, side, -1)
    columns = wave[None, :].expand(side, side, -1)
    return 0.4 * torch.cat([rows, columns], dim=-1).reshape(side * side, width)


# --- folders --------------------------------------------------------------------------------------

_IMAGE_PROCESSOR = {
    "image_processor_type": "SiglipImageProcessor",
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
}


def write_folders(
    directory: str | Path,
    embedder: SiglipModel,
    vlm: LlavaOnevisionForConditionalGeneration,
    card: str,
) -> None:
    """Write both models in half precision, their tokenizers, the processor, the prompt and the
    card.

    Args:
        directory: made if missing; files of an earlier save are replaced.
        card: text of the model card (`README.md`).
    """
    import copy

    import torch

    root = Path(directory)
    for name, model, length in (("vlm", vlm, 4096), ("embedder", embedder, TEXT_LENGTH)):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        half: Any = copy.deepcopy(model)
        half.to(torch.float16).save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        build_tokenizer(length).save_pretrained(folder)
        text = json.dumps(_IMAGE_PROCESSOR, indent=2) + "\n"
        (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")
    text = json.dumps(asdict(PROMPT), indent=2) + "\n"
    (root / "vlm" / "prompt.json").write_text(text, encoding="utf-8")
    (root / "README.md").write_text(card, encoding="utf-8")


def save(directory: str | Path, seed: int = 0) -> None:
    """Write mini with random weights from a seed: the right format, no knowledge."""
    embedder, vlm, _ = build(seed)
    card = (
        "# longvid-mini, untrained\n\nRandom weights from seed "
        f"{seed}: the right format for tests; its answers mean nothing.\n"
    )
    write_folders(directory, embedder, vlm, card)

"""longvid-mini: a video question-answering model of 4 million weights, in Hugging Face format.

Two models share one vision tower: a `SiglipModel` (the embedder: frames and texts in one space) and
a `LlavaOnevisionForConditionalGeneration` (the answering model: the same tower, a projector and a
Qwen2 decoder that reads the tower's last layer but one; the last serves the search). Both read and
write their weights with `save_pretrained` / `from_pretrained`, so the code that loads mini is the
code that loads a 7B checkpoint. This module knows the architecture, the vocabulary and the prompt;
it does not know how mini was trained or how its world is drawn.

    directory/vlm/        config, weights, tokenizer, generation config, processor, prompt.json
    directory/embedder/   config, weights, tokenizer (SigLIP: always pad to `max_length`)
    directory/README.md   the model card
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import (
        LlavaOnevisionForConditionalGeneration,
        PreTrainedTokenizerFast,
        SiglipModel,
    )

__all__ = [
    "ANSWER_TOKEN",
    "BACKGROUNDS",
    "COLORS",
    "DECODER_WIDTH",
    "EVENTS",
    "FRAME_TOKEN",
    "IMAGE_SIZE",
    "MOTIONS",
    "MOTION_BASE",
    "MOTION_VERBS",
    "NUMBERS",
    "PATCH_SIZE",
    "PLACES",
    "PLURALS",
    "PROMPT",
    "SHAPES",
    "SIGNS",
    "SIZES",
    "TEXT_LENGTH",
    "TOWER_WIDTH",
    "VIDEO_TOKEN",
    "PromptFormat",
    "build",
    "build_tokenizer",
    "prompt",
    "save",
    "search_layer",
    "share_tower",
    "unknown_words",
    "vocabulary",
    "words",
    "write_folders",
]

# --- the words of the world -----------------------------------------------------------------------

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "moon", "heart")
PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
    "ring": "rings",
    "moon": "moons",
    "heart": "hearts",
}
COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
BACKGROUNDS = ("grass", "water", "sand", "brick", "stone", "snow")
SIZES = ("small", "big")
# Left out because they look like, or are, another word: A I (articles), O Q D G, S, Z, B, N, U.
SIGNS = tuple("cefhjklmprtvwxy23456789")
PLACES = (
    "top left",
    "top",
    "top right",
    "left",
    "middle",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
MOTIONS = ("still", "left", "right", "up", "down", "around", "bounce", "grow", "shrink", "spin")
MOTION_VERBS = {  # "what ... ?"
    "still": "stays still",
    "left": "moves left",
    "right": "moves right",
    "up": "moves up",
    "down": "moves down",
    "around": "moves around",
    "bounce": "bounces",
    "grow": "grows",
    "shrink": "shrinks",
    "spin": "spins",
}
MOTION_BASE = {  # "does the star ... ?"
    "still": "stay still",
    "left": "move left",
    "right": "move right",
    "up": "move up",
    "down": "move down",
    "around": "move around",
    "bounce": "bounce",
    "grow": "grow",
    "shrink": "shrink",
    "spin": "spin",
}
EVENTS = ("nothing", "appears", "vanishes", "changes", "collides")
NUMBERS = ("zero", "one", "two", "three", "four")

_FUNCTION_WORDS = (
    "what which who where how many is are does do the a in on with there or you see can shape "
    "color colour sign letter digit object objects thing things background behind shot shots "
    "video first last before after right comes happens to say read show become turn into times "
    "appear move have size yes no ?"
)

# --- the prompt -----------------------------------------------------------------------------------

VIDEO_TOKEN = "<video>"
FRAME_TOKEN = "<frame>"
ANSWER_TOKEN = "<answer>"
_SPECIAL_TOKENS = (
    "<pad>",
    "<unk>",
    "<bos>",
    "<eos>",
    VIDEO_TOKEN,
    "<image>",
    FRAME_TOKEN,
    ANSWER_TOKEN,
)

IMAGE_SIZE = 64
TOWER_WIDTH = 128
DECODER_WIDTH = 192
PATCH_SIZE = 8
TEXT_LENGTH = 24
"""Positions of the embedder's text tower; every text is padded to it."""


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How frames and a question are laid out for the decoder, the same in training and in use.

    `<video>` is replaced by the visual tokens in time order. Each frame's tokens, however many a
    compressor left, are preceded by the embedding of `frame_prefix`: one separator, which tells the
    decoder where a frame begins when frames hold different counts. The decoder was trained with
    separators and, on a part of its samples, without.
    """

    template: str = f"{VIDEO_TOKEN} {{question}} {ANSWER_TOKEN}"
    frame_prefix: str = FRAME_TOKEN
    max_new_tokens: int = 6


PROMPT = PromptFormat()

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<video> "
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    " <answer>"
    "{% else %} {{ message['content'] }} <eos>{% endif %}"
    "{% endfor %}"
)


def prompt(question: str, format: PromptFormat = PROMPT) -> str:
    """Return the text around the visual tokens for a question.

    >>> prompt("What color is the star?")
    '<video> what color is the star ? <answer>'
    """
    return format.template.format(question=" ".join(words(question)))


def words(text: str) -> list[str]:
    """Split a text into lower-case words and question marks, as the tokenizer does.

    >>> words("Where's the RED star?")
    ['where', 'is', 'the', 'red', 'star', '?']
    """
    plain = text.lower().replace("\u2019", "'").replace("'s", " is")
    return re.findall(r"[a-z0-9]+|[?]", plain)


def vocabulary() -> tuple[str, ...]:
    """Return every word mini can read or say, sorted."""
    world: set[str] = {*SHAPES, *PLURALS.values(), *COLORS, *BACKGROUNDS, *SIZES, *SIGNS, *MOTIONS}
    world |= {*EVENTS, *NUMBERS, *_FUNCTION_WORDS.split()}
    for phrase in (*PLACES, *MOTION_VERBS.values(), *MOTION_BASE.values()):
        world |= set(phrase.split())
    return tuple(sorted(world))


def unknown_words(text: str) -> tuple[str, ...]:
    """Return the words of a text that mini does not know, in order, each once.

    >>> unknown_words("What color is the car?")
    ('car',)
    """
    known = set(vocabulary())
    return tuple(dict.fromkeys(word for word in words(text) if word not in known))


def build_tokenizer(model_max_length: int = 4096) -> PreTrainedTokenizerFast:
    """Make the word-level fast tokenizer; a word outside `vocabulary()` becomes `<unk>`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate((*_SPECIAL_TOKENS, *vocabulary()))}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace("\u2019", "'"),
            normalizers.Replace("'s", " is"),
            normalizers.Replace(Regex(r"[^a-z0-9?<>\s]"), " "),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("?", "isolated")]
    )
    make: Any = PreTrainedTokenizerFast  # its constructor is untyped
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=[VIDEO_TOKEN, "<image>", FRAME_TOKEN, ANSWER_TOKEN],
        model_max_length=model_max_length,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


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
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipConfig,
        SiglipModel,
        SiglipTextConfig,
        SiglipVisionConfig,
    )

    tokenizer = build_tokenizer()
    token_id = {token: index for index, token in enumerate((*_SPECIAL_TOKENS, *vocabulary()))}
    special: dict[str, Any] = {
        "pad_token_id": token_id["<pad>"],
        "bos_token_id": token_id["<bos>"],
        "eos_token_id": token_id["<eos>"],
    }
    tower: dict[str, Any] = {
        "hidden_size": TOWER_WIDTH,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
    }
    embedder_config = SiglipConfig(
        text_config=SiglipTextConfig(
            vocab_size=len(token_id),
            hidden_size=TOWER_WIDTH,
            intermediate_size=512,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            **special,
        ).to_dict(),
        vision_config=SiglipVisionConfig(**tower).to_dict(),
    )
    vlm_config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(vision_use_head=False, **tower).to_dict(),
        text_config=Qwen2Config(
            vocab_size=len(token_id),
            hidden_size=DECODER_WIDTH,
            intermediate_size=512,
            num_hidden_layers=5,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=8192,
            initializer_range=0.05,
            tie_word_embeddings=True,
            **special,
        ).to_dict(),
        image_token_index=token_id["<image>"],
        video_token_index=token_id[VIDEO_TOKEN],
        vision_feature_layer=-2,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[IMAGE_SIZE, IMAGE_SIZE]],
        tie_word_embeddings=True,
        **special,
    )
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
    return embedder, vlm, tokenizer


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


def _set_generation(vlm: LlavaOnevisionForConditionalGeneration, special: dict[str, Any]) -> None:
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

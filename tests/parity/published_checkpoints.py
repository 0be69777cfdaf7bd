"""Tiny random checkpoints of the published systems, under the names their authors gave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
)

from longvid.systems.llama_vid.network import LlamaVid, LlamaVidConfig
from longvid.systems.llama_vid.qformer import QFormerConfig
from longvid.systems.longvu.sva import SpatialVisionAggregator

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SPECIAL = ("<pad>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>")


def write_byte_tokenizer(folder: Path, *, with_image: bool = True, start: bool = True) -> None:
    """Write a tokenizer of bytes, which reads any text; it begins a text with <s> as Llama's."""
    special = [name for name in SPECIAL if with_image or name != "<image>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: index for index, name in enumerate((*special, *letters))}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if start:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=[
            name for name in special if name not in ("<pad>", "<s>", "</s>")
        ],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(folder)


def write_word_tokenizer(folder: Path, num_words: int) -> None:
    """Write a tokenizer whose word "w7" has the id 7 and which adds nothing."""
    vocabulary = {f"w{index}": index for index in range(num_words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"w\d+"), "isolated"),
        ]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="w0", clean_up_tokenization_spaces=False
    ).save_pretrained(folder)


def write_preprocessor(folder: Path, side: int, mean: Any = CLIP_MEAN, std: Any = CLIP_STD) -> None:
    """Write how a tower wants pixels."""
    table = {
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "image_mean": mean,
        "image_std": std,
        "resample": 3,
        "size": {"height": side, "width": side},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(table))


def write_embedder(folder: Path, side: int = 16, width: int = 16, vision_layers: int = 1) -> Path:
    """Write a CLIP that reads bytes."""
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    sizes = {"hidden_size": width, "intermediate_size": 24, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=CLIPTextConfig(
            vocab_size=300,
            num_hidden_layers=1,
            max_position_embeddings=64,
            eos_token_id=2,
            bos_token_id=1,
            pad_token_id=0,
            **sizes,
        ).to_dict(),
        vision_config=CLIPVisionConfig(
            image_size=side, patch_size=8, num_hidden_layers=vision_layers, **sizes
        ).to_dict(),
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    write_byte_tokenizer(folder)
    write_preprocessor(folder, side)
    return folder


def text_config(**changes: Any) -> LlamaConfig:
    """Return a tiny Llama that reads bytes."""
    values: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return LlamaConfig(**{**values, **changes})


def write_llava(folder: Path, side: int = 336) -> Path:
    """Write a LLaVA-NeXT whose layer before the last is read."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=side,
            patch_size=14,
            initializer_range=0.3,
        ).to_dict(),
        text_config=text_config(max_position_embeddings=2048).to_dict(),
        image_token_index=SPECIAL.index("<image>"),
        image_grid_pinpoints=[[side, side]],
        vision_feature_layer=-2,
    )
    model = LlavaNextForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    write_byte_tokenizer(folder)
    write_preprocessor(folder, side)
    return folder


def write_sharded(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Write two pickled shards and their index, as the authors did."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(state)
    half = len(names) // 2
    shards = {
        "pytorch_model-00001-of-00002.bin": names[:half],
        "pytorch_model-00002-of-00002.bin": names[half:],
    }
    weight_map = {name: file for file, listed in shards.items() for name in listed}
    for file, listed in shards.items():
        torch.save({name: state[name] for name in listed}, folder / file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def write_bert(folder: Path, num_heads: int, num_words: int) -> None:
    """Write what LLaMA-VID takes of BERT: a tokenizer and the number of heads."""
    folder.mkdir(parents=True)
    table = {"model_type": "bert", "num_attention_heads": num_heads}
    (folder / "config.json").write_text(json.dumps(table))
    write_word_tokenizer(folder, num_words)


def random_adapter(vision_width: int, llm_width: int, **changes: Any) -> dict[str, torch.Tensor]:
    """Return a tiny random adapter of LLaMA-VID by its names."""
    torch.manual_seed(4)
    raw = changes.get("reader") == "raw"
    qformer = QFormerConfig(
        hidden=16,
        depth=3,
        num_heads=2,
        feedforward=24,
        vocabulary=64,
        max_positions=32,
        vision_width=16 if raw else vision_width,
    )
    model = LlamaVid(
        LlamaVidConfig(
            qformer=qformer,
            num_queries=4,
            vision_width=vision_width,
            llm_width=llm_width,
            **changes,
        )
    )
    if not raw:
        torch.nn.init.normal_(model.vlm_att_query)
    return model.state_dict()


def write_llama_vid(
    folder: Path,
    adapter: dict[str, torch.Tensor],
    *,
    compress_type: str | None = "mean",
    bert_heads: int = 2,
    side: int = 28,
    tower_heads: int = 3,
    extra: dict[str, torch.Tensor] | None = None,
    without: str = "",
    **config: Any,
) -> LlamaForCausalLM:
    """Write LLaMA-VID without its tower; return its language model."""
    torch.manual_seed(2)
    llm_width = adapter["mm_projector.0.weight"].shape[0]
    text = LlamaForCausalLM(text_config(hidden_size=llm_width)).eval()
    state = {name: value.half() for name, value in text.state_dict().items()}
    state |= {f"model.{name}": value.half() for name, value in adapter.items()}
    # Tables that the library of the time saved with the weights.
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(5)
    state["model.vlm_att_encoder.bert.embeddings.position_ids"] = torch.arange(512)[None]
    state |= extra or {}
    state.pop(without, None)
    write_sharded(folder, state)
    table = {
        **text.config.to_diff_dict(),
        "model_type": "llava",
        "architectures": ["LlavaLlamaAttForCausalLM"],
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "mm_vision_tower": "./model_zoo/LAVIS/eva_vit_g.pth",
        "image_processor": f"./llamavid/processor/clip-patch7-{side}",
        "mm_vision_select_feature": "patch",
        "mm_vision_tower_config": {"num_heads": tower_heads},
        "bert_type": "qformer_pretrain",
        "num_query": 32 if "vlm_att_query" not in adapter else adapter["vlm_att_query"].shape[1],
        "compress_type": compress_type,
        "mm_use_im_start_end": False,
        **config,
    }
    table.pop("rope_parameters", None)
    (folder / "config.json").write_text(json.dumps(table))
    # As Vicuna's: settings of sampling without sampling.
    generation = {"temperature": 0.9, "top_p": 0.6, "bos_token_id": 1, "eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    write_byte_tokenizer(folder, with_image=False)
    words = adapter["vlm_att_encoder.bert.embeddings.word_embeddings.weight"].shape[0]
    write_bert(folder / "bert", bert_heads, words)
    return text.half().float()


def write_siglip(folder: Path, side: int = 32) -> Path:
    """Write a SigLIP that reads bytes, 8 x 8 patches a frame of 32 pixels."""
    folder.mkdir(parents=True)
    torch.manual_seed(6)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config=SiglipTextConfig(
            vocab_size=300, num_hidden_layers=1, max_position_embeddings=64, **sizes
        ).to_dict(),
        vision_config=SiglipVisionConfig(
            image_size=side, patch_size=4, num_hidden_layers=2, **sizes
        ).to_dict(),
    )
    SiglipModel(config).save_pretrained(folder)
    write_byte_tokenizer(folder, start=False)
    write_preprocessor(folder, side, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return folder


def write_dino(folder: Path) -> Path:
    """Write a DINOv2 with patches of 7 pixels."""
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    config = Dinov2Config(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=7,
        layerscale_value=1.0,
    )
    Dinov2Model(config).save_pretrained(folder)
    write_preprocessor(folder, 28, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return folder


def random_connector(tower_widths: tuple[int, int], llm_width: int) -> dict[str, torch.Tensor]:
    """Return a tiny random connector of LongVU by its names."""
    torch.manual_seed(8)
    aggregator = SpatialVisionAggregator(
        tower_widths=tower_widths,
        tower_sides=(12, 12),
        query_side=6,
        width=32,
        llm_width=llm_width,
    )
    return aggregator.state_dict() | {"image_newline": torch.randn(llm_width)}


def write_longvu(
    folder: Path,
    connector: dict[str, torch.Tensor],
    *,
    model_type: str = "cambrian_qwen",
    embed_tokens: torch.Tensor | None = None,
    extra: dict[str, torch.Tensor] | None = None,
    without: str = "",
    **config: Any,
) -> Any:
    """Write LongVU in one pickle; return its language model."""
    torch.manual_seed(9)
    width = connector["mm_projector.2.weight"].shape[0]
    sizes: dict[str, Any] = {
        "vocab_size": 320 if embed_tokens is None else len(embed_tokens),
        "hidden_size": width,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    llama = model_type == "cambrian_llama"
    text_settings = LlamaConfig(**sizes) if llama else Qwen2Config(**sizes)
    text: Any = (LlamaForCausalLM if llama else Qwen2ForCausalLM)(text_settings).eval()
    if embed_tokens is not None:
        text.model.embed_tokens.weight.data.copy_(embed_tokens)
    state = dict(text.state_dict())
    state |= {f"model.{name}": value for name, value in connector.items()}
    state |= extra or {}
    state.pop(without, None)
    folder.mkdir(parents=True)
    torch.save(state, folder / "pytorch_model.bin")
    table = {
        **text_settings.to_diff_dict(),
        "model_type": model_type,
        "architectures": ["CambrianLlamaForCausalLM" if llama else "CambrianQwenForCausalLM"],
        "rope_theta": 10000.0,
        "mm_projector_type": "sva",
        "mm_vision_tower_aux_list": [
            "siglip/CLIP-ViT-SO400M-14-384",
            "facebook/dinov2-giant-res378",
        ],
        "mm_vision_tower_aux_token_len_list": [144, 144],
        "image_token_len": 36,
        "query_num_list": [36],
        "num_query_group": 1,
        "vision_hidden_size": connector["vision_query"].shape[1],
        "connector_only": True,
        "connector_depth": 3,
        "lowres_token": 4,
        "highres": True,
        "dino_threshold": 0.83,
        "drop_threshold": 0.8,
        "frame_pos": False,
        "tokenizer_model_max_length": 8192,
        "image_aspect_ratio": "pad",
        **config,
    }
    table.pop("rope_parameters", None)
    (folder / "config.json").write_text(json.dumps(table))
    if embed_tokens is None:
        write_byte_tokenizer(folder, with_image=False, start=llama)
    else:
        write_word_tokenizer(folder, len(embed_tokens))
    return text


def write_video(path: Path, num_frames: int, height: int, width: int) -> Path:
    """Write a grey film of 25 frames a second, of any size."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv444p"
        for index in range(num_frames):
            picture = np.full((height, width, 3), 3 * index % 256, dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path

"""Open-vocabulary detectors of Hugging Face as functions of one picture and phrases."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.errors import ModelError
from longvid.lazy_import import no_grad, torch
from longvid.methods.tracking import Detection
from longvid.models import checkpoint_files
from longvid.models.from_pretrained import load as load_model
from longvid.models.from_pretrained import resolve_dtype

if TYPE_CHECKING:
    import numpy as np

#: Families: the class in transformers, and the least score that counts unless one is given.
FAMILIES = {
    "owlv2": ("Owlv2ForObjectDetection", 0.2),
    "grounding-dino": ("GroundingDinoForObjectDetection", 0.3),
    "mm-grounding-dino": ("MMGroundingDinoForObjectDetection", 0.3),
    "omdet-turbo": ("OmDetTurboForObjectDetection", 0.3),
}
_PROMPT = "a photo of {}"
_OMDET_TOKENS = 77  # of its CLIP text tower

Detector = Callable[["np.ndarray", Sequence[str]], list[Detection]]


def load_detector(
    name: str, device: str = "cpu", *, threshold: float = 0.0, dtype: str = "auto"
) -> Detector:
    """Load a detector as a function of a picture (H, W, 3) uint8 and phrases.

    It returns boxes in [0, 1] of the picture as given, labelled with a phrase, best first; those of
    one phrase may overlap. A box outside the picture is left out, others are cut to it.

    Args:
        name: A folder or a hub name, such as "google/owlv2-base-patch16-ensemble".
        device: Where it runs.
        threshold: Least score; 0 takes the family's usual one.
        dtype: "auto", "float32", "bfloat16" or "float16".

    Raises:
        ModelError: The checkpoint is missing, incomplete, or of another family, or needs a package
            that is not installed.
    """
    import transformers

    folder = checkpoint_files.locate(name)
    config = checkpoint_files.read_config(folder)
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise ModelError(
            f"{folder} is of architecture {family!r}; boxes of phrases need one of "
            f"{', '.join(FAMILIES)}."
        )
    class_name, usual = FAMILIES[family]
    _require_backbone(folder, config)
    kind = resolve_dtype(dtype, device)
    model = load_model(folder, getattr(transformers, class_name), dtype=kind, device=device)
    tokenizer = _tokenizer(folder)
    detect = {"owlv2": _owlv2, "omdet-turbo": _omdet_turbo}.get(family, _grounding_dino)
    least = threshold or usual

    @no_grad
    def run(picture: np.ndarray, phrases: Sequence[str]) -> list[Detection]:
        if not phrases:
            return []
        scores, boxes = detect(model, tokenizer, picture, phrases)
        return _detections(scores.float().cpu(), boxes.float().cpu(), phrases, least)

    return run


def _require_backbone(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose vision tower is of timm where timm is not installed."""
    backbone = config.get("backbone_config") or {}
    of_timm = config.get("use_timm_backbone") or backbone.get("model_type") == "timm_backbone"
    if of_timm and importlib.util.find_spec("timm") is None:
        raise ModelError(
            f"The vision tower of {folder} is of the package timm, which is not installed; run: "
            "pip install timm"
        )


def _tokenizer(folder: Path) -> Any:
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} has no tokenizer that can be read; download the checkpoint again."
        ) from error


def _owlv2(
    model: Any, tokenizer: Any, picture: np.ndarray, phrases: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (queries, phrases) and corners (queries, 4) of the picture."""
    from longvid.methods.boxes import centre_to_corners
    from longvid.models.detection_pixels import owlv2_pixels

    text = tokenizer(
        [_PROMPT.format(phrase) for phrase in phrases],
        padding="max_length",
        max_length=model.config.text_config.max_position_embeddings,
        truncation=True,
        split_special_tokens=True,
        return_tensors="pt",
    ).to(model.device)
    pixels = owlv2_pixels(picture, model.config.vision_config.image_size)
    out = model(
        input_ids=text["input_ids"],
        attention_mask=text["attention_mask"],
        pixel_values=pixels.to(model.device, model.dtype),
    )
    height, width = picture.shape[:2]
    longest = max(height, width)
    scale = out.pred_boxes.new_tensor([longest / width, longest / height] * 2)
    return out.logits[0].sigmoid(), centre_to_corners(out.pred_boxes[0]) * scale


def _grounding_dino(
    model: Any, tokenizer: Any, picture: np.ndarray, phrases: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (queries, phrases), the best of each phrase's tokens, and corners."""
    from longvid.methods.boxes import centre_to_corners
    from longvid.models.detection_pixels import grounding_dino_pixels

    names = [" ".join(phrase.lower().replace(".", " ").split()) for phrase in phrases]
    text = tokenizer(
        ". ".join(names) + ".",
        truncation=True,
        max_length=model.config.max_text_len,
        split_special_tokens=True,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    offsets = text.pop("offset_mapping")[0]
    text = text.to(model.device)
    pixels = grounding_dino_pixels(picture).to(model.device, model.dtype)
    out = model(
        pixel_values=pixels,
        input_ids=text["input_ids"],
        attention_mask=text["attention_mask"],
        token_type_ids=torch.zeros_like(text["input_ids"]),
    )
    probabilities = out.logits[0].sigmoid()  # (queries, max_text_len)
    scores, start = [], 0
    for name in names:
        end = start + len(name)
        inside = (offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > 0)
        places = inside.nonzero()[:, 0].to(probabilities.device)
        cut = not len(places)  # the text was longer than the model reads
        best = probabilities[:, places].amax(dim=1) if not cut else probabilities[:, 0] * 0
        scores.append(best)
        start = end + 2
    return torch.stack(scores, dim=1), centre_to_corners(out.pred_boxes[0])


def _omdet_turbo(
    model: Any, tokenizer: Any, picture: np.ndarray, phrases: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (queries, phrases) and corners (queries, 4) of the picture."""
    from longvid.methods.boxes import centre_to_corners
    from longvid.models.detection_pixels import resized_pixels

    def tokens(texts: Sequence[str]) -> dict[str, torch.Tensor]:
        length = min(_OMDET_TOKENS, model.config.text_config.max_position_embeddings)
        text = tokenizer(
            list(texts),
            padding="max_length",
            max_length=length,
            truncation=True,
            split_special_tokens=True,
            return_tensors="pt",
        ).to(model.device)
        return {name: text[name] for name in ("input_ids", "attention_mask")}

    side = model.config.image_size
    height, width = (side, side) if isinstance(side, int) else side
    classes, task = tokens(phrases), tokens([f"Detect {', '.join(phrases)}."])
    out = model(
        pixel_values=resized_pixels(picture, height, width).to(model.device, model.dtype),
        classes_input_ids=classes["input_ids"],
        classes_attention_mask=classes["attention_mask"],
        tasks_input_ids=task["input_ids"],
        tasks_attention_mask=task["attention_mask"],
        classes_structure=torch.tensor([len(phrases)], device=model.device),
    )
    return out.decoder_class_logits[0].sigmoid(), centre_to_corners(out.decoder_coord_logits[0])


def _detections(
    scores: torch.Tensor, boxes: torch.Tensor, phrases: Sequence[str], least: float
) -> list[Detection]:
    found = []
    corners = boxes.clamp(0, 1)
    seen = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    for query, phrase in ((scores > least) & seen[:, None]).nonzero().tolist():
        left, top, right, bottom = corners[query].tolist()
        score = float(scores[query, phrase])
        found.append(Detection(phrases[phrase], (left, top, right, bottom), score))
    return sorted(found, key=lambda one: -one.score)

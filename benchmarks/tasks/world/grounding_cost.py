"""What the steps of grounding one answer cost with models of real size, their weights random.

The architectures are those of google/owlv2-base-patch16-ensemble and facebook/sam2.1-hiera-tiny, at
their own input sizes; what random weights find means nothing, how long they take does.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from benchmarks.measurements import Row
from longvid.models.detectors import load_detector
from longvid.models.mask_tracker import load_mask_tracker

_TASK = "cost of grounding, random weights, CPU"
_WORDS = ["[PAD]", "[UNK]", "a", "photo", "of", "red", "car"]
_FRAMES = 3
_BOX = (0.2, 0.2, 0.6, 0.7)


def grounding_cost(say: Callable[[str], None]) -> list[Row]:
    """Measure the detector on pictures and the tracker on frames, of 384 x 216 pixels.

    Args:
        say: Told what is being done.
    """
    random = np.random.default_rng(7)
    pictures = [random.integers(0, 256, (216, 384, 3), np.uint8) for _ in range(_FRAMES)]
    with tempfile.TemporaryDirectory(prefix="longvid-cost-") as folder:
        say("making a detector of OWLv2's base size")
        _save_detector(Path(folder, "owlv2"))
        detect = load_detector(f"{folder}/owlv2")
        find = [_seconds(partial(detect, one, ["red car", "car"])) for one in pictures]
        say("making a tracker of SAM 2's tiny size")
        torch.manual_seed(0)
        transformers.Sam2VideoModel(transformers.Sam2VideoConfig()).save_pretrained(
            f"{folder}/sam2"
        )
        propagate = load_mask_tracker(f"{folder}/sam2")
        follow = _seconds(partial(propagate, pictures, 0, [_BOX])) / len(pictures)
    return [
        Row(_TASK, "OWLv2 base, 2 phrases", "a picture", statistics.median(find), "s", len(find)),
        Row(_TASK, "SAM 2 tiny, 1 thing", "a picture", follow, "s", len(pictures)),
    ]


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _save_detector(folder: Path) -> None:
    torch.manual_seed(0)
    vision = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 960,
        "patch_size": 16,
    }
    config = transformers.Owlv2Config(text_config={}, vision_config=vision, projection_dim=512)
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    words = Tokenizer(
        WordLevel(dict(zip(_WORDS, itertools.count(), strict=False)), unk_token="[UNK]")
    )
    words.pre_tokenizer = Whitespace()
    fast: Any = transformers.PreTrainedTokenizerFast
    fast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)

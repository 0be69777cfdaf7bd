"""Models of transformers that take video have an adapter, or a reason why not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from transformers.models.auto import modeling_auto

from longvid.errors import ModelError
from longvid.models.families import FAMILIES, family_of
from longvid.models.families.left_out import LEFT_OUT
from longvid.models.tokenizer import load_tokenizer
from tests.parity.family_cases import Case
from tests.parity.recent_families import HYPERCLOVAX, QWEN3_5

_MODALITIES = re.compile(r"input_modalities = (\(.*?\)|\[.*?\])", re.DOTALL)
#: The keys of transformers' table whose config.json of a whole model says something else.
_OF_WHOLE = {"qwen2_5_omni_thinker": "qwen2_5_omni"}


def _takes_video(name: str) -> bool:
    """Tell by the source of a model, which is quicker than importing a hundred."""
    package = re.sub(r"[-.]", "_", name).removesuffix("_thinker")
    source = Path(modeling_auto.__file__).parents[1] / package / f"modeling_{package}.py"
    if not source.is_file():
        return False
    stated = _MODALITIES.findall(source.read_text(encoding="utf-8"))
    return any('"video"' in one for one in stated)


def test_every_model_that_takes_video_has_an_adapter_or_a_reason() -> None:
    names = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    takes_video = {_OF_WHOLE.get(name, name) for name in names if _takes_video(name)}
    assert len(takes_video) > 30, "the way in which transformers states it has changed"
    assert takes_video - set(FAMILIES) == set(LEFT_OUT) - {"idefics"}
    assert set(LEFT_OUT).isdisjoint(FAMILIES)


def test_the_readme_names_every_family() -> None:
    """Those of published systems have a paragraph of their own."""
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    [sentence] = re.findall(r"config\.json says (.*?), with any", text, re.DOTALL)
    named = set(re.split(r",\s+|\s+or\s+", sentence))
    systems = {name for name, place in FAMILIES.items() if place.startswith("longvid.systems")}
    assert named == set(FAMILIES) - systems


def test_a_left_out_model_is_refused_with_its_reason(tmp_path: Path) -> None:
    table = {"model_type": "video_llava", "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match=r"one tower for pictures.*one of llava, .*gemma4"):
        family_of(tmp_path)


@pytest.mark.parametrize("case", [QWEN3_5, HYPERCLOVAX], ids=lambda case: case.name)
def test_a_checkpoint_without_its_vocabulary_is_refused(case: Case, tmp_path: Path) -> None:
    """Of these architectures transformers makes a tokenizer without words."""
    case.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no vocabulary.*download the checkpoint again"):
        load_tokenizer(tmp_path)

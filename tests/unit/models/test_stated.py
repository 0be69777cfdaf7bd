"""What config.json states is read without transformers, and is what transformers would say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from longvid.encode.embedder import width_of
from longvid.models.config_json import Stated
from longvid.models.families import family_of, space_of
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case
from tests.parity.family_cases import LLAVA, NEXT, NEXT_VIDEO, ONEVISION, QWEN2_5, QWEN3, QWEN3_MOE
from tests.parity.shuffled_cases import INTERNVL, SMOLVLM

CASES = (LLAVA, NEXT, NEXT_VIDEO, ONEVISION, QWEN2_5, QWEN3, QWEN3_MOE, INTERNVL, SMOLVLM)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_space_is_named_alike_with_and_without_transformers(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.save(tmp_path)
    family: Any = family_of(tmp_path)
    stated = (space_of(tmp_path), family.pixel_format(tmp_path))
    monkeypatch.setattr(type(family), "stated", lambda self, folder: self.config(folder))
    assert stated == (space_of(tmp_path), family.pixel_format(tmp_path))


def test_what_is_not_stated_is_asked_of_transformers(tmp_path: Path) -> None:
    tiny.write_embedder(tmp_path)
    width = width_of(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["projection_dim"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert width_of(tmp_path) == 512 != width  # CLIP's own default


def test_a_table_is_completed_by_the_whole() -> None:
    asked: list[str] = []

    class Whole:
        depth = 7
        inner = type("Inner", (), {"width": 3, "height": 4})

    def whole() -> Any:
        asked.append("whole")
        return Whole

    stated = Stated({"depth": 5, "absent": None, "inner": {"width": 9}}, whole)
    assert (stated.depth, stated.inner.width) == (5, 9)
    assert asked == []
    assert stated.inner.height == 4
    assert asked == ["whole"]
    with pytest.raises(AttributeError):
        _ = stated.absent


def test_a_runner_asks_without_importing_transformers() -> None:
    program = (
        "import sys; from longvid.config import load_config\n"
        "encoder = load_config('mini').encoder\n"
        "encoder.space(), encoder.embedding_width(), encoder.frame_size(), encoder.identity()\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)

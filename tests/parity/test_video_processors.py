"""The slow twins of pixels beside the true video processors of transformers, where those can run.

They need torchvision, which longvid does not. Where it is not installed these tests are skipped,
and the identity tests stand on the twins alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from longvid.models.families import family_of
from tests.parity import family_cases as cases
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case

pytest.importorskip("torchvision", reason="true video processors need torchvision")

#: Class of the processor, and what a released configuration says besides that of the tests.
_QWEN = {"patch_size": tiny.PATCH, "temporal_patch_size": 2, "merge_size": 2}
_SQUARE = {"longest_edge": cases.SMOLVLM.size[0]}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "llava_onevision": ("LlavaOnevisionVideoProcessor", {}),
    "llava_next_video": ("LlavaNextVideoVideoProcessor", {}),
    "qwen2_5_vl": ("Qwen2VLVideoProcessor", {**_QWEN, "cap_pixels_per_frame": False}),
    "qwen3_vl": (
        "Qwen3VLVideoProcessor",
        # Its bounds are of all frames together, where longvid's are of one.
        {**_QWEN, "cap_pixels_per_frame": False, "size": {"shortest_edge": 1, "longest_edge": 1e6}},
    ),
    "internvl": ("InternVLVideoProcessor", {}),
    "smolvlm": ("SmolVLMVideoProcessor", {"size": _SQUARE, "max_image_size": _SQUARE}),
}
CASES = [case for case in cases.ALL if case.name in PROCESSORS]


def processed(case: Case, folder: Path, frames: torch.Tensor) -> dict[str, Any]:
    """Run a case's true video processor."""
    import transformers

    name, changes = PROCESSORS[case.name]
    table = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "video_preprocessor_config.json").write_text(json.dumps({**table, **changes}))
    processor = getattr(transformers, name).from_pretrained(folder)
    outputs: dict[str, Any] = processor(
        videos=[frames], do_sample_frames=False, return_tensors="pt"
    )
    return outputs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_twin_equals_the_true_processor(case: Case, tmp_path: Path) -> None:
    case.save(tmp_path)
    found = processed(case, tmp_path, tiny.frames(case.size).data)
    wanted = case.own(tiny.own_pixels(case.size), torch.zeros(1, 1, dtype=torch.long))
    pixels = next(key for key in found if key.startswith("pixel_values"))
    twin = next(value for key, value in wanted.items() if key.startswith("pixel_values"))
    torch.testing.assert_close(found[pixels].flatten(), twin.flatten().float(), atol=1e-6, rtol=0.0)
    if "video_grid_thw" in wanted:
        assert torch.equal(found["video_grid_thw"], wanted["video_grid_thw"])


_EDGE = cases.SMOLVLM.size[0]


@pytest.mark.parametrize("size", [(50, 90), (90, 51)], ids=["wide", "tall"])
@pytest.mark.parametrize("resample", [1, 3], ids=["lanczos", "bicubic"])
@pytest.mark.parametrize(
    "stated",
    [
        {"size": {"longest_edge": 4 * _EDGE}, "video_sampling": {"longest_edge": _EDGE}},
        {"video_sampling": {"longest_edge": _EDGE}},
    ],
    ids=["of-pictures-too", "of-videos"],
)
def test_smolvlm_scales_twice_as_its_true_processor(
    size: tuple[int, int], resample: int, stated: dict[str, Any], tmp_path: Path
) -> None:
    import transformers

    cases.SMOLVLM.save(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    table = json.loads(path.read_text())
    del table["size"]
    table |= {"max_image_size": _SQUARE, "resample": resample, **stated}
    table["video_sampling"] = {"fps": 1, "max_frames": 64, "video_size": stated["video_sampling"]}
    path.write_text(json.dumps(table))
    frames = tiny.frames(size).data
    found = transformers.SmolVLMVideoProcessor.from_pretrained(tmp_path)(
        videos=[frames], do_sample_frames=False, return_tensors="pt"
    )["pixel_values"][0]
    wanted = family_of(tmp_path).pixel_format(tmp_path)
    ours = wanted.normalize(wanted.resize(frames))
    torch.testing.assert_close(found, ours, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("case", [cases.INTERNVL, cases.QWEN2_5], ids=lambda case: case.name)
def test_frames_of_another_size_are_resized_as_by_the_true_processor(
    case: Case, tmp_path: Path
) -> None:
    case.save(tmp_path)
    frames = tiny.frames((50, 90)).data
    found = processed(case, tmp_path, frames)["pixel_values_videos"]
    wanted = family_of(tmp_path).pixel_format(tmp_path)
    pixels = wanted.normalize(wanted.resize(frames))
    own = case.own(pixels, torch.zeros(1, 1, dtype=torch.long))
    twin = next(value for key, value in own.items() if key.startswith("pixel_values"))
    torch.testing.assert_close(found.flatten(), twin.flatten(), atol=1e-6, rtol=0.0)

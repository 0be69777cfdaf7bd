"""Every number of published systems and compressors, against arrays of their own code.

Files come from LONGVID_GOLDEN_DIR, by default tests/golden. A file whose family is not known
fails, and so does a file with an array that its check did not read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.parity.golden_compressors import (
    check_dtd,
    check_evs,
    check_flashvid,
    check_flashvid_choice,
    check_flashvid_clusters,
    check_flashvid_merging,
    check_flashvid_scenes,
    check_vcast,
    check_vcast_allocation,
    check_vcast_two_videos,
    check_vidcom2,
    check_vidcom2_newlines,
)
from tests.parity.golden_file import GoldenFile
from tests.parity.golden_llama_vid import (
    check_eva,
    check_full,
    check_subtitles,
    check_token_generation,
)
from tests.parity.golden_longvu import (
    check_frame_positions,
    check_pipeline,
    check_rearrange,
    check_select,
    check_sva,
    check_unpad_and_mask,
)
from tests.parity.golden_regions import CHECKS, check_box_text
from tests.parity.golden_slowfast import check_aggregation, check_seq_frames, check_slow_index_table

DIRECTORY = Path(
    os.environ.get("LONGVID_GOLDEN_DIR", Path(__file__).resolve().parents[1] / "golden")
)

# The first prefix that fits decides.
FAMILIES: dict[str, Callable[[GoldenFile], None]] = {
    "sfllava_get_seq_frames": check_seq_frames,
    "sfllava_slow_index_table": check_slow_index_table,
    "sfllava_": check_aggregation,
    "llamavid_full_": check_full,
    "llamavid_tokengen_": check_token_generation,
    "llamavid_eva_": check_eva,
    "llamavid_subtitles_": check_subtitles,
    "longvu_select_": check_select,
    "longvu_unpad_and_mask": check_unpad_and_mask,
    "longvu_rearrange_": check_rearrange,
    "longvu_sva_": check_sva,
    "longvu_frame_pos_": check_frame_positions,
    "longvu_pipe_iso_": check_pipeline,
    "longvu_pipe_sva_": check_pipeline,
    "vcast_allocate_": check_vcast_allocation,
    "vcast_two_videos_": check_vcast_two_videos,
    "vcast_": check_vcast,
    "vidcom2_llava_video_": check_vidcom2_newlines,
    "vidcom2_": check_vidcom2,
    "evs_": check_evs,
    "dtd_": check_dtd,
    "flashvid_segment_": check_flashvid_scenes,
    "flashvid_select_": check_flashvid_choice,
    "flashvid_tstm_": check_flashvid_merging,
    "flashvid_dpcknn_": check_flashvid_clusters,
    "flashvid_full_": check_flashvid,
    **CHECKS,
}


def check(path: Path) -> None:
    """Check one file by its family, and that nothing in it was passed over."""
    golden = GoldenFile(path)
    family = next((name for name in FAMILIES if golden.name.startswith(name)), None)
    assert family is not None, f"{path.name} belongs to no known family: {', '.join(FAMILIES)}"
    FAMILIES[family](golden)
    assert not golden.unread(), f"{path.name}: arrays not checked: {', '.join(golden.unread())}"


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.npz")), ids=lambda path: path.stem)
def test_equals_the_original(path: Path) -> None:
    check(path)


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.json")), ids=lambda path: path.stem)
def test_writes_and_reads_the_same_text(path: Path) -> None:
    assert path.stem.startswith("box_text"), f"{path.name} belongs to no known family"
    check_box_text(path)


def test_there_are_golden_files() -> None:
    assert any(DIRECTORY.glob("*.npz")), f"no .npz files in {DIRECTORY}"


def test_an_unknown_family_fails(tmp_path: Path) -> None:
    path = tmp_path / "vidllama_mean.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(AssertionError, match="no known family"):
        check(path)


def test_an_unchecked_array_fails(tmp_path: Path) -> None:
    path = tmp_path / "longvu_frame_pos_h2.npz"
    t = np.array([0])
    out = np.array([[[0.0, 1.0]]], dtype=np.float32)
    np.savez(path, t=t, out=out)
    check(path)
    np.savez(path, t=t, out=out, surprise=np.zeros(1))
    with pytest.raises(AssertionError, match="surprise"):
        check(path)


def test_a_wrong_number_fails(tmp_path: Path) -> None:
    path = tmp_path / "longvu_frame_pos_h2.npz"
    np.savez(path, t=np.array([0]), out=np.array([[[0.0, 1.0001]]], dtype=np.float32))
    with pytest.raises(AssertionError, match="out"):
        check(path)

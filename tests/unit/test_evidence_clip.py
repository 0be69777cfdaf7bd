"""`longvid ask --open`: the first evidence whose file is there, cut and played."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import av
import pytest

from longvid.cli.evidence_clip import open_evidence
from longvid.inputs import content_id
from longvid.types import Evidence

CLIP = Path(__file__).parents[1] / "data" / "bbb_rabbit_5s.mp4"


def test_the_first_evidence_whose_file_is_there_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGVID_HOME", str(tmp_path))
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: not opened.append(uri))
    gone = Evidence("a", str(tmp_path / "gone.mp4"), 0.0, 1.0, 0.9)
    here = Evidence(content_id(str(CLIP)), str(CLIP), 1.0, 2.0, 0.8)
    changed = Evidence("b", str(CLIP), 1.0, 2.0, 0.8)  # another film has that name now
    target = tmp_path / "clips" / "bbb_rabbit_5s.1-2.mp4"
    assert open_evidence([gone, changed, here]) == f"Opened {target}"
    assert opened == [target.as_uri()]
    with av.open(str(target)) as clip:
        assert float(clip.duration / av.time_base) == pytest.approx(1.0, abs=0.1)
    assert open_evidence([gone]) == "There is no evidence whose file is at its place."
    assert "is not the file that was indexed" in open_evidence([gone, changed])
    monkeypatch.setattr(webbrowser, "open", lambda uri: False)
    assert open_evidence([here]) == f"No player was found for {target}"

"""The report of a store: one page that needs nothing else, and tables for programs."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from longvid.cli import main


def test_a_page_shows_videos_pictures_answers_and_evidence(
    small_store: Path, tmp_path: Path
) -> None:
    page = tmp_path / "out" / "report.html"
    words = ["report", "--store", str(small_store), "--output", str(page)]
    assert (
        main([*words, "--question", "what color is the star?", "--question", "my <b>zebra?"]) == 0
    )
    text = page.read_text()
    for name in ("bottles_40s.mp4", "stream_title_vfr_vp8.webm"):
        assert name in text
    assert text.count("data:image/jpeg;base64,") >= 4
    assert re.search(r'<span title="question 1" style="left: [\d.]+%; width: [\d.]+%">', text)
    assert "my &lt;b&gt;zebra?" in text
    assert "<b>zebra" not in text
    assert "does not know" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)  # nothing is loaded from elsewhere


def test_tables_have_a_row_a_video(small_store: Path, tmp_path: Path) -> None:
    assert main(["report", "--store", str(small_store), "--csv", str(tmp_path)]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "videos.csv").read_text())))
    assert len(rows) == 3
    assert all(float(row["duration_seconds"]) > 0 for row in rows)
    assert (tmp_path / "failures.csv").read_text().startswith("video_id,path,stage")


def test_a_place_that_cannot_be_written_is_one_sentence(
    small_store: Path, tmp_path: Path, capsys: object
) -> None:
    (tmp_path / "file").write_text("")
    words = ["report", "--store", str(small_store), "--output", str(tmp_path / "file" / "x.html")]
    assert main(words) == 1

"""README's section "Where is it?" on a short film, word by word; and what can go wrong there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import av
import pytest
from PIL import Image

from longvid.cli import main
from longvid.world.film import write_film
from longvid.world.scene import make_film

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("### Where is it?")[1].split("\n### ")[0]
COMMANDS, OBJECT_COMMANDS = (
    [shlex.split(line)[1:] for line in block.splitlines()]
    for block in re.findall(r"^```\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)[:2]
)
#: A film of half a minute with a white star at the bottom left, in its last shot.
SEED = 20_261_372
BOTTOM_LEFT = (0.0, 0.5, 0.5, 1.0)


def shows_red(clip: Path) -> bool:
    """Tell whether the first phrase's colour is drawn into a frame of a clip."""
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24").astype(int)
            if (abs(pixels - (255, 59, 48)).sum(-1) < 60).sum() > 20:
                return True
    return False


def test_the_figures_are_those_of_the_results() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "world_ground.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    found = {(row["task"], row["subject"], row["metric"]): row["value"] for row in rows}

    def of_lengths(metric: str, digits: int) -> str:
        tasks = [f"grounded answers, {length}" for length in ("1 min", "1 h")]
        values = [found[task, "drawn_shapes", metric] for task in tasks]
        return " and ".join(f"{value:.{digits}f}" for value in values)

    cost = "cost of grounding, random weights, CPU"
    detector = found[cost, "OWLv2 base, 2 phrases", "a picture"]
    tracker = found[cost, "SAM 2 tiny, 1 thing", "a picture"]
    seconds = of_lengths("ground_find, median", 1).replace(" and", " s and")
    words = " ".join(SECTION.split())
    for figure in (
        f"right answers {of_lengths('right, box right', 2)} have their box right",
        f"mean IoU of the whole track {of_lengths('right, track IoU', 2)}",
        f"Finding takes {seconds} s an answer",
        f"OWLv2 base takes {detector:.0f} s a picture and SAM 2 tiny {tracker:.0f} s",
    ):
        assert figure in words


def test_where_is_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    index, find, ask = COMMANDS
    film = Path(index[1])
    film.parent.mkdir()
    write_film(make_film(SEED, 0, duration_seconds=24), film, fps=5)
    assert main(index) == 0
    assert main(find) == 0
    capsys.readouterr()
    assert main(ask) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "bottom left"
    assert "white star" in printed
    overlays = sorted((tmp_path / "overlay").glob("*.jpg"))
    assert overlays
    with Image.open(overlays[0]) as image:
        assert min(image.size) >= 384

    (clip,) = (tmp_path / "overlay").glob("*.mp4")
    assert shows_red(clip)

    assert main([*ask[:-2], "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    track = answer["tracks"][0]
    assert len(track["boxes"]) == len(overlays)
    for box in track["boxes"]:
        left, top, right, bottom = box["xyxy"]
        assert left < (left + right) / 2 < BOTTOM_LEFT[2]
        assert BOTTOM_LEFT[1] < (top + bottom) / 2 < bottom

    embed, search = OBJECT_COMMANDS
    assert main(embed) == 0
    capsys.readouterr()
    assert main([*search, "--json"]) == 0
    best = json.loads(capsys.readouterr().out)[0]
    assert best["thing"] == "white star"
    left, top, right, bottom = best["xyxy"]
    assert left < (left + right) / 2 < BOTTOM_LEFT[2]
    assert BOTTOM_LEFT[1] < (top + bottom) / 2 < bottom

    # An answer that names no thing has no box, and a sentence says so.
    assert main(["ask", "which sign comes first ?", *ask[2:]]) == 0
    said = capsys.readouterr().err
    assert "was found in" in said
    assert "No evidence has boxes" in said
    assert "no clip was cut" in said
    # A grounder must be named, and there must be pictures.
    assert main([*ask[:4], "--ground"]) == 1
    assert "--ground drawn_shapes" in capsys.readouterr().err
    assert main([*ask[:4], "--overlay", "x"]) == 1
    assert "give both" in capsys.readouterr().err
    source = Path(__file__).parents[1] / "data" / "flower_bloom.mp4"
    assert main(["index", str(source), "--store", "plain", "--set", "store.pictures=none"]) == 0
    assert main(["ask", ask[1], "--store", "plain", "--ground", "drawn_shapes"]) == 1
    assert "store.pictures" in capsys.readouterr().err

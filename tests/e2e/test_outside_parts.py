"""Parts of another repository: named by their place or an entry point, checked, used, refused."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import longvid
from longvid import registry
from longvid.config import Config, load_config
from longvid.errors import ConfigError, LawError
from longvid.testing import check_compressor, check_selector

COMPRESSOR = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch
from longvid.types import Segment

@dataclass(frozen=True, slots=True)
class EveryOther:
    step: int = 2
    conserves_size: ClassVar[bool] = False

    def setup(self, device: str = "cpu") -> "EveryOther":
        return self

    def __call__(self, segment: Segment) -> Segment:
        return segment.with_tokens(
            segment.tokens.keep(torch.arange(0, len(segment.tokens), self.step))
        )

class NoDataclass:
    conserves_size = False
    def setup(self, device="cpu"):
        return self

@dataclass
class NotFrozen:
    conserves_size: ClassVar[bool] = False
    def setup(self, device="cpu"):
        return self

@dataclass(frozen=True)
class NoSetup:
    conserves_size: ClassVar[bool] = False

@dataclass(frozen=True)
class Undeclared:
    def setup(self, device="cpu"):
        return self

@dataclass(frozen=True)
class Doubling(EveryOther):
    def __call__(self, segment):
        tokens = segment.tokens
        return segment.with_tokens(type(tokens).join([tokens, tokens]))
"""

SELECTOR = '''
from __future__ import annotations
from dataclasses import dataclass, field
from longvid.select.frames import Uniform

@dataclass(frozen=True, slots=True)
class EvenFrames(Uniform):
    """As `uniform`, from another repository."""

@dataclass(frozen=True, slots=True)
class Greedy(EvenFrames):
    def __call__(self, query, segments, budget):
        return tuple(segments)
'''


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A second repository, as it lies in site-packages once it is installed."""
    folder = tmp_path_factory.mktemp("repository")
    package = folder / "second_repository"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "every_other.py").write_text(COMPRESSOR)
    (package / "even_frames.py").write_text(SELECTOR)
    (package / "broken.py").write_text("import nothing_of_this_name\n")
    (package / "raising.py").write_text("raise RuntimeError('no license')\n")
    info = folder / "second_repository-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: second-repository\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent("""
        [longvid.parts]
        compressor.every_other = second_repository.every_other:EveryOther
        selector.even_frames = second_repository.even_frames:EvenFrames
        selector.uniform = second_repository.even_frames:Greedy
        """)
    )
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    registry._entry_points.cache_clear()
    yield folder
    sys.path.remove(str(folder))
    registry._entry_points.cache_clear()
    for name in [name for name in sys.modules if name.startswith("second_repository")]:
        del sys.modules[name]


@pytest.mark.usefixtures("repository")
def test_parts_are_found_by_place_and_by_entry_point() -> None:
    place = "second_repository.every_other:EveryOther"
    by_place = load_config("mini", [f"compressors.0.name={place}", "compressors.0.step=3"])
    by_entry = load_config("mini", ["compressors.0.name=every_other", "compressors.0.step=3"])
    assert by_place == by_entry
    assert by_place.to_dict()["compressors"][0] == {"name": place, "step": 3}
    assert Config.from_dict(by_place.to_dict()) == by_place
    assert by_place.fingerprint() == by_entry.fingerprint()
    assert by_place.fingerprint() != load_config("mini").fingerprint()
    assert "every_other" in registry.names("compressor")
    # A package cannot take over a name of the project's own.
    assert registry.find("selector", "uniform").__module__ == "longvid.select.frames"


@pytest.mark.usefixtures("repository")
def test_parts_from_outside_pass_the_laws_of_their_kind() -> None:
    check_compressor(registry.find("compressor", "every_other")())
    check_selector(registry.find("selector", "even_frames")())


@pytest.mark.usefixtures("repository")
def test_parts_from_outside_index_and_answer(data: Path, tmp_path: Path) -> None:
    settings = ["compressors.0.name=every_other", "selectors.0.name=even_frames"]
    config = load_config("mini", settings)
    report = longvid.index([data / "bottles_40s.mp4"], store=tmp_path / "store", config=config)
    assert not report.failures
    answer = longvid.ask("what color is the square?", store=tmp_path / "store", config=config)
    assert answer.text
    assert answer.evidence
    # The store says how it was made, so that it can be asked without naming the parts again.
    assert longvid.ask("what color is the square?", store=tmp_path / "store").text == answer.text


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("compressor", "second_repository.every_other:NoDataclass", "is no dataclass"),
        ("compressor", "second_repository.every_other:NotFrozen", "is not frozen"),
        ("compressor", "second_repository.every_other:NoSetup", "lacks setup"),
        ("compressor", "second_repository.every_other:Undeclared", "lacks conserves_size"),
        ("compressor", "second_repository.every_other:torch", "is no dataclass"),
        ("compressor", "second_repository.every_other:Nothing", "cannot be imported"),
        ("compressor", "second_repository.broken:Part", "nothing_of_this_name"),
        ("compressor", "second_repository.raising:Part", "RuntimeError: no license"),
        ("compressor", "no_such_package.parts:Part", "cannot be imported"),
        ("compressor", ":", "cannot be imported"),
        ("compressor", "a:", "cannot be imported"),
        ("compressor", "every_othr", "known are slowfast_pooling"),
        ("encoder", "second_repository.every_other:EveryOther", "is no encoder: it lacks"),
        ("text_source", "nothing", "one of your own is named by its place"),
    ],
)
def test_what_is_no_part_is_refused_in_one_sentence(kind: str, name: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.find(kind, name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("repository")
def test_a_part_that_breaks_a_law_is_named_with_the_law(data: Path, tmp_path: Path) -> None:
    doubling = load_config("mini", ["compressors.0.name=second_repository.every_other:Doubling"])
    with pytest.raises(LawError, match=r"every_other:Doubling breaks the law .* never adds tokens"):
        check_compressor(doubling.compressors[0])
    with pytest.raises(LawError, match="never adds tokens"):
        longvid.index([data / "bottles_40s.mp4"], store=tmp_path / "store", config=doubling)
    greedy = load_config("mini", ["selectors.0.name=second_repository.even_frames:Greedy"])
    longvid.index([data / "bottles_40s.mp4"], store=tmp_path / "whole", config="mini")
    with pytest.raises(LawError, match=r"even_frames:Greedy breaks the law .* keeps to its budget"):
        longvid.VideoQA(tmp_path / "whole", config=greedy).ask("what comes first?", budget=20)


def test_a_part_that_cannot_be_found_again_is_refused() -> None:
    class Inner:
        pass

    with pytest.raises(ConfigError, match="cannot be found again by its name"):
        registry.name_of("compressor", Inner())

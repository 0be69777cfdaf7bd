"""What CONTRIBUTING.md tells a reader to write and to type works as it is printed."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import longvid
from longvid import registry
from longvid.cli import _parser
from longvid.config import load_config
from longvid.testing import check_compressor, check_selector

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def module(tmp_path: Path) -> Iterator[types.ModuleType]:
    """The example, in a package of its own."""
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "every_other.py").write_text(blocks("python")[0])
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("mypackage.every_other")
    sys.path.remove(str(tmp_path))
    for name in ("mypackage.every_other", "mypackage"):
        del sys.modules[name]


def test_the_example_passes_all_laws_once_its_line_is_in_the_registry(
    module: types.ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = re.search(r'`"(every_other)": "(longvid[\w.]+:\w+)"`', PAGE.replace("\n", " "))
    assert place is not None
    assert blocks("python")[0].startswith(f"# {place[2].partition(':')[0].replace('.', '/')}.py\n")
    # What the two edits do: the file has that name, and the registry that line.
    monkeypatch.setitem(sys.modules, place[2].partition(":")[0], module)
    monkeypatch.setattr(module.EveryOther, "__module__", place[2].partition(":")[0])
    monkeypatch.setitem(registry.PARTS["compressor"], place[1], place[2])
    check_compressor(registry.find("compressor", "every_other")())
    config = load_config("mini", ["compressors.0.name=every_other"])
    report = longvid.index([data / "bottles_40s.mp4"], store=tmp_path / "store", config=config)
    assert report.tokens > 0
    assert not report.failures


@pytest.mark.usefixtures("module")
def test_the_example_works_from_a_package_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, object] = {}
    exec(blocks("python")[1], names)
    test_laws = names["test_laws"]
    assert callable(test_laws)
    test_laws()
    assert "--set compressors.0.name=mypackage.every_other:EveryOther" in PAGE
    by_place = load_config("mini", ["compressors.0.name=mypackage.every_other:EveryOther"])
    project = tomllib.loads(blocks("toml")[0])["project"]
    ((name, place),) = project["entry-points"]["longvid.parts"].items()
    info = tmp_path / "mypackage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[longvid.parts]\n{name} = {place}\n")
    registry._entry_points.cache_clear()
    assert load_config("mini", ["compressors.0.name=every_other"]) == by_place
    registry._entry_points.cache_clear()


def test_the_selector_keeps_the_laws_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("mypackage_first")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(blocks("python")[2], module.__dict__)
    check_selector(module.First())


def test_every_command_it_tells_to_type_is_known() -> None:
    """A command of longvid is parsed; a script, which runs this test, is read by the shell."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    typed = [text for language, text in fenced if not language][-1].splitlines()
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    typed += re.findall(r"`((?:longvid|scripts/\w+|make|pip|python) [^`]+)`", prose)
    longvid_commands = scripts = 0
    for line in typed:
        words = shlex.split(line.split("   ")[0].replace("…", "film.mp4 --store store"))
        if words[:1] == ["longvid"]:
            _parser().parse_args(words[1:])
            longvid_commands += 1
        elif words:
            assert words[0].startswith("scripts/"), line
            read = subprocess.run(["bash", "-n", ROOT / words[0]], capture_output=True, check=False)
            assert read.returncode == 0, read.stderr
            text = (ROOT / words[0]).read_text()
            for word in words[1:]:
                assert word in text if word.startswith("--") else (ROOT / word).exists(), line
            scripts += 1
    assert longvid_commands == 1
    assert scripts == 5


def test_the_scripts_it_names_are_there() -> None:
    scripts = set(re.findall(r"\bscripts/\w+", PAGE))
    assert scripts == {"scripts/check", "scripts/format", "scripts/test"}
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK)
    for named in set(re.findall(r"`((?:longvid|tests)/[\w/.]+)`", PAGE)):
        assert (ROOT / named).exists(), named

"""The wheel: it holds longvid alone, and works in an environment that has no source tree."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, with the native libraries that are there."""
    source = tmp_path_factory.mktemp("source") / "longvid"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("longvid", "pipelines", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    # Compiling is tested by whoever installs; here it would only take time.
    (source / "cuda_ops").mkdir()
    code = (
        "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(source / "dist")]
    subprocess.run(command, check=True, capture_output=True, cwd=source)
    [built] = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; what it needs is taken from this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # A plain folder of packages: its .pth files, one of which may lead here, are not read.
    (packages / "needed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder / "bin" / "python"


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["LONGVID_HOME"] = str(folder / "home")
    return subprocess.run(
        [python, *words], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def test_the_wheel_holds_longvid_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"longvid"}
    for needed in (
        "longvid/presets/mini.toml",
        "longvid/presets/longvid.toml",
        "longvid/assets/mini/vlm/model.safetensors",
        "longvid/assets/mini/embedder/model.safetensors",
        "longvid/assets/demo/brook.webm",
        "longvid/server/static/index.html",
        "longvid/py.typed",
        *(f"longvid/ops/{path.name}" for path in (ROOT / "longvid" / "ops").glob("*.so")),
    ):
        assert needed in names
    assert not [name for name in names if "__pycache__" in name]


def test_it_asks_outside_the_source_tree(python: Path, few_clips: Path, tmp_path: Path) -> None:
    where = run(python, tmp_path, "-c", "import longvid; print(longvid.__file__)")
    assert str(python.parents[1]) in where.stdout
    clip = few_clips / "sign_book_640x480.mkv"
    words = ("-m", "longvid.cli", "ask", "what color is the sign?", "--video", str(clip), "--json")
    asked = run(python, tmp_path, *words)
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["evidence"]


def test_the_demo_draws_its_film(python: Path, tmp_path: Path) -> None:
    code = (
        "import longvid.demo as demo; from pathlib import Path; folder = Path('demo'); "
        "folder.mkdir(); print(len(demo.demo_questions()), *demo._clips(folder))"
    )
    result = run(python, tmp_path, "-c", code)
    assert result.returncode == 0, result.stderr
    count, *clips = result.stdout.split()
    assert count == "5"
    assert all((tmp_path / clip).is_file() for clip in clips)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_the_ray_runner_is_in_it(python: Path, tmp_path: Path) -> None:
    code = "import longvid.cluster.ray_runner as r; print(r.__file__, r.index.__name__)"
    result = run(python, tmp_path, "-c", code)
    assert result.returncode == 0, result.stderr
    assert str(python.parents[1]) in result.stdout

"""Habits of the shell: closed, full or narrow streams, limits, -OO; threads that ask at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import longvid
from longvid.models import mini

ROOT = Path(__file__).parents[2]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the shell in which `longvid` is this command line."""
    words = f'longvid() {{ {sys.executable} -m longvid.cli "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "status", "sentence"),
    [
        ("longvid status --store {store} >&-", 1, "stdout is closed"),
        ("longvid status --store {store} >/dev/full", 1, "No space left on device"),
        ("longvid status --store {store} | head -0; exit ${{PIPESTATUS[0]}}", 0, ""),
        ("longvid status --store {store} 2>&-", 0, ""),
    ],
)
def test_a_stream_that_takes_nothing(
    command: str, status: int, sentence: str, small_store: Path
) -> None:
    result = shell(command.format(store=small_store))
    assert result.returncode == status
    assert result.stderr.count("\n") == (1 if sentence else 0)
    assert sentence in result.stderr


def test_a_name_that_stdout_has_no_letters_for(few_clips: Path, tmp_path: Path) -> None:
    name = tmp_path / "na\u0142me\x1b[31m.mkv"
    shutil.copy(few_clips / "sign_book_640x480.mkv", name)
    longvid.index(name, store=tmp_path / "store")
    result = shell(f"longvid status --store {tmp_path / 'store'}", PYTHONIOENCODING="latin-1")
    assert (result.returncode, result.stderr) == (0, "")
    assert r"na\u0142me\x1b[31m.mkv" in result.stdout


_THREADS = """
import json, os, sys, threading
before = set(os.environ)
import longvid
qa, answers = longvid.VideoQA(sys.argv[1]), []
def ask():
    answers.append(qa.ask("where is the star?").text)
threads = [threading.Thread(target=ask) for _ in range(4)]
threads += [threading.Thread(target=lambda: longvid.search("a star", store=sys.argv[1]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
ask()
print(json.dumps([answers, sorted(set(os.environ) - before)]))
"""


def test_threads_that_ask_before_models_are_loaded(small_store: Path) -> None:
    command = [sys.executable, "-c", _THREADS, str(small_store)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    answers, left_in_environment = json.loads(result.stdout)
    assert len(answers) == 5
    assert len(set(answers)) == 1
    assert result.stderr == ""
    assert left_in_environment == []


@pytest.mark.parametrize("command", ["ask 'where is the star?'", "search 'a star'"])
def test_python_without_docstrings_is_one_sentence(command: str, small_store: Path) -> None:
    words = f"{sys.executable} -OO -m longvid.cli {command} --store {small_store}"
    result = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "start it without, or with -O" in result.stderr


def test_a_limit_on_memory_is_named(small_store: Path) -> None:
    result = shell(f"ulimit -v 700000; longvid search 'a star' --store {small_store}")
    assert (result.returncode, result.stdout) == (1, "")
    assert "limits memory to 0.7 GB (ulimit -v)" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_limit_on_files_is_named_where_something_is_written(
    small_store: Path, few_clips: Path, tmp_path: Path
) -> None:
    clip = few_clips / "sign_book_640x480.mkv"
    result = shell(f"ulimit -f 0; longvid index {clip} --store {tmp_path / 'store'}")
    assert (result.returncode, result.stdout) == (1, "")
    assert "(ulimit -f)" in result.stderr
    assert "Traceback" not in result.stderr


def test_few_descriptors_cost_no_segment(data: Path, tmp_path: Path) -> None:
    """`ulimit -n`: as many waiting frames as descriptors, before an encoder that is slow."""
    code = f"""
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        from benchmarks.speed.stand_ins import StandInEncoder, stand_in_config
        from longvid.decode.pyav import PyAVDecoder
        from longvid.indexing.local_runner import run_local
        config = stand_in_config(
            "sample.fps=5", "sample.segment_frames=1", "run.decode_workers=2",
            decoder=PyAVDecoder(), encoder=StandInEncoder(seconds_per_frame=0.003),
        )
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, hard))
        report = run_local([{str(data / "bottles_40s.mp4")!r}], {str(tmp_path / "store")!r}, config)
        print(report.segments, report.failures)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.stdout.strip() == "200 ()", done.stdout + done.stderr


def test_loading_is_silent(tmp_path: Path) -> None:
    """Nothing is written to a terminal, whatever the library has to say about itself."""
    mini.save(tmp_path, seed=5)
    code = (
        "import sys, torch\n"
        "from longvid.encode.huggingface import HuggingFaceEncoder\n"
        "part = HuggingFaceEncoder(model=sys.argv[1])\n"
        "part.frame_size(); part.setup(); part.setup_embedder()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (r"boxes --store {store} --detector drawn_shapes --things $'\xff star'", "--things"),
        (r"ask 'where is it?' --store {store} --set llm.template=$'\xff'", "--set"),
        (r"ask $'where is \xff?' --store {store}", "The question"),
    ],
)
def test_bytes_that_are_no_text_are_refused(command: str, name: str, small_store: Path) -> None:
    result = shell(f"longvid {command.format(store=small_store)}")
    assert result.returncode == 1
    assert result.stderr.startswith(f"longvid: {name} holds bytes that are no UTF-8: ")
    assert result.stderr.count("\n") == 1


def test_a_file_s_name_may_be_any_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).write_text("no video")
    result = shell(rf"longvid index {tmp_path}/caf$'\xe9'.mp4 --store {tmp_path}/store")
    assert "UTF-8" not in result.stderr
    assert "1 failed" in result.stdout + result.stderr

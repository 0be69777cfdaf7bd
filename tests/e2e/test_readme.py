"""What README tells a reader to type, word by word, with the shipped model, in an empty folder.

Each command is executed, or stands in a list that says why it cannot be here (it needs weights that
are downloaded, a bucket, or a data set); those are read by their own parsers, so that no option is
invented. "Use your own model" has its own test, `test_readme_own_model.py`.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from longvid.cli import _parser, main
from longvid.config import preset_names
from longvid.text_demo import QUESTIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)

#: Commands of longvid that are not executed here, by a word in them, and why.
ELSEWHERE = {
    "longvid serve": "tests/e2e/test_server.py and test_server_clients.py",
    "longvid mcp": "tests/e2e/test_mcp.py",
    "longvid text": "tests of timed text: they need packages with networks",
    "--runner ray": "tests/e2e/test_ray_cluster.py starts clusters",
    "--config longvid": "weights of 7B",
    "who opens the door?": "of the store that these made",
    "/models/": "tests/e2e/test_readme_own_model.py",
    "what color is it ?": "tests/e2e/test_readme_own_model.py",
}


def blocks(language: str = "") -> Iterator[str]:
    for found, text in BLOCK.findall(README):
        if found == language:
            yield text


def commands() -> list[list[str]]:
    """Return every command of README's blocks, as words."""
    lines = [line for text in blocks() for line in text.replace("\\\n", "").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if re.match(r"[a-z]+ \S", line)]
    known = ("longvid", "python", "ray", "make", "hf", "pip", "curl", "docker", "uvx", "kubectl")
    return [command for command in words if command and command[0] in known]


def is_executed(command: list[str]) -> bool:
    text = " ".join(command)
    return not any(word in text for word in ELSEWHERE)


def first_use() -> list[list[str]]:
    """Return the commands of the section "Use it", in order."""
    section = README.split("## Use it")[1].split("In Python:")[0]
    text = BLOCK.findall(section)[0][1]
    return [shlex.split(line, comments=True) for line in text.splitlines()]


def test_every_command_of_longvid_is_known_to_its_parser() -> None:
    parser = _parser()
    ours = [command[1:] for command in commands() if command[0] == "longvid"]
    assert len(ours) >= 15
    for words in ours:
        parser.parse_args(words)  # exits where an option is not known


def test_other_commands_name_what_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands():
        if command[0] == "make":
            assert command[1] in targets
        if command[:2] == ["python", "-m"]:
            module = ROOT / command[2].replace(".", "/")
            assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
    for preset in re.findall(r"--config (\w+)", README):
        assert preset in preset_names()


def test_the_first_use_and_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo is right each time, and its film answers README's questions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LONGVID_HOME", str(tmp_path / "home"))
    used = first_use()
    assert used[0] == ["longvid", "demo"]
    assert all(is_executed(command) for command in used)
    printed = {}
    for command in used:
        # 3: the clip that the demo cuts off is a row of `failures`.
        allowed = (0, 3) if command[1] in ("index", "retry") else (0,)
        if command[1] == "doctor" and "--config" in command:
            allowed = (0, 1)  # whether it fits is the machine's to say
        assert main(command[1:]) in allowed, command
        captured = capsys.readouterr()
        assert captured.out or command[1] == "retry", command
        printed[" ".join(command)] = captured
    assert "5 of 5 right" in printed["longvid demo"].out
    text_readers = ("rapidocr", "onnxruntime", "pocketsphinx", "silero_vad")
    if all(map(importlib.util.find_spec, text_readers)):
        assert f"{len(QUESTIONS)} of {len(QUESTIONS)} right" in printed["longvid demo"].out
    answers = [text.out.splitlines()[0] for words, text in printed.items() if " ask " in words]
    assert answers == ["bottom left", "purple", "sand", "bottom left; grass", "bottom left"]
    caveats = [text.err for words, text in printed.items() if " ask " in words]
    assert not [caveat for caveat in caveats if "do not look like" in caveat]

    [code] = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert "bottom left" in capsys.readouterr().out

    handed_on = [words for words in commands() if words[:2][-1] in ("report", "clip")]
    assert len(handed_on) == 2
    for command in handed_on:
        assert main(command[1:]) == 0, command
    assert "bottom left" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "film-20261121.10-20.mp4").stat().st_size > 10_000

"""A new store keeps the folders of its models as whole paths, and its fingerprint does not move."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from longvid.config import Config, load_config
from longvid.indexing.ledger import open_store
from longvid.indexing.remembered_folders import stored_tables
from longvid.models import checkpoint_files
from longvid.qa.video_qa import VideoQA
from longvid.store import Store

HUB = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
SETTINGS = [
    "encoder.embedder=models/own",
    "llm.model=./models/own",
    "ask.text_embedder=models/own",
    "rerankers.0.name=likelihood",
    "rerankers.0.model=models/own",
    "rerankers.1.name=qwen3_vl",
    "grounder.name=open_vocabulary",
    "grounder.model=models/own",
    "grounder.tracker=models/missing",
]


@pytest.fixture
def made_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a store is made, with a checkpoint beside it."""
    shutil.copytree(checkpoint_files.locate("mini") / "embedder", tmp_path / "models" / "own")
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_become_whole_paths_and_other_names_stay(made_in: Path) -> None:
    tables = stored_tables(load_config("mini", [*SETTINGS, f"llm.model={HUB}"]))
    own = str(made_in / "models" / "own")
    assert tables["encoder"]["embedder"] == own
    assert tables["ask"]["text_embedder"] == own
    assert [one["model"] for one in tables["rerankers"]] == [own, "Qwen/Qwen3-VL-Reranker-2B"]
    assert (tables["grounder"]["model"], tables["grounder"]["tracker"]) == (own, "models/missing")
    assert tables["encoder"]["model"] == "mini"  # although there is a folder of that name
    assert tables["llm"]["model"] == HUB
    (made_in / HUB).mkdir(parents=True)
    tables = stored_tables(load_config("mini", [f"llm.model={HUB}"]))
    assert tables["llm"]["model"] == str(made_in / HUB)  # as it is looked for


def test_names_that_count_in_a_fingerprint_stay_as_they_are_written(made_in: Path) -> None:
    settings = [
        "reducer.name=longvu_temporal",
        "reducer.features=models/own",
        "text_sources.0.name=whisper",
        "text_sources.0.model=models/own",
    ]
    config = load_config("mini", [*SETTINGS, *settings])
    tables = stored_tables(config)
    assert tables["reducer"]["features"] == tables["text_sources"][0]["model"] == "models/own"
    assert Config.from_dict(tables).index_tables() == config.index_tables()


def test_a_store_of_a_relative_folder_is_asked_from_another(
    made_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config("mini", ["encoder.embedder=models/own"])
    made = open_store("store", config)
    assert made.fingerprint == config.fingerprint() == Config.from_dict(made.config).fingerprint()
    # Made before: it holds the name as it was written, and is the same store.
    Store.create(
        "before",
        fingerprint=config.fingerprint(),
        config=config.to_dict(),
        space=config.space(),
        embedding_width=config.encoder.embedding_width(),
        options=config.store,
    )
    assert open_store("before", config).config["encoder"]["embedder"] == "models/own"
    assert VideoQA("before").embedder is not None
    (made_in / "elsewhere").mkdir()
    monkeypatch.chdir(made_in / "elsewhere")
    assert VideoQA("../store").embedder is not None

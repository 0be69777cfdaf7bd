"""What is stored of the clips of tests/data is what it was: manifests byte for byte.

`manifests_mini.json` holds what the code from before objects had seals stores with mini's weights.
The values of embeddings, and so the checksums of chunks, depend on the processor and on torch; on
others than those of the recordings, the counts must still be the same.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from longvid.api import index
from longvid.store import Store

DATA = Path(__file__).parents[1] / "data"
RECORDED = json.loads((DATA / "manifests_mini.json").read_text())
#: The others take a minute; `python -m tests.parity.test_stored_bytes` compares all ten.
SHORT = ("bbb_bird_vfr.mp4", "bbb_rabbit_5s.mp4", "stream_title_vfr_vp8.webm")


def compare(names: list[str], folder: Path) -> None:
    """Index clips and compare their manifests with the recorded ones."""
    index([str(DATA / name) for name in names], store=str(folder), config="mini")
    store = Store.open(folder)
    assert store.fingerprint == RECORDED["fingerprint"]
    processor = _processor() if torch.__version__ == RECORDED["torch"] else ""
    for stored in store.videos():
        path = folder / "videos" / stored.video.video_id / "manifest.json"
        recorded = RECORDED["manifests"][Path(stored.video.path).name]
        assert (stored.num_segments, stored.num_tokens) == (
            recorded["segments"],
            recorded["tokens"],
        )
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        assert digest == recorded["blake2b"].get(processor, digest), stored.video.path
    assert len(store.videos()) == len(names)


def _processor() -> str:
    """Return the processor's maker and widest vectors: by these torch chooses its kernels."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    makers = [line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")]
    return f"{makers[0] if makers else ''} {torch.backends.cpu.get_cpu_capability()}"


def test_manifests_are_what_they_were(tmp_path: Path) -> None:
    compare(list(SHORT), tmp_path / "store")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        compare(list(RECORDED["manifests"]), Path(scratch) / "store")
    print(f"{len(RECORDED['manifests'])} manifests are what they were")

"""The steps of the run on a GPU: what each builds, loads or times."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurements import Row, median_row
from longvid.errors import ConfigError, LongvidError

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "tests" / "data" / "bottles_40s.mp4"


@dataclass(frozen=True, slots=True)
class Size:
    """How large a step works."""

    device: str
    dry: bool

    def pick(self, full: int, tiny: int) -> int:
        """Return a number for a GPU, or the one of a rehearsal."""
        return tiny if self.dry else full


def _run(command: Sequence[str], what: str, **environment: str) -> None:
    done = subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, **environment})
    if done.returncode:
        raise LongvidError(f"{what} failed with status {done.returncode}; see above.")


def kernels(size: Size) -> list[Row]:
    """Build the kernels, run the tests that need a GPU, and watch the kernels' memory."""
    task = "kernels"
    if size.dry:
        return [Row(task, "build, tests and compute-sanitizer", "left out of a dry run", 1, "")]
    started = time.perf_counter()
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    _run(build, "building the CUDA kernels", LONGVID_CUDA="1")
    rows = [Row(task, "build", "wall", time.perf_counter() - started, "s")]
    tests = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
    started = time.perf_counter()
    _run([*tests, "tests/gpu", "tests/property"], "the tests on the GPU", LONGVID_REQUIRE="gpu")
    rows.append(Row(task, "tests", "wall", time.perf_counter() - started, "s"))
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        return [*rows, Row(task, "compute-sanitizer", "not on this machine", 1, "")]
    watched = [sanitizer, "--error-exitcode=1", *tests, "tests/gpu", "-k", "equals_the_reference"]
    started = time.perf_counter()
    _run(watched, "compute-sanitizer")
    return [*rows, Row(task, "compute-sanitizer", "wall", time.perf_counter() - started, "s")]


def operations(size: Size) -> list[Row]:
    """Time the ops beside eager torch and torch.compile, with copy bandwidth and GEMM rate."""
    import torch

    from benchmarks.speed import ops as speed
    from longvid import ops

    bench = speed.Bench(
        torch.device(size.device),
        repeats=size.pick(10, 1),
        frames=size.pick(1024, 2),
        tokens=size.pick(576, 64),
        width=size.pick(1152, 144),
        compiled=not size.dry,
    )
    rows = [
        Row("active implementation", f"{name}: {ops.implementation(name, bench.device)}", "", 1, "")
        for name in ops.NAMES
    ]
    with torch.inference_mode():
        for name, measure in speed.TASKS.items():
            if not size.dry or name in ("merge round, full width", "segment_mean"):
                rows += measure(bench)
    return rows


def compressors(size: Size) -> list[Row]:
    """Time each question-free compressor on the device."""
    import torch

    from benchmarks.speed.compress import COMPRESSORS, draw_video, segment_of

    grid = draw_video(size.pick(64, 4), size.pick(14, 4), size.pick(3584, 16))
    segment = segment_of(grid.to(torch.bfloat16))
    rows = []
    for name, (part, _) in COMPRESSORS.items():
        worker = part.setup(size.device)
        walls = _walls(lambda worker=worker: worker(segment), size, size.pick(5, 1))
        rows.append(_wall_row("compressors, from and to the processor", name, walls))
    return rows


def encoding(size: Size) -> list[Row]:
    """Encode frames with SigLIP so400m in bfloat16: frames a second."""
    import torch
    from transformers import SiglipVisionConfig, SiglipVisionModel

    side = size.pick(384, 28)
    sizes = {
        "hidden_size": size.pick(1152, 32),
        "intermediate_size": size.pick(4304, 48),
        "num_hidden_layers": size.pick(27, 2),
        "num_attention_heads": size.pick(16, 2),
        "image_size": side,
        "patch_size": 14,
    }
    with torch.device(size.device):
        model = SiglipVisionModel(SiglipVisionConfig(**sizes)).to(torch.bfloat16).eval()
    task = f"encode, {side} x {side} pixels, SigLIP so400m" + (", tiny" if size.dry else "")
    rows = []
    for batch in (size.pick(64, 2), size.pick(256, 3)):
        pixels = torch.randn(batch, 3, side, side, device=size.device, dtype=torch.bfloat16)
        with torch.inference_mode():
            walls = _walls(lambda pixels=pixels: model(pixel_values=pixels), size, size.pick(10, 1))
        speed = batch / statistics.median(walls)
        rows.append(Row(task, f"{batch} frames at once", "speed", speed, "frames/s", len(walls)))
    return rows


def answering(size: Size) -> list[Row]:
    """Read 8,192 visual tokens with a language model of 7B, and write on: random weights."""
    import torch
    from transformers import GenerationConfig

    from benchmarks.speed.random_weights import SIZES
    from longvid.llm.generation import Rows, continue_rows
    from longvid.llm.prefill import PromptReader
    from longvid.models.families.llava import LlavaDecoder
    from longvid.models.families.protocol import FramePiece, TextPiece

    num_visual, num_new = size.pick(8192, 32), size.pick(64, 3)
    _, _, text = SIZES["llava-hf/llava-onevision-qwen2-7b-ov-hf"]
    if size.dry:
        text = {**text, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
        text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512}
    module = _decoder_alone(text, size.device)
    module.generation_config = GenerationConfig(do_sample=False, eos_token_id=None)
    decoder = LlavaDecoder(module)
    reader = PromptReader(decoder, 4096, keep=False)
    tokens = torch.randn(num_visual, decoder.token_width, dtype=torch.bfloat16)
    frame = FramePiece(tokens, torch.zeros(num_visual, 2), 0.0)
    pieces = [TextPiece(tuple(range(20))), frame, TextPiece(tuple(range(20, 60)))]
    first, rates = [], []
    for _ in range(size.pick(3, 1)):
        prompt = reader.read(pieces, newline=False, num_new=num_new)
        first.append(prompt.seconds)
        rows_of = Rows(1, prompt.num_tokens, num_new)
        rows_of.add(prompt)
        started = time.perf_counter()
        [written] = continue_rows(decoder, rows_of, num_new)
        rates.append(len(written) / (time.perf_counter() - started))
    task = f"answer over {num_visual} visual tokens, 7B, bfloat16" + (", tiny" if size.dry else "")
    return [
        _wall_row(task, "first token", first),
        Row(task, "further tokens", "speed", statistics.median(rates), "tokens/s", len(rates)),
    ]


def _decoder_alone(text: dict[str, Any], device: str) -> Any:
    """Make a Qwen2 that a family's decoder can hold: weights as they come, in bfloat16."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**{key: value for key, value in text.items() if key != "model_type"})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            module = Qwen2ForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    config.text_config = config  # where a family's decoder looks
    return module


def decoding(size: Size) -> list[Row]:
    """Decode a clip with torchcodec, by NVDEC on a GPU."""
    task = f"decode {CLIP.name} with torchcodec on {size.device}"
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:80] if str(error).strip() else "not installed"
        return [Row(task, f"torchcodec cannot be loaded: {reason}", "", 0, "")]
    try:
        decoder = VideoDecoder(str(CLIP), device=size.device)
        count = min(len(decoder), size.pick(1000, 8))
        walls = _walls(lambda: decoder.get_frames_in_range(0, count), size, size.pick(3, 1))
    except (RuntimeError, ValueError) as error:
        return [Row(task, f"refused: {str(error).strip().splitlines()[0][:80]}", "", 0, "")]
    speed = count / statistics.median(walls)
    return [Row(task, f"{count} frames", "speed", speed, "frames/s", len(walls))]


def searching(size: Size) -> list[Row]:
    """Build the search index of a large store; its lists are made on GPUs where FAISS has them."""
    import numpy as np

    from longvid.store.faiss_index import build_index, load_faiss

    faiss = load_faiss()
    num_vectors, width = size.pick(1_000_000, 12_000), size.pick(768, 16)
    random = np.random.default_rng(0)
    vectors = random.standard_normal((num_vectors, width), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gpus = int(getattr(faiss, "get_num_gpus", int)())
    started = time.perf_counter()
    build_index(vectors, exact_below=10_000)
    wall = time.perf_counter() - started
    task = f"search index of {num_vectors} vectors of {width}"
    return [Row(task, f"FAISS {faiss.__version__} on {gpus} GPUs", "wall", wall, "s")]


def whole_path(size: Size) -> list[Row]:
    """Diagnose, size, index and ask with the shipped model: what a person does, on the device."""
    from longvid import api, doctor
    from longvid.config import load_config

    config = load_config("mini", [f"run.device={size.device}"])
    findings = [*doctor.examine(), *doctor.examine_config(config, hours=1.0)]
    bad = [one for one in findings if one.state == "error"]
    task = f"index and ask {CLIP.name} with mini on {size.device}"
    with tempfile.TemporaryDirectory(prefix="longvid-gpu-") as folder:
        started = time.perf_counter()
        api.index([str(CLIP)], store=f"{folder}/store", config=config)
        indexed = time.perf_counter()
        answer = api.ask("what color is the star?", store=f"{folder}/store", config=config)
        asked = time.perf_counter()
    if not answer.text:
        raise LongvidError(f"{task}: the answer is empty.")
    return [
        Row(task, f"doctor: {len(findings)} findings, {len(bad)} of them errors", "", 1, ""),
        Row(task, "index", "wall", indexed - started, "s"),
        Row(task, "ask", "wall", asked - indexed, "s"),
    ]


def placements(size: Size) -> list[Row]:
    """Load a language model in each way that a GPU offers, and ask each one question."""
    from benchmarks.speed.random_weights import SIZES, write_architecture
    from longvid import api
    from longvid.config import load_config

    vlm, embedder = "llava-hf/llava-1.5-7b-hf", "google/siglip2-so400m-patch14-384"
    task = f"ask {vlm.partition('/')[2]}, two layers" + (", tiny" if size.dry else "")
    rows = []
    with tempfile.TemporaryDirectory(prefix="longvid-gpu-") as folder:
        for name, where in ((vlm, "vlm"), (embedder, "embedder")):
            architecture, vision, text = SIZES[name]
            smaller = {"num_hidden_layers": 2}
            if size.dry:
                smaller |= {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
                text = {**text, "vocab_size": 512, "num_key_value_heads": 2}
                vision = {**vision, "image_size": 84}
            write_architecture(
                architecture, {**vision, **smaller}, {**text, **smaller}, Path(folder) / where
            )
        store = f"{folder}/store"
        settings = [
            f"run.device={size.device}",
            f"encoder.model={folder}/vlm",
            f"encoder.embedder={folder}/embedder",
            f"llm.model={folder}/vlm",
            "llm.max_new_tokens=4",
            "sample.fps=0.1",
        ]
        report = api.index([str(CLIP)], store=store, config=load_config("longvid", settings))
        if report.failures:
            raise LongvidError(f"{task}: {report.failures[0].error}")
        for setting in (
            *("llm.attention=sdpa", "llm.attention=eager", "llm.attention=flash_attention_2"),
            *("llm.device_map=auto", "llm.bits=8", "llm.bits=4"),
        ):
            config = load_config("longvid", [*settings, setting])
            started = time.perf_counter()
            try:
                api.ask("what is shown?", store=store, config=config)
            except ConfigError as error:  # a package or a GPU that is not there
                rows.append(Row(task, str(error).partition(",")[0], "", 0, ""))
            else:
                wall = time.perf_counter() - started
                rows.append(Row(task, f"{setting}, loading included", "wall", wall, "s"))
    return rows


STEPS: dict[str, tuple[Callable[[Size], list[Row]], int]] = {
    # What is run, and the most seconds that it may take.
    "kernels": (kernels, 200),
    "operations": (operations, 120),
    "answering": (answering, 90),
    "encoding": (encoding, 60),
    "compressors": (compressors, 60),
    "decoding": (decoding, 45),
    "searching": (searching, 90),
    "whole_path": (whole_path, 60),
    "placements": (placements, 90),
}


def _walls(call: Callable[[], object], size: Size, repeats: int) -> list[float]:
    """Time a call after one that is not counted; a GPU is waited for."""
    import torch

    walls = []
    for repeat in range(repeats + (0 if size.dry else 1)):
        started = time.perf_counter()
        call()
        if size.device == "cuda":
            torch.cuda.synchronize()
        if repeat or size.dry:
            walls.append(time.perf_counter() - started)
    return walls


def _wall_row(task: str, subject: str, walls: Sequence[float]) -> Row:
    return median_row(task, subject, "wall", [1e3 * wall for wall in walls], "ms")

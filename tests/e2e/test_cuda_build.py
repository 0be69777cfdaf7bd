"""nvcc compiles every CUDA kernel without a warning, a spill or a register too many."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from longvid.ops import cuda
from tests.conftest import require

SOURCES = Path(__file__).parents[2] / "cuda_ops"
TARGETS = ("compute_90a,code=sm_90a", "compute_80,code=sm_80")

# Most registers a thread and most bytes of static shared memory a block may take. 256 threads a
# block: 128 registers let two blocks share a multiprocessor, 80 let three.
BUDGET = {
    "best_match_tensor": (176, 5120),
    "best_match_plain": (128, 18432),
    "rank_scores": (40, 2048),
    "lay_out": (48, 128),
    "no_groups": (16, 0),
    "mean_of_segments": (128, 0),
    "cosine_to_anchor": (64, 0),
    "count_kept": (32, 0),
    "scan_counts": (48, 128),
    "copy_kept": (40, 1280),
    "clear_rest": (24, 0),
    "gram_tensor": (64, 8192),
    "gram_plain": (80, 8448),
    "finish_gram": (32, 1024),
    "score_tensor": (96, 0),
    "score_plain": (48, 0),
    "softmax_mean": (64, 1024),
    "weighted_sum": (48, 8192),
}

_KERNEL = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for '(?P<target>\S+)'\n.*?\n"
    r"\s*(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads\n.*?Used (?P<registers>\d+) registers(?P<rest>.*)"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Compile all sources; the library, and what ptxas said."""
    nvcc = (
        os.environ.get("NVCC")
        or shutil.which("nvcc")
        or shutil.which(
            "nvcc", path=str(Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin")
        )
    )
    if nvcc is None:
        require("cuda", "nvcc is not installed")
    folder = tmp_path_factory.mktemp("cuda")
    flags = ["-std=c++17", "-O3", "-Xptxas=-v", "-Werror=all-warnings", "-Xcompiler=-fPIC"]
    flags += [f"-gencode=arch={target}" for target in TARGETS]
    flags += [f"-I{SOURCES / name}" for name in ("include", "device")]
    jobs = []
    for source in sorted(SOURCES.glob("cuda/*.cu")):
        command = [str(nvcc), *flags, "-c", str(source), "-o", str(folder / f"{source.stem}.o")]
        pipe = subprocess.PIPE
        jobs.append(subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True))
    messages = [job.communicate()[0] for job in jobs]
    assert all(job.returncode == 0 for job in jobs), "\n".join(messages)
    library = folder / "liblongvid_cuda.so"
    objects = [str(path) for path in folder.glob("*.o")]
    link = [str(nvcc), "-shared", "-cudart=static", *objects, "-o", str(library)]
    subprocess.run(link, check=True, capture_output=True)
    return library, "\n".join(messages)


def test_every_kernel_is_within_its_budget(built: tuple[Path, str]) -> None:
    seen: set[tuple[str, str]] = set()
    for found in _KERNEL.finditer(built[1]):
        named = [name for name in BUDGET if re.search(rf"\d{name}(?![a-z_])", found["name"])]
        assert len(named) == 1, f"a kernel without a budget: {found['name']}"
        name = named[0]
        seen.add((name, found["target"]))
        where = f"{found['name']} for {found['target']}"
        for what in ("stack", "stores", "loads"):
            assert found[what] == "0", f"{what} of {where}: {found[what]} bytes"
        registers, shared = BUDGET[name]
        assert int(found["registers"]) <= registers, where
        used = re.search(r"(\d+) bytes smem", found["rest"])
        assert (int(used[1]) if used else 0) <= shared, where
    assert seen == {(name, target) for name in BUDGET for target in ("sm_90a", "sm_80")}


def test_the_library_loads_without_a_gpu(built: tuple[Path, str]) -> None:
    library = ctypes.CDLL(str(built[0]))
    assert library.longvid_cuda_abi() == cuda.ABI
    kernels = cuda.Kernels(library)
    assert kernels.library.longvid_cuda_match_workspace(2, 576, 288) > 2 * 576 * 4
    assert kernels.library.longvid_cuda_error(1).decode() == "invalid argument"

"""The CUDA kernels, compiled for the host and run thread by thread, equal the torch reference.

The emulator lets threads run in three orders, lands asynchronous copies as late as allowed and
starts shared memory as NaN, so a missing barrier shows as a wrong number.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from longvid.ops import cuda
from tests.conftest import require
from tests.parity.ops_cases import CASES, DTYPES, On, tokens

SOURCES = Path(__file__).parents[2] / "cuda_ops"


@contextmanager
def _no_stream(device: torch.device) -> Iterator[int]:
    assert device.type == "cpu"
    yield 0


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> cuda.Kernels:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        require("native", "there is no C++ compiler to build the emulated kernels with")
    folder = tmp_path_factory.mktemp("emulated")
    flags = ["-x", "c++", "-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra"]
    flags += ["-Werror", "-Wno-unknown-pragmas"]
    include = [f"-I{SOURCES / name}" for name in ("include", "emulator")]
    jobs = []
    for source in sorted(SOURCES.glob("cuda/*.cu")):
        output = folder / f"{source.stem}.o"
        command = [str(compiler), *flags, *include, "-c", str(source), "-o", str(output)]
        jobs.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    messages = [job.communicate()[1] for job in jobs]
    assert all(job.returncode == 0 for job in jobs), "\n".join(messages)
    library = folder / "libemulated.so"
    objects = [str(path) for path in folder.glob("*.o")]
    subprocess.run([str(compiler), "-shared", *objects, "-o", str(library)], check=True)
    return cuda.Kernels(ctypes.CDLL(str(library)), _no_stream)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(kernels: cuda.Kernels, dtype: torch.dtype, case: str) -> None:
    CASES[case](On(kernels), dtype)


@pytest.mark.parametrize("order", ["backward", "mixed"])
def test_the_order_of_threads_does_not_change_a_bit(
    kernels: cuda.Kernels, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = tokens(2, 210, 72, dtype=torch.bfloat16)
    single = tokens(2, 70, 33, dtype=torch.float32)
    query = tokens(2, 40, 16, dtype=torch.bfloat16, seed=1)
    key_weight = tokens(16, 72, dtype=torch.bfloat16, seed=2)

    def everything() -> list[torch.Tensor]:
        plan = kernels.match(x, None, None, 60, 0, False)
        return [
            *plan,
            *kernels.match(single, None, None, 30, 1, False),
            *kernels.match(single, None, None, 30, 0, True),
            kernels.segment_mean(x.view(-1, 72), plan[4], plan[5], None),
            kernels.token_cosine(x, 0),
            *kernels.compact(x, kernels.token_cosine(x, 2) > 0),
            kernels.window_gram(x.flatten(1), 2),
            kernels.window_gram(single.flatten(1), 2),
            kernels.context_attention(query, key_weight, x, 0.2, None),
            kernels.context_attention(single[:, :9], torch.eye(33), single, 0.2, None),
        ]

    forward = everything()
    monkeypatch.setenv("LONGVID_EMULATOR_ORDER", order)
    assert all(torch.equal(a, b) for a, b in zip(forward, everything(), strict=True))


def test_float64_and_wide_windows_go_to_the_reference(kernels: cuda.Kernels) -> None:
    x = tokens(3, 20, 8, dtype=torch.float64)
    assert kernels.token_cosine(x, 2).shape == (3, 20)
    assert kernels.match(x, None, None, 4, 0, False)[0].shape == (3, 4)
    assert kernels.segment_mean(x[0], torch.tensor([0, 2]), torch.tensor([0, 1]), None).dtype == (
        torch.float64
    )
    assert kernels.window_gram(x[0].float(), 17).shape == (2, 17, 17)

"""Build the native kernels of longvid: C++ for the CPU always, CUDA where it is wanted.

Everything else about the package is in pyproject.toml. The kernels are plain shared libraries
with a C interface (cuda_ops/README.md); neither torch nor Python headers are needed. Without a
compiler the package installs all the same and runs on plain torch.

    CXX             the C++ compiler (default: c++, g++ or clang++, the first one found)
    LONGVID_CUDA    1 builds the CUDA kernels, 0 does not (default: 1 when nvcc and a CUDA
                    build of torch are both there)
    NVCC            the CUDA compiler (default: nvcc on the path or in CUDA_HOME)
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
NATIVE = ROOT / "cuda_ops"
CPU_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-ffp-contract=off"]
CUDA_FLAGS = [
    "-std=c++17",
    "-O3",
    "-Xcompiler=-fPIC,-fvisibility=hidden",
    "-cudart=static",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_80,code=[sm_80,compute_80]",
]


def find_compiler() -> list[str] | None:
    """Return the command of the C++ compiler, or None."""
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    return [found] if found else None


def find_nvcc() -> str | None:
    """Return the path of nvcc, or None."""
    if os.environ.get("NVCC"):
        return os.environ["NVCC"]
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which(str(Path(home) / "bin" / "nvcc"))


def torch_has_cuda() -> bool:
    """Say whether the torch of this environment is a CUDA build, without importing it."""
    try:
        needs = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        return False
    version = importlib.metadata.version("torch")
    return "+cu" in version or (
        "+cpu" not in version and any(need.startswith("nvidia-") for need in needs)
    )


def wants_cuda() -> bool:
    """Say whether the CUDA kernels are to be built."""
    wish = os.environ.get("LONGVID_CUDA")
    return wish == "1" if wish else find_nvcc() is not None and torch_has_cuda()


class BuildNative(build_ext):
    """Compile each library with one command per source file; a failure never stops the install."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        build = Path(self.build_temp) / ext.name
        build.mkdir(parents=True, exist_ok=True)
        try:
            self.compile_library(ext, build, target)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = f"{getattr(error, 'stderr', None) or error}".strip().splitlines()
            print(
                f"longvid: {ext.name} was not built, the plain torch kernels will be used: "
                f"{reason[0] if reason else 'the compiler failed'}",
                file=sys.stderr,
            )

    def compile_library(self, ext: Extension, build: Path, target: Path) -> None:
        cuda = ext.name.endswith("cuda")
        compiler = [find_nvcc() or "nvcc"] if cuda else find_compiler()
        if compiler is None:
            raise OSError("no C++ compiler was found; install g++ or set CXX.")
        flags = CUDA_FLAGS if cuda else CPU_FLAGS
        flags = flags + [f"-I{NATIVE / name}" for name in ("include", "device")]
        objects = []
        jobs = []
        for source in ext.sources:
            output = build / (Path(source).stem + ".o")
            objects.append(str(output))
            command = [*compiler, *flags, "-c", str(ROOT / source), "-o", str(output)]
            jobs.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        errors = [(job, job.communicate()[1]) for job in jobs]
        for job, text in errors:
            if job.returncode:
                raise subprocess.CalledProcessError(job.returncode, job.args, stderr=text)
        link = ["-shared", *(["-cudart=static"] if cuda else ["-fopenmp"])]
        command = [*compiler, *link, *objects, "-o", str(target)]
        subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)


class AnyPython(bdist_wheel):
    """Tag the wheel for the platform alone: the libraries know nothing of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def library(name: str, sources: str) -> Extension:
    files = sorted(str(path.relative_to(ROOT)) for path in NATIVE.glob(sources))
    # All of the folder goes into a source distribution, whichever library is built from it here.
    needed = sorted(str(path.relative_to(ROOT)) for path in NATIVE.glob("*/*"))
    return Extension(name, files, depends=needed, optional=True)


extensions = [library("longvid.ops.liblongvid_cpu", "cpu/*.cpp")]
if wants_cuda():
    extensions.append(library("longvid.ops.liblongvid_cuda", "cuda/*.cu"))

setup(ext_modules=extensions, cmdclass={"build_ext": BuildNative, "bdist_wheel": AnyPython})

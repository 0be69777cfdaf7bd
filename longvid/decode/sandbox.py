"""What the child gives up for good: new privileges, new programs, and the network.

A decoder that an untrusted file has taken over can then neither send what it reads nor start
anything. The system must support it (Linux, x86-64 or ARM 64); where it does not, the other limits
of the child remain.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EACCES
#: Classic BPF on a struct seccomp_data.
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4

#: AUDIT_ARCH, and the numbers of socket, execve, execveat, ptrace and io_uring_setup.
_CALLS = {
    "x86_64": (0xC000003E, (41, 59, 322, 101, 425)),
    "aarch64": (0xC00000B7, (198, 221, 281, 117, 425)),
}

#: The calls of x86-64's second convention have the numbers of the first, and this bit.
_X32_CALLS = 0x40000000

#: What a decoder's libraries need of the environment. Keys and tokens are not among it.
_KEPT = (
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TZ"),
    *("LANG", "LC_ALL", "LC_CTYPE", "CUDA_VISIBLE_DEVICES"),
)


def child_environment() -> dict[str, str]:
    """Return the environment of a child: what it needs, and one thread for each library."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def give_up_privileges() -> bool:
    """Refuse this process new privileges, sockets and programs; sockets that are open stay so.

    Returns:
        False where the system does not support it.
    """
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        return False
    architecture, numbers = _CALLS[platform.machine()]
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE),  # another calling convention is a way around the list
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_AT_LEAST, len(numbers) + 1, 0, _X32_CALLS),
        *((_JUMP_IF_EQUAL, len(numbers) - at, 0, call) for at, call in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    # struct sock_fprog: a length and a pointer.
    described = struct.pack("@HP", len(steps), ctypes.addressof(program))
    control = ctypes.CDLL(None, use_errno=True).prctl
    unused = ctypes.c_ulong(0)
    if control(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), unused, unused, unused) != 0:
        return False
    return bool(control(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, unused, unused) == 0)

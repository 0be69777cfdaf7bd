"""What every part is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from longvid.types import CheckpointRef

#: Metadata of a field that changes how a part runs but not what it returns (a deadline, a batch
#: size): `field(default=8, metadata=RUN_ONLY)` keeps it out of a store's fingerprint.
RUN_ONLY: dict[str, Any] = {"fingerprint": False}


@runtime_checkable
class Part(Protocol):
    """A configuration that can be made to work: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def setup(self, device: str = "cpu") -> object:
        """Load what the part needs onto `device` and return the worker.

        Raises:
            ConfigError: A package or a device that its settings ask for is not there.
            ModelError: A checkpoint is missing, incomplete or of another family.
        """


class WeightedPart(Part, Protocol):
    """A part that may have weights."""

    def checkpoints(self) -> Sequence[CheckpointRef]:
        """Name the checkpoints that it loads, none where it has no weights."""

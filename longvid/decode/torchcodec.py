"""torchcodec as a decoder, behind the same protocol."""

from __future__ import annotations

from dataclasses import dataclass

from longvid.decode.decoder import RunningDecoder
from longvid.decode.external import OtherDecoder
from longvid.decode.torchcodec_engine import why_no_torchcodec


@dataclass(frozen=True, slots=True)
class TorchcodecDecoder(OtherDecoder):
    """Decodes with torchcodec. Its child process imports torch and takes a second to start."""

    def setup(self, device: str = "cpu") -> RunningDecoder:
        engine = "longvid.decode.torchcodec_engine:torchcodec_engine"
        return self.running(engine, why_no_torchcodec())

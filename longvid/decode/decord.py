"""decord as a decoder, behind the same protocol. Its project is no longer maintained."""

from __future__ import annotations

from dataclasses import dataclass

from longvid.decode.decoder import RunningDecoder
from longvid.decode.decord_engine import why_no_decord
from longvid.decode.external import OtherDecoder


@dataclass(frozen=True, slots=True)
class DecordDecoder(OtherDecoder):
    """Decodes with decord."""

    def setup(self, device: str = "cpu") -> RunningDecoder:
        return self.running("longvid.decode.decord_engine:decord_engine", why_no_decord())

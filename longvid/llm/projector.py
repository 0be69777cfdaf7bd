"""Project what was kept before the projector, when a question shows it to the language model.

A store may keep tokens as the vision tower gives them (`encoder.keep = "tower"`), which for most
models is a third as wide as what the language model reads.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.models.families.protocol import Decoder, Family, Projector
from longvid.types import Segment, Selection


class SelectionProjector:
    """Turns selections of a checkpoint's kept tokens into what its language model reads.

    Args:
        family: Of the checkpoint.
        folder: The checkpoint.
        spaces: Of the tokens that it takes: projected ones, and those before the projector where
            the family can project them one by one.
        decoder: Its language model; the projector goes to the same device and dtype.
    """

    def __init__(
        self, family: Family, folder: Path, spaces: tuple[str, ...], decoder: Decoder
    ) -> None:
        self.spaces = spaces
        self._family = family
        self._folder = folder
        self._decoder = decoder
        self._loaded: Projector | None = None

    def __call__(self, selection: Selection) -> Selection:
        """Return the selection in the language model's space; projected segments stay as they are.

        Raises:
            ModelError: Tokens are of another width than their space says.
        """
        segments = tuple(self.segment(segment) for segment in selection.segments)
        return dataclasses.replace(selection, segments=segments)

    def segment(self, segment: Segment) -> Segment:
        """Return one segment in the language model's space."""
        tokens, width = segment.tokens, segment.tokens.data.shape[1]
        projected = segment.space not in self.spaces[1:]
        wanted = self._decoder.token_width if projected else self._projector.tower_width
        if width != wanted:
            raise ModelError(
                f"The selected tokens are {width} wide, but the language model reads {wanted} of "
                f"{segment.space}; index the videos again."
            )
        if projected:
            return segment
        # Segment by segment: the same one gives the same bits, whatever is selected beside it,
        # and so a prompt that was read before is known again.
        tokens = dataclasses.replace(tokens, data=self._projector(tokens.data))
        return dataclasses.replace(segment, tokens=tokens, space=self.spaces[0])

    @property
    def _projector(self) -> Projector:
        """The projector, read when it is first needed: most stores need none."""
        if self._loaded is None:
            weight: torch.Tensor = self._decoder.module.get_input_embeddings().weight
            self._loaded = self._family.load_projector(
                self._folder, weight.dtype, str(weight.device)
            )
        return self._loaded

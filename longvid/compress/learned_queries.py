"""Q-Former and Perceiver: learned queries read a picture, and what they read is kept in its place.

Their weights belong to one vision tower and one language model. What BLIP-2's and IDEFICS2's make
is what a `huggingface` language model of the same checkpoint reads; the tokens of IDEFICS and
Flamingo, for layers of cross-attention, are of a space that no language model here reads. Nothing
is known of where a query looks, so its token stands for the whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from longvid.compress.grid import equal_groups, gather
from longvid.errors import ConfigError, ModelError, OpError
from longvid.lazy_import import later, no_grad, torch
from longvid.methods.token_pooling import describe, require_finite
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.families import FAMILIES, space_of
from longvid.models.from_pretrained import resolve_dtype
from longvid.protocols import RUN_ONLY
from longvid.types import CheckpointRef, EncoderMemory, Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from longvid.models import resamplers
else:
    resamplers = later("longvid.models.resamplers")

#: Frames, or clips, in one forward pass.
_BATCH = 16


@dataclass(frozen=True, slots=True)
class QFormer:
    """Keep of each frame what BLIP-2's queries read of it, as its language model is shown it.

    Frames must come as the checkpoint's own vision tower gives them, class token included; one
    that reads the question too (InstructBLIP) is refused.

    Args:
        model: Checkpoint of BLIP-2: a folder or a hub name.
        dtype: "auto", "float32", "bfloat16" or "float16", of the projection; the Q-Former computes
            in float32.

    Source: BLIP-2, section 3.1; `Blip2ForConditionalGeneration` of transformers.
    """

    conserves_size: ClassVar[bool] = True

    model: str = field(default="Salesforce/blip2-opt-2.7b", metadata=RUN_ONLY)
    dtype: str = "auto"

    def identity(self) -> str:
        return self._facts().identity

    def space(self) -> str:
        return _space("qformer", self._facts())

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return (hub_checkpoint("qformer", "compressors.model", self.model),)

    def memory(self, encoder: EncoderMemory, device: str) -> EncoderMemory:
        return _memory("Q-Former", self._facts(), self.dtype, encoder, device)

    def outline(self) -> LearnedQueries:
        return LearnedQueries("qformer", self.space(), 1, _stand_in(self._facts()))

    def setup(self, device: str = "cpu") -> LearnedQueries:
        loaded = resamplers.load_resampler(self._facts(), resolve_dtype(self.dtype, device), device)
        return LearnedQueries("qformer", self.space(), 1, loaded, device)

    def _facts(self) -> resamplers.ResamplerFacts:
        return _facts_of(self.model, resamplers.QFORMERS)


@dataclass(frozen=True, slots=True)
class Perceiver:
    """Keep of each frame, or clip of frames, what the latents of a Perceiver resampler read of it.

    The checkpoint is IDEFICS2's, IDEFICS', or OpenFlamingo's folder with its checkpoint.pt. Frames
    must come as the checkpoint's own vision tower gives them.

    Args:
        model: A folder or a hub name.
        frames_per_call: Frames that are read together, as evenly as a segment divides; 0 reads a
            segment as one clip. IDEFICS was trained on single pictures, Flamingo on clips.
        dtype: "auto", "float32", "bfloat16" or "float16".

    Source: Flamingo, section 3.1.1; IDEFICS2, section 3; the classes of transformers.
    """

    conserves_size: ClassVar[bool] = True

    model: str = field(default="HuggingFaceM4/idefics2-8b", metadata=RUN_ONLY)
    frames_per_call: int = 1
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.frames_per_call < 0:
            raise ConfigError(
                f"perceiver.frames_per_call must not be negative, got {self.frames_per_call}."
            )

    def identity(self) -> str:
        return self._facts().identity

    def space(self) -> str:
        return _space("perceiver", self._facts())

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        # OpenFlamingo's folder has no config.json.
        return (
            hub_checkpoint(
                "perceiver", "compressors.model", self.model, find=lambda: self._facts().folder
            ),
        )

    def memory(self, encoder: EncoderMemory, device: str) -> EncoderMemory:
        return _memory("Perceiver", self._facts(), self.dtype, encoder, device)

    def outline(self) -> LearnedQueries:
        stand_in = _stand_in(self._facts())
        return LearnedQueries("perceiver", self.space(), self.frames_per_call, stand_in)

    def setup(self, device: str = "cpu") -> LearnedQueries:
        loaded = resamplers.load_resampler(self._facts(), resolve_dtype(self.dtype, device), device)
        return LearnedQueries("perceiver", self.space(), self.frames_per_call, loaded, device)

    def _facts(self) -> resamplers.ResamplerFacts:
        return _facts_of(self.model, resamplers.PERCEIVERS)


class LearnedQueries:
    """A compressor of learned queries at work.

    Args:
        name: Of the part, for errors.
        space: Of the tokens that it makes.
        frames_per_call: Frames of a clip; 0 for all of a segment.
        resampler: Loaded, or its outline.
        device: Where it runs.

    Raises:
        ConfigError: The network knows fewer frames of a clip.
    """

    def __init__(
        self,
        name: str,
        space: str,
        frames_per_call: int,
        resampler: resamplers.Resampler,
        device: str = "cpu",
    ) -> None:
        self._name, self._space, self._device = name, space, device
        self._frames_per_call = frames_per_call
        self._resampler = resampler
        most = resampler.facts.most_frames
        if most and frames_per_call > most:
            raise ConfigError(
                f"{name}.frames_per_call is {frames_per_call}, and {resampler.facts.folder} knows "
                f"{most} frames of a clip; lower it."
            )

    @no_grad
    def __call__(self, segment: Segment) -> Segment:
        """Compress one segment.

        Raises:
            ModelError: Its tokens are not as wide as the checkpoint's tower makes them.
            OpError: A token is not finite, or a clip has fewer tokens than there are queries.
        """
        facts, tokens = self._resampler.facts, segment.tokens
        self._require_width(tokens)
        require_finite(self._name, segment)
        clips = self._clips(segment)  # (clips + 1,) first frames
        counts = tokens.counts(segment.num_frames)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])[clips]
        pieces: list[tuple[Tensor, Tensor, Tensor]] = []
        for runs, index in equal_groups(starts[:-1], starts.diff()):
            self._require_enough(index.shape[1], int(clips[runs[0]]), segment)
            data = torch.cat(
                [self._read(tokens, clips[r], i) for r, i in _batches(runs, index, _BATCH)]
            )
            middle = (clips[runs] + clips[runs + 1] - 1) // 2
            size = gather(tokens.size, index).sum(dim=1) / facts.num_queries
            pieces.append((data, middle, size))
        if not pieces:
            width = facts.out_width or tokens.data.shape[1]
            none = Tokens(
                tokens.data.new_zeros(0, width), tokens.frame, tokens.position, tokens.size
            )
            return replace(segment, tokens=none, space=self._space)
        data, middle, size = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        order = middle.argsort(stable=True)
        made = Tokens(
            data=data[order].flatten(0, 1).to(tokens.data.dtype),
            frame=middle[order].int().repeat_interleave(facts.num_queries),
            position=torch.full((len(order) * facts.num_queries, 2), 0.5),
            size=size[order].repeat_interleave(facts.num_queries),
        )
        return replace(segment, tokens=made, space=self._space)

    def _read(self, tokens: Tokens, first: Tensor, index: Tensor) -> Tensor:
        """Return (B, queries, out_width) of clips of equally many tokens, on the CPU."""
        given = gather(tokens.data, index).to(self._device).float()
        frames = self._resampler.frames
        if frames is not None:
            within = gather(tokens.frame, index) - first[:, None]
            given = given + frames[within.to(frames.device)].float()
        return self._resampler.run(given).float().cpu()

    def _clips(self, segment: Segment) -> Tensor:
        """Return the first frame of each clip, and the number of frames at the end."""
        num_frames = segment.num_frames
        most = self._resampler.facts.most_frames
        together = self._frames_per_call or (min(num_frames, most) if most else num_frames)
        num_clips = max(1, -(-num_frames // max(1, together)))
        return torch.arange(num_clips + 1) * num_frames // num_clips

    def _require_width(self, tokens: Tokens) -> None:
        wanted, width = self._resampler.facts.in_width, tokens.data.shape[1]
        if wanted not in (0, width):
            raise ModelError(
                f"{self._name} of {self._resampler.facts.folder} reads tokens of width {wanted}, "
                f"and the encoder makes {width}; let the encoder keep what the checkpoint's own "
                "vision tower gives."
            )

    def _require_enough(self, count: int, frame: int, segment: Segment) -> None:
        num_queries = self._resampler.facts.num_queries
        if count < num_queries:
            raise OpError(
                f"{self._name}: frame {frame} has a grid of {count} tokens, fewer than the "
                f"{num_queries} queries that would replace them, in {describe(segment)}; leave "
                f"out {self._name}, or give it whole frames."
            )


def _batches(runs: Tensor, index: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(runs, size), torch.split(index, size), strict=True))


def _facts_of(model: str, families: tuple[str, ...]) -> resamplers.ResamplerFacts:
    if not model:
        raise ModelError("compressors.model is empty; name a folder or a hub name.")
    return resamplers.read_facts(model, families)


def _space(kind: str, facts: resamplers.ResamplerFacts) -> str:
    if facts.family in FAMILIES:
        return space_of(facts.folder)
    return f"{kind}/{facts.family}-{facts.out_width}@{facts.identity}"


def _stand_in(facts: resamplers.ResamplerFacts) -> resamplers.Resampler:
    """Return a resampler that takes any width and makes as many tokens of it."""
    sizes = replace(facts, in_width=0, out_width=0)
    return resamplers.Resampler(
        sizes,
        torch.nn.Identity(),
        lambda tokens: tokens.mean(dim=1, keepdim=True).expand(-1, facts.num_queries, -1),
    )


def _memory(
    system: str, facts: resamplers.ResamplerFacts, dtype: str, encoder: EncoderMemory, device: str
) -> EncoderMemory:
    from longvid.models.resamplers import count_weights

    num_weights = count_weights(facts)
    item_bytes = 4 if facts.family == "blip-2" else resolve_dtype(dtype, device).itemsize
    return replace(
        encoder,
        system="" if facts.family in FAMILIES else system,
        weight_bytes=encoder.weight_bytes + num_weights * item_bytes,
        token_width=facts.out_width,
        projected=True,
    )

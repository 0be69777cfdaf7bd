"""What the search vectors shall be: one code for each thing of the world, orthogonal to the others.

Asked only that frames which fit a text be nearer than others, the embedder learns the sum of a
shape and a colour, and takes a red star beside a blue ring for a blue star. So what its vectors
shall be is given: a pair of shape and colour has a code of its own with a share of its shape's and
its colour's, a sign and a background have theirs. A frame has the same share of the code of each
thing that it shows, however many they are, so that a cosine tells whether a thing is there; the
rest is its background's, so that shots with little in them differ too. A text is the code of what
it names, for a pair without those shares: a frame with the shape in another colour is as far as any
other. One that names no place is far from every background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longvid.models.mini import TOWER_WIDTH
from longvid.models.mini_vocabulary import (
    BACKGROUNDS,
    COLORS,
    MOTION_BASE,
    MOTION_VERBS,
    PLURALS,
    SHAPES,
    SIGNS,
)
from longvid.world.draw import Poses

_SHARE = 0.1
"""Of a pair's code, what its shape has, and what its colour has: so that "a star" finds any."""
_MOST_SHOWN = 5.2
"""Squared length of the sum of what a frame can show: four pairs, a sign and some background."""
_WITH = 0.5
"""Of a thing in a text that names a sign with it: the sign outweighs four things of a shape."""
_ON = 0.3
"""Of a background in a text that names a thing on it."""

_OF_ANY = (
    "{o}",
    "a {o}",
    "the {o}",
    "where is the {o} ?",
    "where can you see the {o} ?",
    "is the {o} big or small ?",
    "what size is the {o} ?",
    "how does the {o} move ?",
    "what does the {o} do ?",
    "does the {o} {m} ?",
    "what happens to the {o} ?",
    "is there a {o} ?",
    "can you see a {o} ?",
    "do you see a {o} ?",
    "is there a {o} in the video ?",
    "what is behind the {o} ?",
    "what does the sign with the {o} say ?",
    "which sign is with the {o} ?",
    "which {x} comes {e} the {o} ?",
    "what {x} comes right {e} the {o} ?",
    "what comes right {e} the shot with the {o} ?",
)
_OF_PAIR = (
    "how many times do you see a {o} ?",
    "how many times does a {o} appear ?",
    "how many shots show a {o} ?",
)
_OF_SHAPE = (
    "what color is the {s} ?",
    "what colour is the {s} ?",
    "which color does the {s} have ?",
    "what color does the {s} become ?",
    "what colour does the {s} turn into ?",
    "how many {p} are there ?",
    "how many {p} do you see ?",
)
_OF_COLOR = (
    "what shape is the {c} object ?",
    "which shape is {c} ?",
    "what is the {c} thing ?",
    "how many {c} objects are there ?",
)
_OF_SIGN = (
    "sign {k}",
    "the sign {k}",
    "what is behind sign {k} ?",
    "what shape is with sign {k} ?",
    "which shape is in the shot with sign {k} ?",
    "which {x} comes {e} sign {k} ?",
    "what {x} comes right {e} sign {k} ?",
    "what comes right {e} the shot with sign {k} ?",
    "how many objects are with sign {k} ?",
    "how many things are with sign {k} ?",
    "how many {p} are with sign {k} ?",
    "how many {c} objects are with sign {k} ?",
)
_WITH_SIGN = (
    "what color is the {o} with sign {k} ?",
    "the {o} with sign {k}",
    "a {o} with sign {k}",
)
_BACKGROUND_ALONE = ("{b}", "{b} background", "which background is {b} ?")
_ON_BACKGROUND = ("a {o} on {b}", "the {o} on {b}", "{o} on {b}")
_PLACELESS = (
    "which {x} comes {f} ?",
    "what is the {f} {x} ?",
    "what is the background ?",
    "what is in the background ?",
    "what does the sign say ?",
    "which letter or digit is on the sign ?",
    "what can you read on the sign ?",
    "how many objects are there ?",
    "how many things are in the video ?",
    "how many objects do you see ?",
    "what {v} ?",
    "who {v} ?",
    "which object {v} ?",
)

#: How often texts name what: templates, share, and the letters of what they name.
_KINDS: tuple[tuple[tuple[str, ...], float, str], ...] = (
    ((*_OF_ANY, *_OF_PAIR), 0.34, "sc"),
    ((*_OF_ANY, *_OF_SHAPE), 0.12, "s"),
    ((*_OF_ANY, *_OF_COLOR), 0.08, "c"),
    (_OF_SIGN, 0.2, "k"),
    (_WITH_SIGN, 0.08, "sk"),
    (_WITH_SIGN, 0.03, "sck"),
    (_BACKGROUND_ALONE, 0.03, "b"),
    (_ON_BACKGROUND, 0.05, "scb"),
    (_PLACELESS, 0.07, ""),
)


@dataclass(frozen=True, slots=True)
class Codes:
    """Unit vectors, all of width E: pairs (shapes, colours, E), alone (the same without what they
    share), shapes, colours, signs and backgrounds.
    """

    pairs: Tensor
    alone: Tensor
    shapes: Tensor
    colors: Tensor
    signs: Tensor
    backgrounds: Tensor

    @classmethod
    def drawn(cls, seed: int, device: torch.device | str = "cpu") -> Codes:
        """Take orthogonal directions at random; the same seed gives the same."""
        num_pairs = len(SHAPES) * len(COLORS)
        sizes = (num_pairs, len(SHAPES), len(COLORS), len(SIGNS), len(BACKGROUNDS))
        noise = torch.randn(TOWER_WIDTH, TOWER_WIDTH, generator=torch.Generator().manual_seed(seed))
        parts = torch.linalg.qr(noise)[0][: sum(sizes)].to(device).split(sizes)
        alone, shape, color, signs, backgrounds = parts
        alone = alone.reshape(len(SHAPES), len(COLORS), TOWER_WIDTH)
        pairs = (1 - 2 * _SHARE) ** 0.5 * alone + _SHARE**0.5 * (shape[:, None] + color[None])
        return cls(
            pairs=pairs,
            alone=alone,
            shapes=F.normalize(pairs.sum(1), dim=-1),
            colors=F.normalize(pairs.sum(0), dim=-1),
            signs=signs,
            backgrounds=backgrounds,
        )

    @property
    def bank(self) -> Tensor:
        """Codes of all pairs, shape by shape, and of all signs, (N, E)."""
        return torch.cat([self.pairs.flatten(0, 1), self.signs])

    def text(self, shape: int, color: int, sign: int, background: int) -> Tensor:
        """Return what a text shall be that names these; -1 for what it does not name."""
        if max(shape, color, sign, background) < 0:
            return -F.normalize(self.backgrounds.sum(0), dim=0)
        code = torch.zeros_like(self.signs[0])
        if shape >= 0 and color >= 0:
            code = self.alone[shape, color]
        elif shape >= 0:
            code = self.shapes[shape]
        elif color >= 0:
            code = self.colors[color]
        is_named = max(shape, color) >= 0
        if sign >= 0:
            code = self.signs[sign] + _WITH * code
        if background >= 0:
            code = code + (_ON if is_named else 1.0) * self.backgrounds[background]
        return F.normalize(code, dim=0)

    def frames(self, poses: Poses, scenery: Tensor) -> tuple[Tensor, Tensor]:
        """Return what frames shall be, (N, E), and which codes of the bank they show, (N, codes).

        Args:
            poses: Of N frames.
            scenery: (N, 7) rows of `ShotTable.scenery` of the same frames.
        """
        frame, slot = poses.visible.nonzero(as_tuple=True)
        pairs = torch.zeros(
            len(scenery), len(SHAPES) * len(COLORS), dtype=torch.bool, device=scenery.device
        )
        pairs[frame, poses.shape[frame, slot] * len(COLORS) + poses.color[frame, slot]] = True
        signs = F.one_hot(scenery[:, 4].long() + 1, len(SIGNS) + 1)[:, 1:].bool()
        shown = torch.cat([pairs, signs], dim=1)
        content = shown.float() @ self.bank / _MOST_SHOWN**0.5
        # Pairs that share a shape or a colour add up to a little more than others.
        rest = (1 - content.square().sum(1, keepdim=True)).clamp(min=0.0).sqrt()
        behind = self.backgrounds[scenery[:, 0].long()]
        return F.normalize(content + rest * behind, dim=-1), shown


def draw_coded_texts(
    rng: np.random.Generator, num_texts: int, codes: Codes
) -> tuple[list[str], Tensor]:
    """Draw texts of every kind: the texts, and what they shall be, (M, E)."""
    bounds = np.cumsum([share for _, share, _ in _KINDS])
    texts, wanted = [], []
    for _ in range(num_texts):
        templates, _, named = _KINDS[int(np.searchsorted(bounds, rng.random() * bounds[-1]))]
        shape, color = int(rng.integers(len(SHAPES))), int(rng.integers(len(COLORS)))
        sign, background = int(rng.integers(len(SIGNS))), int(rng.integers(len(BACKGROUNDS)))
        thing = {"sc": f"{COLORS[color]} {SHAPES[shape]}", "s": SHAPES[shape]}
        texts.append(
            _one(rng, templates).format(
                o=thing.get(named[:2].rstrip("k"), f"{COLORS[color]} object"),
                s=SHAPES[shape], c=COLORS[color], k=SIGNS[sign], b=BACKGROUNDS[background],
                p=PLURALS[SHAPES[shape]],
                m=_one(rng, tuple(MOTION_BASE.values())), v=_one(rng, tuple(MOTION_VERBS.values())),
                x=_one(rng, ("shape", "sign", "background")),
                e=_one(rng, ("before", "after")), f=_one(rng, ("first", "last")),
            )
        )  # fmt: skip
        asked = zip("sckb", (shape, color, sign, background), strict=True)
        wanted.append(codes.text(*(number if letter in named else -1 for letter, number in asked)))
    return texts, torch.stack(wanted)


def _one(rng: np.random.Generator, items: tuple[str, ...]) -> str:
    return items[int(rng.integers(len(items)))]

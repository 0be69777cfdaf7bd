"""Questions that need several shots of a film: order, repetition, signs that name a shot."""

from __future__ import annotations

import numpy as np

from longvid.models.mini_vocabulary import BACKGROUNDS, COLORS, NUMBERS, SHAPES, SIGNS
from longvid.world.scene import CHANGES
from longvid.world.views import (
    SIGN_SLOT,
    Draw,
    Seen,
    View,
    WorldQuestion,
    one,
    shuffled,
    unique_name,
)


def _sign_ref(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    signed = [i for i in v.shown if v.unique_sign(i) and v.whole[i]]
    if v.single or not signed:
        return None
    index = one(rng, signed)
    shot = v.film.shots[index]
    sign = SIGNS[shot.sign]
    which = rng.random()
    if which < 0.25:
        answer = BACKGROUNDS[shot.background]
        return v.question("sign_ref", f"what is behind sign {sign} ?", answer, index)
    slot = int(rng.random() * len(shot.things))
    thing = shot.things[slot]
    if which < 0.6 and len(shot.things) == 1:
        text = one(rng, _SIGN_REF_SHAPE).format(k=sign)
        return v.question("sign_ref", text, SHAPES[thing.shape], (index, slot))
    same = [other for other in shot.things if other.shape == thing.shape]
    if len(same) > 1 or thing.event == CHANGES:
        return None
    text = f"what color is the {SHAPES[thing.shape]} with sign {sign} ?"
    return v.question("sign_ref", text, COLORS[thing.color], (index, slot))


_SIGN_REF_SHAPE = ("what shape is with sign {k} ?", "which shape is in the shot with sign {k} ?")


def _attribute(v: View, index: int, rng: np.random.Generator) -> tuple[str, str, _Place]:
    """Pick what to ask of a whole shot: a noun, the answer, and what shows it."""
    shot = v.film.shots[index]
    options: list[tuple[str, str, _Place]] = [("background", BACKGROUNDS[shot.background], index)]
    if shot.sign >= 0:
        options.append(("sign", SIGNS[shot.sign], (index, SIGN_SLOT)))
    if len(shot.things) == 1:
        options.append(("shape", SHAPES[shot.things[0].shape], (index, 0)))
    return one(rng, options)


_Place = int | tuple[int, int]


def _neighbour(step: int) -> Draw:
    kind = "after" if step > 0 else "before"

    def draw(v: View, rng: np.random.Generator) -> WorldQuestion | None:
        if v.single:
            return None
        shown = set(v.shown)
        index = one(rng, v.shown)
        other = index + step
        if other not in shown or not v.whole[other]:
            return None
        reference = None
        if v.unique_sign(index) and rng.random() < 0.6:
            reference = f"sign {SIGNS[v.film.shots[index].sign]}"
            known: _Place | Seen = (index, SIGN_SLOT)
        else:
            for item in shuffled(v, rng):
                if item.shot == index and (name := unique_name(v, item, rng)):
                    reference, known = f"the {name}", item
                    break
        noun, answer, place = _attribute(v, other, rng)
        if reference is None:
            return None
        if noun == "shape" and reference.startswith("sign") and rng.random() < 0.3:
            text = f"what comes right {kind} the shot with {reference} ?"
        else:
            text = one(rng, _NEIGHBOUR).format(x=noun, kind=kind, ref=reference)
        return v.question(kind, text, answer, known, place)

    return draw


_NEIGHBOUR = ("which {x} comes {kind} {ref} ?", "what {x} comes right {kind} {ref} ?")


def _first_last(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    if v.single:
        return None
    end = "first" if rng.random() < 0.5 else "last"
    index = v.shown[0] if end == "first" else v.shown[-1]
    if not v.whole[index]:
        return None
    noun, answer, place = _attribute(v, index, rng)
    text = one(rng, ("which {x} comes {e} ?", "what is the {e} {x} ?")).format(x=noun, e=end)
    return v.question("first_last", text, answer, place)


def _times(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    if len(v.shown) < 4 or not all(v.whole.values()):
        return None
    places: dict[tuple[int, int], set[int]] = {}
    changed: set[tuple[int, int]] = set()
    for item in v.things:
        thing = item.thing
        places.setdefault((thing.shape, thing.color), set()).add(item.shot)
        if thing.event == CHANGES:
            changed |= {(thing.shape, thing.color), (thing.shape, thing.color_after)}
    counts = {pair: shots for pair, shots in places.items() if pair not in changed}
    if not counts:
        return None
    most = max(len(shots) for shots in counts.values())
    if most > 4 or rng.random() > _times_keep(len(v.shown), most):
        return None
    pair = one(rng, [pair for pair, shots in counts.items() if len(shots) == most])
    shown = [item for item in v.things if (item.thing.shape, item.thing.color) == pair]
    text = one(rng, _TIMES).format(c=COLORS[pair[1]], s=SHAPES[pair[0]])
    return v.question("times", text, NUMBERS[most], *shown)


_TIMES = (
    "how many times do you see a {c} {s} ?",
    "how many times does a {c} {s} appear ?",
    "how many shots show a {c} {s} ?",
)


def _times_keep(num_shots: int, times: int) -> float:
    """Return the share kept of the questions with an answer, so that no answer is the usual one."""
    if times == 1:
        return 0.45 if num_shots < 6 else 0.5 if num_shots < 8 else 0.8
    if times == 2:
        return 0.7 if num_shots < 6 else 0.52
    return 1.0


MANY_SHOT: dict[str, Draw] = {
    "sign_ref": _sign_ref,
    "before": _neighbour(-1),
    "after": _neighbour(1),
    "first_last": _first_last,
    "times": _times,
}

"""Questions about a film, each with its answer and the spans of time that show it.

A question is asked only if the film has exactly one answer to it and, where the times of the frames
are given, only if those frames show it. `TYPES` names the kinds of question; each has one function
that draws one question of the kind, or none where this film has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from longvid.models.mini import (
    BACKGROUNDS,
    COLORS,
    EVENTS,
    MOTION_BASE,
    MOTION_VERBS,
    MOTIONS,
    NUMBERS,
    PLACES,
    PLURALS,
    SHAPES,
    SIGNS,
    SIZES,
)
from longvid.world.scene import (
    CHANGES,
    NOTHING,
    STILL,
)
from longvid.world.views import SIGN_SLOT, Seen, View, WorldQuestion, named, one, shuffled, view

__all__ = [
    "MANY_SHOT_TYPES",
    "ONE_SHOT_TYPES",
    "TYPES",
    "YES_NO_TYPES",
    "WorldQuestion",
    "ask",
    "view",
]

# --- drawing --------------------------------------------------------------------------------------

_Draw = Callable[[View, np.random.Generator], WorldQuestion | None]


def _shape(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    for item in shuffled(v, rng):
        color = item.thing.color
        if v.colors[color] == 1 and item.thing.event != CHANGES:
            text = one(rng, _SHAPE).format(c=COLORS[color])
            return v.question("shape", text, SHAPES[item.thing.shape], item)
    return None


_SHAPE = ("what shape is the {c} object ?", "which shape is {c} ?", "what is the {c} thing ?")


def _color(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    for item in shuffled(v, rng):
        shape = item.thing.shape
        if v.shapes[shape] == 1 and item.thing.event != CHANGES:
            text = one(rng, _COLOR).format(s=SHAPES[shape])
            return v.question("color", text, COLORS[item.thing.color], item)
    return None


_COLOR = (
    "what color is the {s} ?",
    "what colour is the {s} ?",
    "which color does the {s} have ?",
)


def _where(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    for item in shuffled(v, rng):
        if item.thing.place >= 0 and (name := named(v, item, rng)):
            text = one(rng, ("where is the {o} ?", "where can you see the {o} ?")).format(o=name)
            return v.question("where", text, PLACES[item.thing.place], item)
    return None


def _size(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    for item in shuffled(v, rng):
        if item.thing.sized and (name := named(v, item, rng)):
            text = one(rng, ("is the {o} big or small ?", "what size is the {o} ?")).format(o=name)
            return v.question("size", text, SIZES[item.thing.size], item)
    return None


def _count(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    if v.single:
        shot, tail = v.shown[0], one(rng, _COUNT_TAILS)
    else:
        signed = [i for i in v.shown if v.unique_sign(i)]
        if not signed:
            return None
        shot = one(rng, signed)
        tail = f"are with sign {SIGNS[v.film.shots[shot].sign]} ?"
    if not v.whole[shot]:
        return None
    things = v.film.shots[shot].things
    if rng.random() < 0.4:
        words = "things" if rng.random() < 0.2 else "objects"
        answer = len(things)
        if rng.random() > _COUNT_ALL_KEEP[v.single][answer]:
            return None
        whole = [(shot, slot) for slot in range(answer)]
        return v.question("count", f"how many {words} {tail}", NUMBERS[answer], shot, *whole)
    target = int(rng.random() * 4)
    if rng.random() > _COUNT_KEEP[target]:
        return None
    if rng.random() < 0.6:
        shapes = Counter(thing.shape for thing in things)
        kinds = [thing.shape for thing in things]
        fitting = [i for i in range(len(SHAPES)) if shapes[i] == target]
        names = [PLURALS[SHAPES[i]] for i in fitting]
    else:
        if any(thing.event == CHANGES for thing in things):
            return None
        colors = Counter(thing.color for thing in things)
        kinds = [thing.color for thing in things]
        fitting = [i for i in range(len(COLORS)) if colors[i] == target]
        names = [f"{COLORS[i]} objects" for i in fitting]
    if not names:
        return None
    pick = int(rng.random() * len(names))
    counted = [(shot, slot) for slot, kind in enumerate(kinds) if kind == fitting[pick]]
    text = f"how many {names[pick]} {tail}"
    return v.question("count", text, NUMBERS[target], shot, *counted)


_COUNT_TAILS = ("are there ?", "do you see ?", "can you see ?", "are in the video ?")
_COUNT_KEEP = (0.07, 0.12, 0.33, 1.0)
"""Shares kept of each count, set so that no count of a kind is much commoner than another."""
_COUNT_ALL_KEEP = {True: (1.0, 0.8, 0.85, 0.92, 1.0), False: (1.0, 0.18, 0.4, 0.55, 1.0)}


def _motion(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    for item in shuffled(v, rng):
        if not item.thing.moves_plainly or not item.moves:
            continue
        if rng.random() > _MOTION_KEEP[item.thing.motion]:
            continue
        if name := named(v, item, rng):
            text = one(rng, ("how does the {o} move ?", "what does the {o} do ?")).format(o=name)
            return v.question("motion", text, MOTIONS[item.thing.motion], item)
    return None


_MOTION_KEEP = (0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 1.0)


def _who(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    if any(not item.moves for item in v.things):
        return None
    motions = Counter(item.thing.motion for item in v.things)
    for item in shuffled(v, rng):
        thing = item.thing
        if thing.moves_plainly and motions[thing.motion] == 1:
            text = f"{one(rng, _WHO)} {MOTION_VERBS[MOTIONS[thing.motion]]} ?"
            return v.question("who", text, SHAPES[thing.shape], item)
    return None


_WHO = ("who", "what", "which object", "which shape")


def _event(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    wanted = int(rng.random() * len(EVENTS))
    for item in shuffled(v, rng):
        thing = item.thing
        if thing.event != wanted or not item.shows_event:
            continue
        if thing.event == NOTHING and thing.motion != STILL:
            continue
        name = SHAPES[thing.shape]
        if v.shapes[thing.shape] > 1 or rng.random() < 0.3:
            name = f"{COLORS[thing.color]} {name}"
            if v.pairs[thing.shape, thing.color] > 1:
                continue
        if rng.random() > _EVENT_KEEP[wanted]:
            return None
        return v.question("event", f"what happens to the {name} ?", EVENTS[wanted], item)
    return None


_EVENT_KEEP = (1.0, 0.8, 0.9, 0.9, 1.0)


def _become(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    for item in shuffled(v, rng):
        thing = item.thing
        if thing.event == CHANGES and item.shows_event and v.shapes[thing.shape] == 1:
            text = one(rng, _BECOME).format(s=SHAPES[thing.shape])
            return v.question("become", text, COLORS[thing.color_after], item)
    return None


_BECOME = ("what color does the {s} become ?", "what colour does the {s} turn into ?")


def _exists(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    if not all(v.whole.values()):
        return None
    item = v.things[int(rng.random() * len(v.things))] if v.things else None
    if item is None or item.thing.event == CHANGES:
        return None
    shape, color, answer = item.thing.shape, item.thing.color, "yes"
    if rng.random() < 0.5:  # a pair that is not there, of a shape or a colour that mostly is
        answer = "no"
        for _ in range(8):
            other = v.things[int(rng.random() * len(v.things))].thing
            near = rng.random() < 0.5
            color = other.color if near else int(rng.random() * len(COLORS))
            if v.pairs[shape, color] == 0:
                break
        else:
            return None
    text = one(rng, _EXISTS).format(c=COLORS[color], s=SHAPES[shape])
    places = (item,) if answer == "yes" else tuple(v.shown)
    return v.question("exists", text, answer, *places)


_EXISTS = (
    "is there a {c} {s} ?",
    "can you see a {c} {s} ?",
    "do you see a {c} {s} ?",
    "is there a {c} {s} in the video ?",
)


def _yes_no_motion(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    for item in shuffled(v, rng):
        thing = item.thing
        if not (thing.moves_plainly and item.moves):
            continue
        if name := named(v, item, rng):
            asked, truth = thing.motion, bool(rng.random() < 0.5)
            while not truth and asked == thing.motion:
                asked = int(np.searchsorted(_MOTION_BOUNDS, rng.random()))
            text = f"does the {name} {MOTION_BASE[MOTIONS[asked]]} ?"
            return v.question("yes_no_motion", text, "yes" if truth else "no", item)
    return None


_MOTION_BOUNDS = np.cumsum((0.145, 0.08, 0.1, 0.072, 0.084, 0.068, 0.095, 0.13, 0.154, 0.072))
"""How common each motion is: what "no" questions name, so that the verb gives nothing away."""


def _sign_read(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    if v.single:
        shot = v.shown[0]
        if v.film.shots[shot].sign < 0:
            return None
        text = one(rng, _SIGN_READ)
        return v.question("sign_read", text, SIGNS[v.film.shots[shot].sign], (shot, SIGN_SLOT))
    for item in shuffled(v, rng):
        sign = v.film.shots[item.shot].sign
        if sign >= 0 and (name := named(v, item, rng)):
            text = one(rng, _SIGN_READ_MANY).format(o=name)
            return v.question("sign_read", text, SIGNS[sign], item, (item.shot, SIGN_SLOT))
    return None


_SIGN_READ = (
    "what does the sign say ?",
    "which letter or digit is on the sign ?",
    "what can you read on the sign ?",
)
_SIGN_READ_MANY = ("what does the sign with the {o} say ?", "which sign is with the {o} ?")


def _background(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    if v.single:
        text = one(rng, ("what is the background ?", "what is in the background ?"))
        answer = BACKGROUNDS[v.film.shots[v.shown[0]].background]
        return v.question("background", text, answer, v.shown[0])
    for item in shuffled(v, rng):
        if name := named(v, item, rng):
            text = f"what is behind the {name} ?"
            answer = BACKGROUNDS[v.film.shots[item.shot].background]
            return v.question("background", text, answer, item.shot)
    return None


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


def _neighbour(step: int) -> _Draw:
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
                if item.shot == index and (name := named(v, item, rng)):
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


_DRAWS: dict[str, _Draw] = {
    "shape": _shape,
    "color": _color,
    "where": _where,
    "size": _size,
    "count": _count,
    "motion": _motion,
    "who": _who,
    "event": _event,
    "become": _become,
    "exists": _exists,
    "yes_no_motion": _yes_no_motion,
    "sign_read": _sign_read,
    "background": _background,
    "sign_ref": _sign_ref,
    "before": _neighbour(-1),
    "after": _neighbour(1),
    "first_last": _first_last,
    "times": _times,
}
TYPES = tuple(_DRAWS)
ONE_SHOT_TYPES = TYPES[:13]
MANY_SHOT_TYPES = TYPES[13:]
YES_NO_TYPES = ("exists", "yes_no_motion", "size")
"""Types with two answers."""


def ask(
    v: View,
    rng: np.random.Generator,
    num_questions: int,
    weights: Mapping[str, float] | None = None,
) -> list[WorldQuestion]:
    """Draw questions about a film, no two with the same text.

    Args:
        weights: how often each type is tried (default: all alike); a type that is missing is not
            tried.

    Returns:
        At most `num_questions` questions; fewer where the film has no more to ask.
    """
    names = list(TYPES if weights is None else weights)
    share = np.array([1.0 if weights is None else weights[name] for name in names])
    bounds = np.cumsum(share / share.sum())
    found: dict[str, WorldQuestion] = {}
    for _ in range(8 * num_questions):
        if len(found) >= num_questions:
            break
        name = names[min(int(np.searchsorted(bounds, rng.random())), len(names) - 1)]
        question = _DRAWS[name](v, rng)
        if question is not None:
            found.setdefault(question.text, question)
    return list(found.values())

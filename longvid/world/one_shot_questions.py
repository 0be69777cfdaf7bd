"""Questions that one shot answers: what a thing is, where it is, what it does."""

from __future__ import annotations

from collections import Counter

import numpy as np

from longvid.models.mini_vocabulary import (
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
from longvid.world.scene import CHANGES, NOTHING, STILL
from longvid.world.views import SIGN_SLOT, Draw, View, WorldQuestion, one, shuffled, unique_name


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
        if item.thing.place >= 0 and (name := unique_name(v, item, rng)):
            text = one(rng, ("where is the {o} ?", "where can you see the {o} ?")).format(o=name)
            return v.question("where", text, PLACES[item.thing.place], item)
    return None


def _size(v: View, rng: np.random.Generator) -> WorldQuestion | None:
    for item in shuffled(v, rng):
        if item.thing.sized and (name := unique_name(v, item, rng)):
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
        if name := unique_name(v, item, rng):
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
        if name := unique_name(v, item, rng):
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
        if sign >= 0 and (name := unique_name(v, item, rng)):
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
        if name := unique_name(v, item, rng):
            text = f"what is behind the {name} ?"
            answer = BACKGROUNDS[v.film.shots[item.shot].background]
            return v.question("background", text, answer, item.shot)
    return None


ONE_SHOT: dict[str, Draw] = {
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
}

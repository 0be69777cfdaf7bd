"""An hour of 600 made-up lines with 60 facts among them, and a question for each fact.

The questions were written before any of them was asked. Fillers are sentences of the same kinds
of talk, so that most words of a question are in many lines.
"""

from __future__ import annotations

import itertools

from longvid.types import TextLine
from longvid.types.text_line import TextSourceName

#: (question, the line that answers it, its source)
QUESTIONS: tuple[tuple[str, str, TextSourceName], ...] = (
    ("How much do the whales eat every day?", "up to four tons of krill every day", "speech"),
    ("What does the sign at the pier say?", "NO SWIMMING BEYOND THE PIER", "screen"),
    ("When does she mention Lisbon?", "we left Lisbon in the rain", "speech"),
    ("Who wrote the book on tides?", "Professor Almeida wrote the book on tides", "speech"),
    ("What is the name of the ship?", "the ship is called Albatross", "speech"),
    ("What is written on the gate?", "GATE 4 / STAFF ONLY", "screen"),
    ("How old is the lighthouse?", "that lighthouse is two hundred years old", "speech"),
    ("Which company built the engine?", "the engine was built by Keller and Sons", "speech"),
    ("What time does the museum open?", "MUSEUM OPENS 9 AM", "screen"),
    ("How heavy is the heart of a whale?", "its heart weighs one hundred eighty kilos", "speech"),
    ("What did they find under the ice?", "under the ice we found living corals", "speech"),
    ("Who is the captain?", "captain Nakamura welcomed us on board", "speech"),
    ("What is the title of the second chapter?", "CHAPTER TWO: THE LONG NIGHT", "screen"),
    ("How deep is the trench?", "the trench is eleven kilometres deep", "speech"),
    ("What color is the rescue boat?", "look for the orange rescue boat", "speech"),
    ("When was the station founded?", "the station was founded in nineteen sixty six", "speech"),
    ("Which number should you call in an emergency?", "EMERGENCY CALL 112", "screen"),
    ("What does the captain fear most?", "what I fear most is fire", "speech"),
    ("How many penguins live there?", "forty thousand penguins live on the island", "speech"),
    ("What is the password of the guest network?", "GUEST WIFI: BLUEHARBOR", "screen"),
    ("Where was the camera lost?", "we lost the camera near the glacier", "speech"),
    ("Who paid for the expedition?", "the expedition was paid by the Ocean Institute", "speech"),
    ("What do seals use to find fish?", "seals find fish with their whiskers", "speech"),
    ("How cold was it in July?", "in July it was minus sixty degrees", "speech"),
    ("Which road is closed?", "ROAD 17 CLOSED", "screen"),
    ("What happened to the compass?", "the compass broke on the third day", "speech"),
    ("How long does the battery last?", "the battery lasts nineteen hours", "speech"),
    ("Who plays the violin?", "Marta plays the violin after dinner", "speech"),
    ("What is on the menu on Friday?", "FRIDAY: LENTIL SOUP", "screen"),
    ("Why did the drone fall?", "the drone fell because its propeller froze", "speech"),
    ("How much does a ticket cost?", "TICKET 12 EURO", "screen"),
    ("What is the largest jellyfish called?", "the largest is the lion's mane jellyfish", "speech"),
    ("When does the last ferry leave?", "LAST FERRY 22:45", "screen"),
    ("Who discovered the wreck?", "two divers from Malta discovered the wreck", "speech"),
    (
        "What does the doctor recommend against seasickness?",
        "ginger helps against seasickness, says the doctor",
        "speech",
    ),
    ("Which island has a volcano?", "there is a volcano on Deception Island", "speech"),
    ("What is the speed limit?", "SPEED LIMIT 30", "screen"),
    ("How many languages does the guide speak?", "our guide speaks seven languages", "speech"),
    ("What was in the red box?", "the red box was full of letters", "speech"),
    ("Who is the director of the film?", "DIRECTED BY ANNA KOWALSKI", "screen"),
    ("What do the octopuses collect?", "octopuses collect shells and glass", "speech"),
    ("Where can visitors park?", "VISITOR PARKING BEHIND THE CHURCH", "screen"),
    ("How tall are the waves in winter?", "in winter the waves are twelve metres tall", "speech"),
    ("What is the radio channel of the harbor?", "HARBOR RADIO CHANNEL 16", "screen"),
    ("What did the cook burn?", "the cook burned the pancakes again", "speech"),
    ("Which bird flies the farthest?", "the arctic tern flies the farthest", "speech"),
    ("Who repaired the roof?", "Olaf repaired the roof by himself", "speech"),
    ("What is the maximum load of the lift?", "LIFT MAX 630 KG", "screen"),
    ("How is the plankton counted?", "plankton is counted under a microscope", "speech"),
    ("When is the next solar eclipse?", "the next solar eclipse is in August", "speech"),
    ("What is the motto on the flag?", "FORTUNE FAVORS THE BRAVE", "screen"),
    ("Who sings at the end?", "the choir of Tromso sings at the end", "speech"),
    ("What is the treaty about?", "the treaty protects the seabed from mining", "speech"),
    ("How many dogs pull the sled?", "eight dogs pull the sled", "speech"),
    ("What does the label on the bottle say?", "LABEL: SAMPLE 42, DO NOT OPEN", "screen"),
    ("Why is the sand black?", "the sand is black because of basalt", "speech"),
    ("What does Ingrid study?", "Ingrid studies the songs of humpbacks", "speech"),
    ("Which bridge collapsed?", "the old bridge of Varde collapsed", "speech"),
    ("What is the address of the archive?", "ARCHIVE: 5 MILL STREET", "screen"),
    ("How did they melt the snow?", "they melted snow with a gas burner", "speech"),
)
_SUBJECTS = ("the crew", "our guide", "the professor", "everybody", "the captain", "a diver")
_VERBS = ("talked about", "looked at", "waited for", "wrote about", "dreamed of")
_OBJECTS = (
    *("the weather on the island", "the boat in the harbor", "the next day at sea"),
    *("the road to the station", "a film about whales", "the long winter", "fish for dinner"),
    *("the old museum", "the ice near the coast", "the number of visitors"),
)
_NUM_LINES = 600
_STEP_SECONDS = 6.0


def hour_of_lines() -> tuple[list[TextLine], list[int]]:
    """Return the lines of the hour in time order, and the place of the line of each question."""
    fillers = itertools.product(_SUBJECTS, _VERBS, _OBJECTS)
    every = _NUM_LINES // len(QUESTIONS)
    lines: list[TextLine] = []
    right: list[int] = []
    for place in range(_NUM_LINES):
        start = place * _STEP_SECONDS
        fact, offset = divmod(place, every)
        if offset == (7 * fact) % every:
            _, text, source = QUESTIONS[fact]
            right.append(place)
        else:
            words = next(fillers, None)
            if words is None:
                fillers = itertools.product(_SUBJECTS, _VERBS, _OBJECTS)
                words = next(fillers)
            text, source = " ".join(words), "speech"
        lines.append(TextLine(start, start + 4.0, text, source))
    return lines, right

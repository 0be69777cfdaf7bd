"""The yardstick: what compression and selection do to answers, on films whose answers are known.

    python -m benchmarks world --quick
    python -m benchmarks world --json benchmarks/results/world.json \
        --html benchmarks/results/world.html
    python -m benchmarks world --text --json benchmarks/results/world_text.json

suites.py      films and questions of five lengths, from a seed
films.py       films as H.264 files and stores, made once
film_rows.py   their questions as the rows of a benchmark, and the folder of a run
film_tokens.py an indexed film in memory
arms.py        what each method shows of it
trials.py      which arms at which budgets
answer_check.py what mini answers, many questions at once
arm_asker.py   every row asked of every arm
findings.py    which types may judge; accuracies; recall
goals.py       figures to reach
grounding.py   boxes of right answers, `world --ground`
search_tables.py what a search finds, `world --search`; library.py draws its films
text_channels.py clues in pictures, narration and signs of one film
page.py        one HTML page, by the report of all benchmarks

Rows, plan, log, statistics and report are those of all benchmarks (`benchmarks/harness`), so a run
that is interrupted goes on where it stopped. It measures methods, not models: mini understands
nothing but the drawn world.
"""

from __future__ import annotations

from benchmarks.tasks.world.command import add_arguments, run

__all__ = ["add_arguments", "run"]

"""The number of rows costs no memory, and what was answered is not worked through again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_RUN = """
import resource, sys
from pathlib import Path
from benchmarks.harness.plan import Selection, make_plan
from benchmarks.harness.run import open_run
from benchmarks.harness.task import probe
from benchmarks.tasks import load_task
from tests.unit.benchmarks.folders import Row
from tests.unit.benchmarks.stand_in import IDENTITY, Parrot, go, make_videos, says, scored
import longvid.types, benchmarks.report.figures  # what loads torch, before anything is measured

folder, count = Path(sys.argv[1]), int(sys.argv[2])
(folder / "annotations").mkdir(parents=True)
with (folder / "annotations" / "test.csv").open("w") as file:
    file.write("question,answer,video_id,id,type\\n")
    for i in range(count):
        file.write(f"what is thing {i} doing?,play,{1451 + i // 26 % 500},{i},what\\n")
make_videos(folder / "videos", [Row(0, 1451 + i, "", "") for i in range(500)])


class Forgetful(Parrot):
    def ask(self, rows):
        told = super().ask(rows)
        self.asked.clear()
        return told


run = open_run(folder / "run", IDENTITY, {})
task = load_task("msvd-qa")
make_plan(run.plan_path, task, probe(task, folder / "annotations"))
run.save(selection=Selection().to_dict(), videos=str(folder / "videos"))
print(go(run, Forgetful(says("playing")), folder / "videos").asked)
print(go(run, Forgetful(says("playing")), folder / "videos").kept)
print(scored(run)["coverage"]["ok"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kilobytes(folder: Path, count: int) -> int:
    result = subprocess.run(
        [sys.executable, "-c", _RUN, str(folder), str(count)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    asked, kept, ok, peak = map(int, result.stdout.split())
    assert asked == kept == ok == count
    return peak


def test_memory_is_flat_in_the_number_of_rows(tmp_path: Path) -> None:
    few = peak_kilobytes(tmp_path / "few", 2_000)
    many = peak_kilobytes(tmp_path / "many", 30_000)
    assert many - few < 8_000, f"{few} kB for 2,000 rows, {many} kB for 30,000"

"""MVBench (Li et al. 2024): twenty tasks of 200 questions, three to five options, averaged.

Videos lie as they are published, in a folder a source: two sources use the same file names. Some
tasks ask about a part of a video, and TVQA's videos are folders of pictures, three a second.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness.annotation_files import read_rows
from benchmarks.harness.open_ended_layouts import number, text, texts
from benchmarks.harness.record import Record
from benchmarks.harness.task import Found, Layout, Task

_COLUMNS = frozenset({"video", "question", "candidates", "answer"})
_TASKS = {
    "star/Charades_v1_480": "action_sequence action_prediction object_interaction",
    "clevrer/video_validation": "object_existence moving_direction moving_count moving_attribute "
    "counterfactual_inference",
    "perception/videos": "object_shuffle action_count state_change character_order",
    "ssv2_video": "action_antonym",
    "Moments_in_Time_Raw/videos": "fine_grained_action",
    "FunQA_test/test": "unexpected_action",
    "sta/sta_video": "action_localization",
    "scene_qa/video": "scene_transition",
    "nturgbd": "fine_grained_pose",
    "vlnqa": "egocentric_navigation",
    "tvqa/frames_fps3_hq": "episodic_reasoning",
}
_SOURCE = {task: f"{source}/" for source, tasks in _TASKS.items() for task in tasks.split()}


def _read(found: Found) -> Iterator[Record]:
    for path in found.files[0]:
        for place, row in enumerate(read_rows(path)):
            options, answer = texts(row, "candidates"), text(row, "answer")
            yield Record(
                id=f"{path.stem}-{place}",
                video=(_SOURCE.get(path.stem, "") + text(row, "video"),),
                question=text(row, "question"),
                options=options,
                answer_index=options.index(answer) if answer in options else -1,
                group={"task": path.stem},
                start_seconds=number(row, "start"),
                end_seconds=number(row, "end"),
            )


TASK = Task(
    name="mvbench",
    layouts=(Layout("json", ("json/*.json|*.json",), (_COLUMNS,), _read, many=True),),
    splits=("test",),
    groups=("task",),
    macro="task",
    windows=True,
    picture_fps=3.0,
)

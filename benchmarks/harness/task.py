"""What a benchmark is: where its rows lie, how they are read, and which figure counts.

A task never guesses its split. It follows from the names of the files, or from `--split`, and
where row ids tell the truth about it, they are believed over both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.annotation_files import first_row
from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.record import Gold, LeftOut, Record

_DEPTH = 3

Reader = Callable[["Found"], Iterable[Record | Gold | LeftOut]]


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which the rows of a task circulate.

    Args:
        name: For people and for `--layout`.
        files: One glob a role, with the field {split}; alternatives are parted by "|".
        fields: For each role, columns that its first row must have: files are probed, because
            several sets use the same names.
        read: Yields the rows.
        many: Each glob may match several files, which are read one after the other.
    """

    name: str
    files: tuple[str, ...]
    fields: tuple[frozenset[str], ...]
    read: Reader
    many: bool = False

    @property
    def names_split(self) -> bool:
        """True when the file names say which split it is."""
        return any("{split}" in glob for glob in self.files)


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark.

    Args:
        name: On the command line.
        layouts: In order of preference.
        splits: Every split there is; a single one need not be named.
        groups: Which groups of a record get figures of their own.
        macro: Group over whose values the headline is averaged; "" for a plain mean over rows.
        true_split: Tells the split of a row from its ids, None where they do not say.
        question: Template of the question, with the field {question}.
        subtitles: How what is said is shown when asked for: "before" the question or "between"
            the frames; "" for a set that comes without.
        windows: Rows may ask about a part of a video, so its every segment is a candidate.
        picture_fps: A folder of pictures is a video of so many a second; 0 where none is.
        wants_gold: Whether rows without a gold answer are faulty, rather than to be submitted.
        grounds: What is scored beside the answer: "span" when, "tube" where; "" for neither.
    """

    name: str
    layouts: tuple[Layout, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...] = ("type",)
    macro: str = ""
    true_split: Callable[[Record], str | None] = field(default=lambda record: None)
    question: str = "{question}"
    subtitles: str = ""
    windows: bool = False
    picture_fps: float = 0.0
    wants_gold: bool = True
    grounds: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What probing a folder found.

    Args:
        layout: Which of the task's.
        split: Named by the files or by the caller.
        files: One tuple a role.
        folder: Where annotations lie, for files beside the rows (maps of names).
    """

    layout: Layout
    split: str
    files: tuple[tuple[Path, ...], ...]
    folder: Path

    def beside(self, glob: str) -> Path | None:
        """Return a file that helps to read the rows, None if it is not there."""
        return next(iter(sorted(_walk(self.folder, glob))), None)

    def rows(self) -> Iterator[Record | Gold | LeftOut]:
        """Yield questions, golds and what is left out, in the order of the files."""
        yield from self.layout.read(self)


def probe(
    task: Task, annotations: Path, split: str | None = None, layout: str | None = None
) -> Found:
    """Find the annotation files of one split, or say in one sentence why that is not possible.

    Args:
        task: Whose layouts are looked for.
        annotations: A folder, or one file.
        split: As the caller names it; None takes the only one whose files are there.
        layout: Name of the one to take, when several are there.

    Raises:
        AnnotationError: Nothing fits, or more than one split does.
    """
    if not annotations.exists():
        raise AnnotationError(f"There is nothing at {annotations}; --annotations names a folder.")
    if split is not None and split not in task.splits:
        raise AnnotationError(
            f"{task.name} has no split {split!r}; known are {', '.join(task.splits)}."
        )
    layouts = [item for item in task.layouts if layout in (None, item.name)]
    if not layouts:
        known = ", ".join(item.name for item in task.layouts)
        raise AnnotationError(f"{task.name} has no layout {layout!r}; known are {known}.")
    found = list(_candidates(task, layouts, annotations, split))
    splits = sorted({item.split for item in found if item.split}, key=task.splits.index)
    if len(splits) > 1:
        raise AnnotationError(
            f"{annotations} holds the splits {' and '.join(splits)}; name one with --split."
        )
    if not found:
        looked = "; ".join(f"{item.name}: {' + '.join(item.files)}" for item in layouts)
        looked = looked.replace("{split}", split or "{split}")
        raise AnnotationError(
            f"{annotations} holds no annotations of {task.name}"
            f"{f' ({split})' if split else ''}; looked for {looked}, and for their columns."
        )
    chosen = next((item for item in found if item.split), found[0])
    if not chosen.split:
        if len(task.splits) > 1:
            raise AnnotationError(
                f"{chosen.files[0][0].name} does not say which split it is, and a split is never "
                f"guessed; give --split {'|'.join(task.splits)}."
            )
        chosen = Found(chosen.layout, task.splits[0], chosen.files, chosen.folder)
    return chosen


def _candidates(
    task: Task, layouts: Sequence[Layout], annotations: Path, split: str | None
) -> Iterator[Found]:
    """Yield every layout whose files are there; a split that is not known yet is ""."""
    for layout in layouts:
        if annotations.is_file():
            if len(layout.files) == 1 and _fits(annotations, layout.fields[0]):
                named = [s for s in task.splits if s in annotations.stem.split("_")]
                said = split or (named[0] if layout.names_split and len(named) == 1 else "")
                yield Found(layout, said, ((annotations,),), annotations.parent)
            continue
        for wanted in [split] if split else task.splits if layout.names_split else [""]:
            files = _match(annotations, layout, wanted or "")
            if files is not None:
                yield Found(layout, wanted or "", files, annotations)


def _match(folder: Path, layout: Layout, split: str) -> tuple[tuple[Path, ...], ...] | None:
    roles = []
    for glob, fields in zip(layout.files, layout.fields, strict=True):
        fitting = [
            path
            for alternative in glob.replace("{split}", split).split("|")
            for path in sorted(_walk(folder, alternative))
            if _fits(path, fields)
        ]
        fitting = list(dict.fromkeys(fitting))
        if not fitting:
            return None
        nearest = min(len(path.parts) for path in fitting)
        best = [path for path in fitting if len(path.parts) == nearest]
        if len(best) > 1 and not layout.many:
            raise AnnotationError(
                f"{folder} holds {best[0].name} and {best[1].name}, which both could be the "
                f"{layout.name} rows; name one of them with --annotations."
            )
        roles.append(tuple(best))
    return tuple(roles)


def _walk(folder: Path, glob: str) -> Iterator[Path]:
    for depth in range(_DEPTH):
        yield from (path for path in folder.glob("*/" * depth + glob) if path.is_file())


def _fits(path: Path, fields: frozenset[str]) -> bool:
    """Tell whether the first row has these columns; a broken file fits, and fails when read."""
    if not fields:
        return True
    try:
        row: Mapping[str, object] = first_row(path)
    except AnnotationError:
        return path.suffix in (".json", ".jsonl", ".parquet")
    return fields <= row.keys()

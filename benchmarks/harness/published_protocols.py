"""How the authors of a published system ran these sets, so that their table can be attempted.

A protocol pins what differs between sets: the split, the judge, and settings of one set. Frames,
resizing, prompts and decoding are those of the preset of the same name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from longvid.llm.prompt import letters


@dataclass(frozen=True, slots=True)
class OptionForm:
    """How a closed question is written.

    Args:
        line: An option, with the fields {letter} and {choice}.
        last: What follows the options.
    """

    line: str
    last: str

    def write(self, question: str, options: Sequence[str]) -> str:
        """Write a question with its options.

        >>> OptionForm("({letter}) {choice}\\n", "Answer.").write("Which?", ("red", "blue"))
        'Question: Which?\\nOptions:\\n(A) red\\n(B) blue\\nAnswer.'
        """
        listing = "".join(
            self.line.replace("{letter}", letter).replace("{choice}", option)
            for letter, option in zip(letters(len(options)), options, strict=True)
        )
        return f"Question: {question}\nOptions:\n{listing}{self.last}"

    def settings(self, options: str) -> tuple[str, ...]:
        """Return the settings by which LongVU is asked in this form.

        Args:
            options: "likelihood" or "text", as of `asker.Protocol`.
        """
        if options == "text":
            # A question is stripped, so a line's end after it is the template's.
            end = self.last[len(self.last.rstrip()) :]
            words = "{video}\n{question}" + end
            return (f"llm.question_words={json.dumps(words)}",)
        words = "{video}\nQuestion: {question}\nOptions:\n{choices}" + self.last
        return (f"llm.choice_line={json.dumps(self.line)}", f"llm.choice_words={json.dumps(words)}")


@dataclass(frozen=True, slots=True)
class Published:
    """What one paper did.

    Args:
        splits: By task, the split its figures are on.
        settings: By task, what its authors set otherwise than in the preset.
        common: What they set otherwise than in the preset for every task.
        forms: By task, how a closed question is written.
        judge: Model that gave the verdicts, "" for multiple choice only.
        question: Template of an open question.
        note: What a reader must know before comparing.
    """

    splits: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    common: tuple[str, ...] = ()
    forms: Mapping[str, OptionForm] = field(default_factory=dict)
    judge: str = ""
    question: str = "{question}"
    note: str = ""

    def settings_of(self, task: str, options: str) -> tuple[str, ...]:
        """Return what the authors set otherwise than in the preset for a task.

        Args:
            task: Its name.
            options: "likelihood" or "text", as of `asker.Protocol`.
        """
        form = self.forms.get(task)
        words = form.settings(options) if form else ()
        return (*self.common, *self.settings.get(task, ()), *words)


PROTOCOLS: dict[str, Published] = {
    "slowfast_llava": Published(
        splits={
            "msvd-qa": "val",
            "msrvtt-qa": "val",
            "egoschema": "subset",
            "tgif-frameqa": "test",
        },
        common=("encoder.resize=pillow",),
        judge="gpt-3.5-turbo-0125",
        note="MSVD-QA and MSRVTT-QA are on the validation splits (the IG-VLM files); EgoSchema on "
        "the 500 public answers; all with 50 frames and greedy decoding. Options "
        "are scored by the likelihood of their letter, where the authors read it from the text.",
    ),
    "llama_vid": Published(
        splits={},
        common=("encoder.resize=pillow",),
        judge="gpt-3.5-turbo-0613",
        note="The paper does not say on which split its MSVD-QA and MSRVTT-QA figures are, and its "
        "scripts read test_qa.json, so --split test is the likely one; answers are sampled at "
        "temperature 0.2, as the preset says, without the top_k of 50 that Hugging Face adds by "
        "default; the judge of then is no longer served.",
    ),
    "longvu": Published(
        splits={"egoschema": "full", "mlvu": "dev", "mvbench": "test", "video-mme": "test"},
        settings={
            "video-mme": (
                "sample.grid=rounded_step",
                "sample.fps=0.5",
                "llm.drop_threshold=0.65",
            ),
            "egoschema": (
                "sample.grid=rounded_step_1000",
                "sample.fps=0.5",
                "llm.drop_threshold=0.8",
            ),
            "mlvu": (
                "sample.grid=rounded_step_1000",
                "sample.fps=0.5",
                "llm.drop_threshold=0.77",
                "encoder.dino_threshold=0.82",
            ),
            "mvbench": (
                "sample.fps=2.0",
                "llm.drop_threshold=0.8",
            ),
        },
        # The four forms of question in LongVU's `eval/` scripts.
        forms={
            "video-mme": OptionForm(
                "{letter}. {choice}\n",
                "Respond with only the letter (A, B, C, or D) of the correct option.\n",
            ),
            "egoschema": OptionForm(
                "({letter}) {choice}\n",
                "Respond with only the letter (A, B, C, D or E) of the correct option.",
            ),
            "mlvu": OptionForm(
                "({letter}) {choice}\n",
                "Respond with only the letter (A, B, C or D) of the correct option.",
            ),
            "mvbench": OptionForm(
                "({letter}) {choice}\n",
                "Answer with the option's letter from the given choices directly and only give "
                "the best option.",
            ),
        },
        note="Multiple choice only, each set in its authors' words and frames. Letters are scored "
        "by likelihood; the authors read them from the text (--options text does) and took option "
        "C where there was none. Parts of videos (MVBench) are cut out of the grid of the whole "
        "video, where the authors step from the part's beginning. EgoSchema's figure is of the "
        "full set, which only its server can score.",
    ),
}

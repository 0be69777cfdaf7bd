"""Laws of the parts that load models: encoders, text sources, rerankers, grounders."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image

from longvid.laws import require_law
from longvid.lazy_import import torch
from longvid.protocols import EncoderPart, GrounderPart, RerankerPart, ScreenTextPart, SpeechPart
from longvid.testing.part_laws import check_part
from longvid.testing.synthetic import fingerprint, make_frames
from longvid.types import Answer, Audio, Candidate, Picture, Question, TextLine


def check_encoder(part: EncoderPart, device: str = "cpu") -> None:
    """Check the laws of an encoder on made frames; its checkpoint must be on this machine.

    It states space and width without loading weights, and works as it states them; embeddings have
    unit norm; a segment is encoded to the same bits twice; and the text side alone embeds the same.
    """
    check_part("encoder", part)
    worker = part.setup(device)
    size = part.frame_size()
    height, width = (64, 96) if size.fit == "native" else (size.height, size.width)
    batch = make_frames(6, height=height, width=width, seed=1)
    segment, again = worker(batch), worker(batch)
    stated, got = (part.space(), part.embedding_width()), segment.frame_embeddings.shape[1]
    require_law(stated == (segment.space, got), part, "works in the space and width that it states")
    norms = segment.frame_embeddings.norm(dim=1)
    require_law(
        bool(((norms - 1).abs() < 1e-3).all()), part, "makes embeddings of unit norm", f"{norms}"
    )
    require_law(len(segment.tokens) > 0, part, "makes tokens of frames")
    same = fingerprint(segment) == fingerprint(again)
    require_law(same, part, "encodes a segment to the same bits twice")
    texts = ["a red square", "snow"]
    whole, alone = worker.embed_text(texts), part.setup_embedder(device).embed_text(texts)
    require_law(
        torch.equal(whole, alone), part, "embeds the same text equally with and without its tower"
    )
    require_law(whole.shape == (2, got), part, "embeds text in the space of its frames")


def check_text_source(part: SpeechPart | ScreenTextPart, device: str = "cpu") -> None:
    """Check the laws of a text source: lines in time order, within the input, the same twice."""
    check_part("text_source", part)
    source = part.source
    require_law(source in ("speech", "screen"), part, "states speech or screen", f"{source!r}")
    require_law(bool(part.identity()), part, "names its weights and engine")

    def read() -> list[TextLine]:
        if part.source == "speech":
            time = torch.arange(2 * part.sample_rate) / part.sample_rate
            tone = 0.3 * torch.sin(2 * math.pi * 440 * time)
            blocks = [
                Audio("a", 1.0, part.sample_rate, tone),
                Audio("a", 5.0, part.sample_rate, torch.zeros(part.sample_rate)),
            ]
            return list(part.setup(device)(blocks))
        size = part.frame_size()
        return list(part.setup(device)([make_frames(4, height=size.height, width=size.width)]))

    lines = read()
    for line in lines:
        require_law(line.source == part.source, part, "names its source in its lines")
        within = 0 <= line.start_seconds <= line.end_seconds <= 6
        require_law(within, part, "places lines inside what it was given", f"{line}")
    starts = [line.start_seconds for line in lines]
    require_law(starts == sorted(starts), part, "returns lines in time order")
    require_law(read() == lines, part, "returns the same lines twice")


def check_reranker(part: RerankerPart, device: str = "cpu") -> None:
    """Check the laws of a reranker: one finite score a candidate, the same twice, in any order."""
    check_part("reranker", part)
    worker = part.setup(device)
    question = Question("Where is the red square?")
    found = [
        Candidate("a", i, 4.0 * i, 4.0 * i + 4, 1.0 - 0.1 * i, (picture,), (line,))
        for i, (picture, line) in enumerate(zip(_pictures(3), _lines(3), strict=True))
    ]
    require_law(len(worker(question, [])) == 0, part, "scores no candidates as none")
    scores = list(worker(question, found))
    require_law(len(scores) == len(found), part, "gives one score a candidate", f"{len(scores)}")
    finite = all(math.isfinite(score) for score in scores)
    require_law(finite, part, "gives finite scores", f"{scores}")
    require_law(list(worker(question, found)) == scores, part, "gives the same scores twice")
    turned = list(worker(question, found[::-1]))[::-1]
    close = all(abs(a - b) <= 1e-4 for a, b in zip(turned, scores, strict=True))
    require_law(close, part, "scores a candidate equally in any order")


def check_grounder(part: GrounderPart, device: str = "cpu") -> None:
    """Check the laws of a grounder: boxes in the pictures given, in time order, the same twice."""
    check_part("grounder", part)
    worker = part.setup(device)
    answer = Answer("A red square.", (), 0, 0, 0, {})
    question, pictures = Question("What is shown?"), _pictures(2)
    require_law(len(worker(question, answer, [])) == 0, part, "finds nothing without pictures")
    tracks = list(worker(question, answer, pictures))
    places = {(picture.video_id, picture.pts_seconds) for picture in pictures}
    for track in tracks:
        times = [(box.video_id, box.pts_seconds) for box in track.boxes]
        require_law(places.issuperset(times), part, "places boxes in pictures that it was given")
        require_law(times == sorted(times), part, "returns boxes in time order")
        sizes = {box.mask.size for box in track.boxes if box.mask is not None}
        require_law(sizes <= {(64, 96)}, part, "gives masks the size of their pictures")
        start, end = track.answer_span
        named = 0 <= start <= end <= len(answer.text)
        require_law(named, part, "names spans inside the answer", f"{track.answer_span}")
    require_law(list(worker(question, answer, pictures)) == tracks, part, "finds the same twice")


def _pictures(count: int) -> Sequence[Picture]:
    """Make pictures of a red square that moves."""
    pictures = []
    for i in range(count):
        image = Image.new("RGB", (96, 64), (30, 30, 30))
        image.paste((220, 20, 20), (10 + 20 * i, 20, 34 + 20 * i, 44))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95)
        pictures.append(Picture("a", 4.0 * i + 2, file.getvalue(), 64, 96))
    return pictures


def _lines(count: int) -> Sequence[TextLine]:
    return [TextLine(4.0 * i, 4.0 * i + 1, f"this is line {i}") for i in range(count)]

"""The sections of a configuration that are no parts: store, question, machine, cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from longvid.errors import ConfigError, require_at_least, require_one_of
from longvid.sample import Sampling

#: Types in which a store can keep tokens.
TOKEN_KINDS = ("float16", "bfloat16", "float32", "int8", "int4")
_EMBEDDING_KINDS = ("float32", "float16", "int8")


#: Which frames are kept as small pictures.
PICTURE_CHOICES = ("none", "segment", "frame")


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How segments are kept.

    Args:
        tokens: Type of stored tokens. "int8" keeps one scale a token and halves float16; an
            element is then off by at most half its token's scale, max(abs(token)) / 254. "int4"
            keeps a scale for 64 elements, which are off by at most a 14th of their greatest, and
            takes 0.53 of int8.
        embeddings: Type of frame embeddings and search vectors: "float32", "float16" or "int8".
            They are read back with unit norm; int8 moves a cosine by about 0.0005.
        vectors_per_segment: How many search vectors stand for one segment: the means of equal
            consecutive groups of its frame embeddings. More find short events better.
        pictures: Small JPEG pictures kept beside the tokens, for people and agents: "none", one a
            "segment" or one a "frame". Tokens and answers do not depend on them.
    """

    tokens: str = "float16"
    embeddings: str = "float32"
    vectors_per_segment: int = 4
    pictures: str = field(default="segment", metadata={"fingerprint": False})

    def __post_init__(self) -> None:
        require_one_of("store.tokens", self.tokens, TOKEN_KINDS)
        require_one_of("store.embeddings", self.embeddings, _EMBEDDING_KINDS)
        require_one_of("store.pictures", self.pictures, PICTURE_CHOICES)
        if self.vectors_per_segment < 1:
            raise ConfigError(
                f"store.vectors_per_segment is {self.vectors_per_segment}; use 1 or more."
            )


#: The words that a setting of `Ask` knows.
_ASK_WORDS = {
    "query_forms": ("question", "caption", "both"),
    "route": ("none", "auto"),
    "text": ("auto", "none", "retrieved"),
    "experts": ("all", "rules", "model"),
    "ground_frames": ("stored", "decoded"),
    "subtitles": ("none", "listed", "interleaved", "covering"),
}
#: The least of its counts.
_ASK_LEAST = {
    **dict.fromkeys(("budget", "num_evidence", "batch_questions", "rerank_segments"), 1),
    **dict.fromkeys(("num_rescored", "text_lines", "text_tokens"), 1),
    **dict.fromkeys(("num_segments", "num_videos", "context_segments", "confirm_segments"), 0),
    **dict.fromkeys(("max_shot_frames", "max_neighbor_shot_frames"), 0),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """How a question is put to a store.

    Args:
        budget: The most visual tokens that the language model is shown.
        num_segments: Segments taken from the search as candidates; 0 takes every segment of the
            videos in question, as the published systems do.
        num_videos: In a store of 100 000 search vectors or more, look for segments only in this
            many videos, those nearest to the question by vectors of whole videos; 0 looks in all.
        context_segments: Segments before and after each of those that are candidates too: what
            came before or after a moment lies outside the segment that a search finds.
        min_score: If the best segment scores less, a question about one video describes nothing in
            it ("what comes first?"), and frames spread evenly over the whole video are shown. -1
            trusts every search; other values suit one embedder.
        fit_score: If the best segment scores less, an answer and a search say that nothing was
            found that fits; what scores less is not counted where a question asks for every place.
            No less than `min_score`.
        max_shot_frames: Show, instead of whole segments, at most this many frames of the shot of
            each found segment's best frame, with the shots right before and after it, within
            `context_segments` of it. 0, and `num_segments = 0`, show whole segments.
        max_neighbor_shot_frames: The most frames of the shot before and of the shot after it.
        cut_similarity: Two frames that follow each other belong to one shot if the cosine of
            their embeddings is at least this; it suits one embedder and one rate of sampling.
        query_forms: What is embedded to search for a question: the "question", the "caption" that
            it asks for ("red star" for "where is the red star?"), or "both", as their mean. The
            rules that make captions know English.
        moment_share: Score the best segments again, by the mean of this share of their frames,
            those nearest to the question, at least one; 0 keeps the scores of the search vectors.
        moment_shots: Score them again by the mean of the frames of one shot instead, as
            `cut_similarity` tells shots, the best in the segment of those with two frames or more;
            a segment with a shot of one frame inside keeps the score of the search vectors.
        num_rescored: How many segments of a search are scored again so; in a search for more the
            others follow by their search vectors, and a question shown more keeps those scores.
        route: "auto" lets the kind of a question, which rules read from its words, decide what is
            shown: a whole video, a place, a place with what is around it, or every place that
            fits; a question that joins several with "and" is asked in parts, each with its share of
            the budget. "none" puts all questions alike.
        rerank_segments: How many of the best segments each reranker scores again.
        confirm_segments: Ask the language model, of this many of the best segments, whether they
            show what the question describes, and put those first that do; an answer says where
            none does. Each is a call that reads one segment. 0 asks about none.
        confirm_prompt: What is asked then, with the field {caption}; "yes" and "no" answer it.
        num_evidence: The most spans listed with an answer.
        batch_questions: Questions that `ask_many` prepares and answers side by side.
        subtitles: Where a store knows what is said: "none" shows it to nobody, "listed" lists the
            lines at the shown frames before the question (Video-MME), "interleaved" writes them
            after the frames they belong to (LLaMA-VID), "covering" only those that cover a shown
            frame (LongVideoBench).
        text: What of the timed text a question is shown: "retrieved" shows the best lines of
            speech, screen and subtitles with their times, beside the frames of their moments;
            "auto" does so where speech or screen text was recognised, and else as `subtitles`
            says; "none" shows nothing.
        experts: What of a video a question is shown: "all" that the store holds; "rules" choose
            among pictures, speech (subtitles with it), screen text and boxes (`longvid boxes`; of
            these "all" shows none) by the question's words and the lines nearest to it; with
            "model" the language model chooses, in one call more. Nothing of pictures is searched or
            shown where text alone is chosen, and four lines where one holds most of the question.
        ground_frames: What a grounder looks at: "stored" pictures, of 384 pixels at most, or frames
            "decoded" again from their files.
        text_sources: Sources that are searched: "subtitle", "speech", "screen".
        text_lines, text_tokens: The most lines shown, and the most tokens that they take.
        text_weight: Of the lines where segments found by pictures and by lines are ranked
            together; 0 leaves the search of pictures alone.
        text_embedder: Checkpoint of sentence-transformers by which lines are searched too, ranked
            together with the search by words; "" for none. Lines are embedded when first searched.
        text_embedder_weight: Of that search; 0 leaves the search by words alone.
    """

    budget: int = 512
    num_segments: int = 8
    num_videos: int = 0
    context_segments: int = 0
    min_score: float = -1.0
    fit_score: float = -1.0
    max_shot_frames: int = 0
    max_neighbor_shot_frames: int = 4
    cut_similarity: float = 0.5
    query_forms: str = "question"
    moment_share: float = 0.0
    moment_shots: bool = False
    num_rescored: int = 32
    route: str = "none"
    rerank_segments: int = 20
    confirm_segments: int = 0
    confirm_prompt: str = "Does this show {caption}? Answer yes or no."
    num_evidence: int = 5
    batch_questions: int = 8
    subtitles: str = "none"
    text: str = "auto"
    experts: str = "all"
    ground_frames: str = "stored"
    text_sources: tuple[str, ...] = ("subtitle", "speech", "screen")
    text_lines: int = 12
    text_tokens: int = 1024
    text_weight: float = 1.0
    text_embedder: str = ""
    text_embedder_weight: float = 1.0

    @property
    def fitting(self) -> float:
        """The least score of what fits a question."""
        return max(self.min_score, self.fit_score)

    @property
    def scores_moments(self) -> bool:
        """Whether the best segments of a search are scored again by their frames."""
        return self.moment_shots or self.moment_share > 0

    def __post_init__(self) -> None:
        for name, known in _ASK_WORDS.items():
            require_one_of(f"ask.{name}", getattr(self, name), known)
        for name, least in _ASK_LEAST.items():
            require_at_least(f"ask.{name}", getattr(self, name), least)
        if self.confirm_prompt.replace("{caption}", "", 1).count("{") or (
            "{caption}" not in self.confirm_prompt
        ):
            raise ConfigError(
                "ask.confirm_prompt needs the field {caption}, once, and no other, got "
                f"{self.confirm_prompt!r}."
            )
        if not 0 <= self.moment_share <= 1:
            raise ConfigError(f"ask.moment_share must be from 0 to 1, got {self.moment_share}.")
        if not -1 <= self.cut_similarity <= 1:
            raise ConfigError(
                f"ask.cut_similarity is a cosine, from -1 to 1, got {self.cut_similarity}."
            )
        if self.moment_share and self.moment_shots:
            raise ConfigError(
                "ask.moment_share and ask.moment_shots are two ways to score again; use one."
            )
        unknown = set(self.text_sources) - {"subtitle", "speech", "screen"}
        if unknown:
            raise ConfigError(
                f"ask.text_sources holds {sorted(unknown)}; use subtitle, speech and screen."
            )
        for name in ("text_weight", "text_embedder_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"ask.{name} must be at least 0 and finite, got {getattr(self, name)}."
                )


@dataclass(frozen=True, slots=True)
class Run:
    """How a run uses the machine. Nothing here changes a result.

    Args:
        device: Where models run: "cpu", "cuda" or "cuda:N"; "auto" takes a GPU if torch sees one.
        decode_workers: Decoding processes; 0 takes one a processor core.
        prefetch_mb: Megabytes of decoded frames that may wait for the encoder. Enough that
            decoding goes on while weights load; a segment of 16 frames of 384 pixels takes 7.
        max_attempts: A video that failed this often is left alone until `longvid retry`.
        max_failure_rate: A run in which a larger share of the videos fails ends with status 3
            (command line, jobs); a gap in a video is no failure.
        stop_early: Stop a run as soon as that share is exceeded, counted from the 20th video on.
        cache_mb: Megabytes of remote videos that a machine keeps beside those being read.
    """

    device: str = "auto"
    decode_workers: int = 0
    prefetch_mb: int = 64
    max_attempts: int = 3
    max_failure_rate: float = 0.1
    stop_early: bool = False
    cache_mb: int = 20_000

    def __post_init__(self) -> None:
        if self.decode_workers < 0 or self.prefetch_mb < 1 or self.max_attempts < 1:
            raise ConfigError(
                "run needs decode_workers >= 0, prefetch_mb >= 1 and max_attempts >= 1, "
                f"got {self.decode_workers}, {self.prefetch_mb} and {self.max_attempts}."
            )
        if not 0 <= self.max_failure_rate <= 1 or self.cache_mb < 0:
            raise ConfigError(
                "run needs max_failure_rate from 0 to 1 and cache_mb >= 0, got "
                f"{self.max_failure_rate} and {self.cache_mb}."
            )


@dataclass(frozen=True, slots=True)
class RayResources:
    """What each stage of the Ray runner asks of the cluster. Nothing here changes a result.

    The defaults fit a machine of two cores with room for the tasks that list and probe.

    Args:
        decode_actors: Decoding actors, 0 for as many as the processors allow.
        decode_cpus: Processor share of one decoding actor.
        encode_actors: Encoding actors.
        encode_cpus, encode_gpus: Processor and GPU share of one encoding actor.
        probe_actors: Probing actors, which hash and open files.
        probe_cpus: Processor share of one probing actor.
        fused: Let the encoding actors decode too, so that frames never leave their process;
            there are then `encode_actors` of them and no decoding actors. Each decodes as many
            chunks at a time as `decode_actors` and the processors allow. A cluster of one machine
            is used so unless `decode_actors` asks for actors of their own.
        frame_batches: Decoded segments that may wait in the object store or be on their way to it
            (Ray frees those that were read within a second); 0 allows two chunks for every actor.
    """

    decode_actors: int = 0
    decode_cpus: float = 0.5
    encode_actors: int = 1
    encode_cpus: float = 0.5
    encode_gpus: float = 0.0
    probe_actors: int = 1
    probe_cpus: float = 0.25
    fused: bool = False
    frame_batches: int = 0

    def __post_init__(self) -> None:
        shares = (self.decode_cpus, self.encode_cpus, self.encode_gpus, self.probe_cpus)
        if min(shares) < 0 or self.decode_cpus == 0 or self.encode_actors < 1:
            raise ConfigError(
                "ray needs shares of 0 or more, decode_cpus above 0 and encode_actors >= 1, got "
                f"decode_cpus {self.decode_cpus}, encode_cpus {self.encode_cpus}, encode_gpus "
                f"{self.encode_gpus}, probe_cpus {self.probe_cpus}, encode_actors "
                f"{self.encode_actors}."
            )
        if self.decode_actors < 0 or self.probe_actors < 1 or self.frame_batches < 0:
            raise ConfigError(
                "ray needs decode_actors >= 0, probe_actors >= 1 and frame_batches >= 0, got "
                f"{self.decode_actors}, {self.probe_actors} and {self.frame_batches}."
            )


#: Sections of one fixed class.
FIXED_SECTIONS: dict[str, type] = {
    "sample": Sampling,
    "store": StoreOptions,
    "ask": Ask,
    "run": Run,
    "ray": RayResources,
}
#: Sections that are parts, and the kind of each.
SINGLE_PARTS = {"decoder": "decoder", "reducer": "reducer", "encoder": "encoder", "llm": "llm"}
OPTIONAL_PARTS = {"grounder": "grounder"}
PART_LISTS = {
    "compressors": "compressor",
    "text_sources": "text_source",
    "rerankers": "reranker",
    "selectors": "selector",
}
SECTION_NAMES = (*FIXED_SECTIONS, *SINGLE_PARTS, *OPTIONAL_PARTS, *PART_LISTS)

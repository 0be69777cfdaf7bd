"""The stages of training and the numbers of a run."""

from __future__ import annotations

from dataclasses import dataclass

STAGES = ("tower", "text", "search", "answer")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number of a run."""

    seed: int = 7
    tower_steps: int = 2400
    tower_frames: int = 96
    tower_texts: int = 64
    retrieval_frames: int = 600
    tower_rate: float = 1.5e-3
    tower_warmup: int = 100
    weight_decay: float = 0.02
    clip: float = 1.0
    text_steps: int = 800
    text_texts: int = 192
    text_rate: float = 1.5e-3
    search_steps: int = 5000
    search_pool: int = 6144
    search_pool_steps: int = 48
    search_frames: int = 512
    search_rate: float = 1.0e-3
    search_matrix_rate: float = 4.0e-3
    search_warmup: int = 40
    answer_steps: int = 12_000
    answer_rate: float = 1.0e-3
    matrix_rate: float = 2.0e-3
    muon: bool = True
    answer_warmup: int = 200
    answer_hold: int = 4000
    answer_cooldown: int = 1200
    answer_questions: int = 12
    token_budget: int = 2400
    one_shot_steps: int = 2500
    few_shot_steps: int = 1500
    measure_every: int = 500
    log_every: int = 50
    save_every: int = 250

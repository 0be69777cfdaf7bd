"""The goals of the yardstick, each beside what was reached."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from benchmarks.harness.statistics import Estimate
from benchmarks.tasks.world.equal_budget import COMPRESSORS, SHARES, budget_of, full_budget
from benchmarks.tasks.world.findings import Findings, recall_at
from benchmarks.tasks.world.trials import (
    EVERYTHING,
    EVERYTHING_BUDGET,
    FULL_GRID,
    PRESET,
    TENTH_BUDGET,
)
from longvid.models import checkpoint_files

BUDGET = 512
RIVALS = ("slowfast_llava", "llama_vid", "longvu", *COMPRESSORS)
LEAST_SHARE_OF_ALL = 0.98


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, what is wanted of it, and whether that was reached."""

    name: str
    wanted: str
    reached: str
    holds: bool


def _claimed_types() -> frozenset[str]:
    """Return the types of question that mini claims to answer, as measured for its card."""
    path = checkpoint_files.locate(checkpoint_files.MINI) / "measured.json"
    return frozenset(json.loads(path.read_text(encoding="utf-8"))["claimed"])


def goals(found: Mapping[str, Findings]) -> list[Goal]:
    """Judge every goal whose suites and arms were run."""
    rows: list[Goal] = []
    if "10 s" in found and found["10 s"].has(FULL_GRID, BUDGET):
        rows += _short(found["10 s"], _claimed_types())
    if "10 min" in found and found["10 min"].has(PRESET, BUDGET):
        ten = found["10 min"]
        preset = ten.accuracy(ten.cell(PRESET, BUDGET))
        oracle = ten.accuracy(ten.cell("oracle", BUDGET))
        share = preset.mean / oracle.mean
        rows.append(
            Goal(
                f"10 min, {PRESET} at {BUDGET} tokens, share of the oracle's accuracy",
                "≥ 0.75",
                f"{share:.2f} ({preset} of {oracle})",
                share >= 0.75,
            )
        )
    for name, least in (("1 h", 0.8), ("3 h", 0.75), ("10 h", 0.75)):
        if name in found:
            rows += _needles(found[name], least)
    if "1 h" in found:
        for by, least in (("pair", 0.95), ("sign", 0.9)):
            reached = recall_at(found["1 h"], found["1 h"].named(by), 8)
            rows.append(
                Goal(
                    f"1 h, segment recall@8, questions that name a {_BY[by]} "
                    f"(n={reached.num_rows})",
                    f"≥ {least}",
                    str(reached),
                    reached.mean >= least,
                )
            )
    if "1 min" in found and found["1 min"].has(EVERYTHING, EVERYTHING_BUDGET):
        rows.append(_tenth(found["1 min"]))
    for name, findings in found.items():
        if any(findings.has(arm, budget) for arm in COMPRESSORS for budget in _budgets(findings)):
            rows += _equal_budget(name, findings)
    return rows


_BY = {"pair": "colour and a shape", "sign": "sign"}


def _short(ten: Findings, claimed: Collection[str]) -> list[Goal]:
    cell = ten.cell(FULL_GRID, BUDGET)
    shares, short, others = [], [], []
    for row in ten.types:
        of = ten.of_types(row.type)
        share = sum(cell.right[i] for i in of) / len(of)
        shares.append(share)
        figure = f"{row.type} {share:.2f} (prior {row.prior:.2f}, n={row.n})"
        if row.type not in claimed:
            others.append(figure)
        elif share < row.prior + 0.3:
            short.append(figure)
    mean = sum(shares) / len(shares)
    num_claimed = len(shares) - len(others)
    reached = f"{num_claimed - len(short)} of {num_claimed}"
    reached += f"; short: {', '.join(short)}" if short else ""
    reached += f"; not claimed: {', '.join(others)}" if others else ""
    return [
        Goal("one shot, 8 frames x 64 tokens, mean over types", "≥ 0.85", f"{mean:.3f}",
             mean >= 0.85),
        Goal("one shot, every claimed type at least its text prior + 0.3", "all", reached,
             not short),
    ]  # fmt: skip


def _needles(found: Findings, least: float) -> list[Goal]:
    preset = found.accuracy(found.cell(PRESET, BUDGET))
    uniform = found.accuracy(found.cell("uniform", BUDGET))
    hops = found.of_types("before", "after")
    plain = sorted({*range(len(found.rows))} - {*hops})
    parts = f"one hop {found.accuracy(found.cell(PRESET, BUDGET), plain)}"
    if hops:
        parts += f", next shot {found.accuracy(found.cell(PRESET, BUDGET), hops)}"
    name = found.suite.name
    return [
        Goal(f"{name}, needles, {PRESET} at {BUDGET} tokens", f"≥ {least}",
             f"{preset} ({parts})", preset.mean >= least),
        Goal(f"{name}, needles, uniform at {BUDGET} tokens", "≤ 0.3", str(uniform),
             uniform.mean <= 0.3),
    ]  # fmt: skip


def _tenth(minute: Findings) -> Goal:
    whole = minute.accuracy(minute.cell(EVERYTHING, EVERYTHING_BUDGET))
    best: Estimate | None = None
    words = []
    for arm in (PRESET, "uniform"):
        part = minute.accuracy(minute.cell(arm, TENTH_BUDGET))
        best = part if best is None else best
        words.append(f"{arm} {part}")
    share = best.mean / whole.mean if best is not None else 0.0
    return Goal(
        f"1 min, a tenth of the tokens ({TENTH_BUDGET}) keeps of all tokens' accuracy ({PRESET})",
        "≥ 0.95",
        f"{share:.2f} (all {whole}; {'; '.join(words)})",
        share >= 0.95,
    )


def _budgets(findings: Findings) -> dict[int, float]:
    """Return the budgets of equal shares that were run, and the share of each."""
    wanted = {budget_of(findings.suite, share): share for share in SHARES}
    return {budget: share for budget, share in wanted.items() if findings.has(PRESET, budget)}


def _equal_budget(name: str, findings: Findings) -> list[Goal]:
    """Judge the preset at each share of the tokens: against all of them, and against each rival."""
    rows = []
    every = full_budget(findings.suite)
    for budget, share in _budgets(findings).items():
        at = f"{name}, {PRESET} at {budget} tokens ({share:.0%})"
        preset = findings.accuracy(findings.cell(PRESET, budget))
        if findings.has(EVERYTHING, every):
            everything = findings.accuracy(findings.cell(EVERYTHING, every))
            oracle = findings.accuracy(findings.cell("oracle", BUDGET))
            ratio = preset.mean / everything.mean if everything.mean else 0.0
            rows.append(
                Goal(
                    f"{at}, share of the accuracy with every token",
                    f"≥ {LEAST_SHARE_OF_ALL}",
                    f"{ratio:.2f} ({preset}; every token {everything}; oracle {oracle})",
                    ratio >= LEAST_SHARE_OF_ALL,
                )
            )
        against = [one for one in losses({name: findings}) if one.budget == budget]
        worse = [one for one in against if one.gain.mean < 0]
        reached = f"{len(against) - len(worse)} of {len(against)}"
        for one in worse:
            reached += f"; {one.rival} by {-one.gain.mean:.3f} ± {one.gain.margin:.3f}"
        rows.append(Goal(f"{at}, not below any published", "all", reached, not worse))
    return rows


@dataclass(frozen=True, slots=True)
class Against:
    """The preset against a published system at one length and budget, on judging questions."""

    suite: str
    budget: int
    rival: str
    gain: Estimate

    @property
    def verdict(self) -> str:
        """Say what the interval allows to say."""
        if self.gain.num_rows == 0:
            return "no type can judge"
        if self.gain.low > 0:
            return "above"
        return "BELOW" if self.gain.high < 0 else "not told apart"


def losses(found: Mapping[str, Findings]) -> list[Against]:
    """Compare the preset with every published system at every length and budget."""
    rows = []
    for name, findings in found.items():
        for budget in sorted({cell.budget for cell in findings.cells if cell.arm == PRESET}):
            for rival in RIVALS:
                if findings.has(rival, budget):
                    gain = findings.gain(
                        findings.cell(PRESET, budget), findings.cell(rival, budget)
                    )
                    rows.append(Against(name, budget, rival, gain))
    return rows

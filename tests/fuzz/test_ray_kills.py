"""A small share of `python -m tests.fuzz.ray_kills`, for the suite."""

from __future__ import annotations

import importlib.util

import pytest

from tests.conftest import require
from tests.fuzz.ray_kills import run


@pytest.mark.ray
def test_the_same_command_finishes_a_job_whose_raylet_was_killed() -> None:
    """Drivers and actors are killed in tests/e2e/test_ray_cluster.py."""
    if importlib.util.find_spec("ray") is None:
        require("ray", "Ray is not installed")
    result = run(1, 20261110, ("raylet",))
    assert result["kills"] == 1
    assert result["faults"] == {}

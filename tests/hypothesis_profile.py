"""The same examples in every run; HYPOTHESIS_PROFILE=explore draws new ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A busy machine draws examples slowly, which is no fault of a test.
_SLOW = (HealthCheck.too_slow,)
settings.register_profile(
    "fixed",
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=_SLOW,
)
settings.register_profile("explore", max_examples=200, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

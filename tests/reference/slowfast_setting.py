"""SlowFast-LLaVA's aggregation string, as its golden arrays name their settings."""

from __future__ import annotations

import re

from longvid.methods.slowfast_pooling import _POOLS, SlowFastLayout

_SETTING = re.compile(r"slowfast-slow_(\d+)frms_(\w+)-fast_(\d+)x(\d+)")


def parse_setting(setting: str) -> SlowFastLayout:
    """Parse the original's aggregation string.

    Besides the SlowFast form it takes a bare pooling mode (every frame slow, no fast pathway) and
    "none", "false" or "" (the tokens of the first frame only).

    Source: SlowFast-LLaVA, `llava_arch.py` prepare_slowfast.
    """
    if setting.lower() in ("", "none", "false"):
        return SlowFastLayout(num_slow=1, slow_mode="concat", fast_height=0, fast_width=0)
    if setting in _POOLS:
        return SlowFastLayout(num_slow=0, slow_mode=setting, fast_height=0, fast_width=0)
    match = _SETTING.fullmatch(setting)
    assert match is not None, setting
    num_slow, mode, height, width = match.groups()
    return SlowFastLayout(int(num_slow), mode, int(height), int(width))

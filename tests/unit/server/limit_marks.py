"""Which test is the one of which limit of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from longvid.server.api_errors import ApiError

Test = Callable[..., None]
TESTED: dict[str, Test] = {}


def limit(*names: str) -> Callable[[Test], Test]:
    """Mark a test as the one of these limits."""

    def mark(test: Test) -> Test:
        TESTED.update(dict.fromkeys(names, test))
        return test

    return mark


def refused(status: int, call: Callable[[], Any]) -> None:
    with pytest.raises(ApiError) as error:
        call()
    assert error.value.status == status
    assert error.value.message

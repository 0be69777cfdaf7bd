"""The published systems, from checkpoints as their authors left them, on the public path.

One module a system; each compares what the language model is given, and what it answers, with the
original's arrays and the model library's own forward.
"""

from __future__ import annotations

from tests.parity.published_convert import *  # noqa: F403
from tests.parity.published_llama_vid import *  # noqa: F403
from tests.parity.published_longvu import *  # noqa: F403
from tests.parity.published_slowfast import *  # noqa: F403

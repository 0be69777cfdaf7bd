"""Whether the weights that a store was made with are those that a configuration names now."""

from __future__ import annotations

from longvid.config import Config
from longvid.errors import ModelError, QuestionError
from longvid.store.store import Store


def require_same_weights(store: Store, config: Config) -> None:
    """Refuse a store that other weights were used for than those that a configuration names.

    They may be a copy of the right ones in another folder.

    Raises:
        QuestionError: They are others.
    """
    made = Config.from_dict({**store.config, "run": {}})
    try:
        if made.fingerprint(config.encoder) == store.fingerprint:
            return
    except ModelError:
        return  # the language model's weights are elsewhere; the embedder's own are loaded next
    raise QuestionError(
        f"The store {store.uri} was made with other weights than those that this configuration "
        "names on this machine (a model may have changed under its name), so what it holds cannot "
        "be compared with anything new; index its videos again into another folder, or name the "
        "weights that it was made with."
    )

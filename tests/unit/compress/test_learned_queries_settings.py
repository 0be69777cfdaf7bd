"""A learned compressor without a checkpoint says which setting names one."""

from __future__ import annotations

import pytest

from longvid.compress.learned_queries import Perceiver, QFormer
from longvid.errors import ModelError
from longvid.models.checkpoint_files import locate


@pytest.mark.parametrize("part", [QFormer(model=""), Perceiver(model="")])
def test_an_empty_name_is_of_a_setting(part: QFormer | Perceiver) -> None:
    for act in (part.space, part.setup, part.checkpoints()[0].find):
        with pytest.raises(ModelError, match=r"^compressors\.model is empty; name a folder"):
            act()


def test_an_empty_name_is_not_this_folder() -> None:
    with pytest.raises(ModelError, match="name is empty"):
        locate("")

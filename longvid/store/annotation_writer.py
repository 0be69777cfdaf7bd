"""An annotation that grows part by part, each of which is visible as soon as it is written.

A run that was killed leaves whole parts, and goes on after them. One writer works at a time: what
two of them write of one annotation would be there twice, or take each other's parts away.
"""

from __future__ import annotations

from collections.abc import Mapping

from longvid.store.annotations import AnnotationKey, AnnotationPart, Annotations


class AnnotationWriter:
    """Adds parts to one annotation.

    Args:
        annotations: Of the store.
        key: Which annotation; it need not be there yet.

    Raises:
        StoreError: What is there is damaged.
    """

    def __init__(self, annotations: Annotations, key: AnnotationKey) -> None:
        self._annotations = annotations
        self._key = key
        index = annotations.index(key)
        #: What is published, in order.
        self.parts: tuple[AnnotationPart, ...] = index.parts if index is not None else ()

    def add(self, entries: Mapping[str, bytes]) -> None:
        """Write some entries as the next part and publish it.

        Raises:
            StoreError: Another writer has published since, or the store refuses.
        """
        key = (self._key.video_id, self._key.kind, self._key.fingerprint)
        parts = (*self.parts, self._annotations.write_part(*key, entries))
        self._annotations.publish(*key, parts, after=self.parts)
        self.parts = parts

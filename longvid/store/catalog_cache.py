"""The catalog in memory: fresh enough to answer from, written only when asked to."""

from __future__ import annotations

import threading
import time

from longvid.store import catalog as catalogs
from longvid.store.catalog import Catalog
from longvid.store.layout import CATALOG
from longvid.store.objects import Objects

#: A listing is used again for this many times as long as it took: in a store of any size a
#: tenth of the time goes into looking for news, and news are seen that soon.
_LISTING_LASTS = 10.0


class CatalogCache:
    """The catalog of one store. Any number of threads may use it."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._catalog = Catalog()
        self._saved: Catalog | None = None
        self._stale_after = float("-inf")
        self._num_changes = self._changes_listed = 0
        self._lock = threading.RLock()

    def changed(self) -> None:
        """Make the next question list the videos anew, even if a listing is under way."""
        self._num_changes += 1

    def current(self) -> Catalog:
        """Return a catalog that is fresh enough: see _LISTING_LASTS. Writes nothing."""
        with self._lock:
            own_news = self._num_changes != self._changes_listed
            if own_news or time.monotonic() >= self._stale_after:
                self._update()
            return self._catalog

    def save(self) -> Catalog:
        """List the videos, read what changed, and write the cache if it differs.

        Raises:
            StoreError: It cannot be written.
        """
        with self._lock:
            self._update()
            gone = self._objects.size(CATALOG) is None
            if gone or self._catalog is not self._saved:
                catalogs.save(self._objects, self._catalog)
                self._saved = self._catalog
            return self._catalog

    def forget(self) -> None:
        """Remove the cache, so that everything is read again from the manifests."""
        with self._lock:
            self._objects.remove([CATALOG])
            self._catalog, self._saved = Catalog(), Catalog()
            self.changed()

    def _update(self) -> None:
        started = time.monotonic()
        self._changes_listed = self._num_changes
        if self._saved is None:
            self._catalog = self._saved = catalogs.load(self._objects)
        self._catalog = catalogs.refresh(self._objects, self._catalog)
        self._stale_after = time.monotonic() + _LISTING_LASTS * (time.monotonic() - started)

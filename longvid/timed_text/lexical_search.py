"""Find lines of text by their words (BM25), with their time and source among the words.

An inverted list in NumPy arrays, searched rarest words first: words that are in very many lines
are added only to lines that rarer words have found, as soon as no other line can come among the
best (MaxScore).

Source: Robertson and Zaragoza 2009, with the idf of Lucene; Turtle and Flood 1995, MaxScore.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from longvid.timed_text.words import normal_form, raw_words, words_of

__all__ = ["LexicalIndex", "rank"]

_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75
#: A word that is in more lines than this is added last.
_MANY_LINES = 10_000


def rank(texts: Sequence[str], query: str) -> list[tuple[float, int]]:
    """Score texts by the words they share with a query (BM25), best first.

    Args:
        texts: Any.
        query: Words; case and order do not matter.

    Returns:
        (score, index) of the texts that share a word, ties to the lower index.
    """
    counts = [Counter(words_of(text)) for text in texts]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / max(1, len(lengths))
    holding = {word: sum(word in count for count in counts) for word in set(words_of(query))}
    # Sums in floating point depend on their order: rare words first, as the index adds them.
    wanted = sorted(holding, key=lambda word: (holding[word], word))
    found = []
    for index, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        score = 0.0
        for word in wanted:
            if word in count:
                rare = math.log(1 + (len(texts) - holding[word] + 0.5) / (holding[word] + 0.5))
                norm = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * (length / mean))
                score += rare * count[word] * (_SATURATION + 1) / (count[word] + norm)
        if score:
            found.append((score, index))
    return sorted(found, key=lambda entry: (-entry[0], entry[1]))


@dataclass(frozen=True, eq=False)
class LexicalIndex:
    """An inverted list over texts, whose search equals `rank` over them.

    Args:
        vocabulary: Number of each word.
        starts: (W + 1,) int64 where the postings of each word begin.
        documents: (P,) int32 index of a text that holds the word, increasing within a word.
        counts: (P,) int32 how often it does.
        lengths: (N,) int32 number of words of each text.
    """

    vocabulary: dict[str, int]
    starts: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]

    @classmethod
    def build(cls, texts: Iterable[str]) -> LexicalIndex:
        """Index texts; their places in the order given are what a search returns."""
        vocabulary: dict[str, int] = {}
        known: dict[str, int] = {}  # the number of a word's normal form, by the word as written
        numbers: list[int] = []
        sizes: list[int] = []
        for text in texts:
            words = raw_words(text)
            sizes.append(len(words))
            for word in words:
                number = known.get(word)
                if number is None:
                    number = vocabulary.setdefault(normal_form(word), len(vocabulary))
                    known[word] = number
                numbers.append(number)
        lengths = np.asarray(sizes, np.int32)
        num_texts = max(1, len(lengths))
        owners = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        keys = np.asarray(numbers, np.int64) * num_texts + owners
        pairs, counts = np.unique(keys, return_counts=True)
        words_at, documents = np.divmod(pairs, num_texts)
        starts = np.searchsorted(words_at, np.arange(len(vocabulary) + 1))
        return cls(vocabulary, starts, documents.astype(np.int32), counts.astype(np.int32), lengths)

    @property
    def num_texts(self) -> int:
        """How many texts there are."""
        return len(self.lengths)

    @cached_property
    def _scores(self) -> npt.NDArray[np.float64]:
        """(P,) BM25 score of each text for each word."""
        holding = np.diff(self.starts)
        # math.log, as in `rank`: NumPy's may differ in the last bit, and ties would break.
        ratios = (1 + (self.num_texts - holding + 0.5) / (holding + 0.5)).tolist()
        rare = np.asarray([math.log(ratio) for ratio in ratios], np.float64)
        mean = int(self.lengths.sum(dtype=np.int64)) / max(1, self.num_texts)
        shares = self.lengths[self.documents] / (mean or 1.0)
        norm = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * shares)
        scores = np.repeat(rare, holding) * self.counts * (_SATURATION + 1)
        scores /= self.counts + norm
        return scores

    @cached_property
    def _highest(self) -> npt.NDArray[np.float64]:
        """(W,) the highest score of each word."""
        if not len(self.documents):
            return np.zeros(0)
        highest: npt.NDArray[np.float64] = np.maximum.reduceat(self._scores, self.starts[:-1])
        return highest

    def search(
        self, query: str, top_k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> list[tuple[float, int]]:
        """Find the texts that share words with a query.

        Args:
            query: Words; case and order do not matter.
            top_k: Most texts returned.
            allowed: (num_texts,) which texts may be found; None allows all.

        Returns:
            (score, index), best first, ties to the lower index.
        """
        if top_k < 1:
            return []
        totals = np.zeros(self.num_texts)
        words = self._rarest_first(query)
        for place, number in enumerate(words):
            documents = self._postings(number)
            if len(documents) > _MANY_LINES:
                unbeaten = self._unbeaten(totals, words[place:], top_k, allowed)
                if unbeaten is not None:
                    return _best(*unbeaten, top_k)
            totals[documents] += self._scores[self.starts[number] : self.starts[number + 1]]
        found = _positive(totals, allowed)
        return _best(found, totals[found], top_k)

    def _rarest_first(self, query: str) -> list[int]:
        known = {word: self.vocabulary[word] for word in words_of(query) if word in self.vocabulary}
        sizes = {word: len(self._postings(number)) for word, number in known.items()}
        return [known[word] for word in sorted(known, key=lambda word: (sizes[word], word))]

    def _postings(self, number: int) -> npt.NDArray[np.int32]:
        return self.documents[self.starts[number] : self.starts[number + 1]]

    def _unbeaten(
        self,
        totals: npt.NDArray[np.float64],
        left: Sequence[int],
        top_k: int,
        allowed: npt.NDArray[np.bool_] | None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
        """Return all texts that may come among the best, with their scores.

        Args:
            totals: (num_texts,) scores for the words before.
            left: The other words.
            top_k, allowed: As of `search`.

        Returns:
            None where a text that none of the words before is in may come among them.
        """
        found = _positive(totals, allowed)
        if len(found) < top_k:
            return None
        kth = float(np.partition(totals[found], len(found) - top_k)[len(found) - top_k])
        most = 1.000001 * float(self._highest[list(left)].sum())  # more than rounding adds
        if most >= kth:
            return None
        found = found[totals[found] >= kth - most]
        scores = totals[found]
        for number in left:
            documents = self._postings(number)
            places = np.searchsorted(documents, found)
            places[places == len(documents)] = 0
            held = documents[places] == found
            scores[held] += self._scores[self.starts[number] + places[held]]
        return found, scores


def _positive(
    totals: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int64]:
    found = np.flatnonzero(totals)
    return found if allowed is None else found[allowed[found]]


def _best(
    found: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], top_k: int
) -> list[tuple[float, int]]:
    """Return the (score, index) of the highest scores, ties to the lower index."""
    if len(found) > top_k:
        least = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
        kept = scores >= least
        found, scores = found[kept], scores[kept]
    best = np.lexsort((found, -scores))[:top_k]
    return [(float(scores[place]), int(found[place])) for place in best]

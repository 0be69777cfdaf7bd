"""Find lines of text by their words (BM25), with their time and source among the words.

An inverted list in NumPy arrays, searched rarest words first: words that are in very many lines
are added only to lines that rarer words have found, as soon as no other line can come among the
best (MaxScore). In a store of a thousand hours a question of nothing but very common words ends
after a million postings: what they say of the other lines is little.

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

from longvid.timed_text.word_cutting import cut
from longvid.timed_text.words import normal_form, words_of

_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75
#: Before a word that is in more lines than this is added, it is asked whether it need be.
_MANY_LINES = 50_000
#: After so many postings of rarer words, further words only order the best lines found so far.
_MOST_READ, _RANKED_AGAIN = 1_000_000, 256
_FEW_LINES = 10_000
_STRETCH = 64


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
            words = cut(text)
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
        num_read = 0
        for place, number in enumerate(words):
            documents = self._postings(number)
            if len(documents) > _MANY_LINES and place:
                left = words[place:]
                most = 1.000001 * float(self._highest[left].sum())  # more than rounding adds
                least = _kth_at_least(totals, allowed, top_k)
                if least > most:
                    found = _at_least(totals, least - most, allowed)
                    if len(found) <= _FEW_LINES:  # else adding the words to all lines is quicker
                        return _best(found, self._with_words(found, totals, left), top_k)
                if num_read > _MOST_READ:
                    least = _kth_at_least(totals, allowed, max(top_k, _RANKED_AGAIN))
                    found = _at_least(totals, least, allowed)
                    return _best(found, self._with_words(found, totals, left), top_k)
            totals[documents] += self._scores[self.starts[number] : self.starts[number + 1]]
            num_read += len(documents)
        found = _at_least(totals, _kth_at_least(totals, allowed, top_k), allowed)
        return _best(found, totals[found], top_k)

    def _rarest_first(self, query: str) -> list[int]:
        known = {word: self.vocabulary[word] for word in words_of(query) if word in self.vocabulary}
        sizes = {word: len(self._postings(number)) for word, number in known.items()}
        return [known[word] for word in sorted(known, key=lambda word: (sizes[word], word))]

    def _postings(self, number: int) -> npt.NDArray[np.int32]:
        return self.documents[self.starts[number] : self.starts[number + 1]]

    def _with_words(
        self, found: npt.NDArray[np.int64], totals: npt.NDArray[np.float64], left: Sequence[int]
    ) -> npt.NDArray[np.float64]:
        """Return the scores of some texts with more words."""
        scores = totals[found]
        for number in left:
            documents = self._postings(number)
            places = np.searchsorted(documents, found)
            places[places == len(documents)] = 0
            held = documents[places] == found
            scores[held] += self._scores[self.starts[number] + places[held]]
        return scores


def _kth_at_least(
    totals: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_] | None, k: int
) -> float:
    """Return a number that at least k of the totals reach, 0 where it is quicker to take all.

    It is the k-th of the highest totals of stretches of the list: ten times as fast to find as the
    k-th of all totals.
    """
    usable = totals if allowed is None else np.where(allowed, totals, 0.0)
    num_stretches = len(usable) // _STRETCH
    if num_stretches <= k:
        return 0.0
    highest = usable[: num_stretches * _STRETCH].reshape(-1, _STRETCH).max(axis=1)
    return float(np.partition(highest, num_stretches - k)[num_stretches - k])


def _at_least(
    totals: npt.NDArray[np.float64], least: float, allowed: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int64]:
    """Return the places of the totals that reach a number and are not 0."""
    found = np.flatnonzero(totals >= least if least > 0 else totals)
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

"""Character n-grams as hashed counts, for what is counted rather than trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import HashingVectorizer

# n-grams are hashed into a power of two of buckets: at most 2^20, fewer when there are many labels (8 bytes a cell).
_MAX_BUCKETS = 1 << 20
_MAX_CELLS = 1 << 25


def character_ngrams(
    *, analyzer: Literal["char", "char_wb"], shortest: int, longest: int, labels: int
) -> HashingVectorizer:
    """Texts to (texts, buckets) counts of their n-grams, case kept; "char_wb" stays within words, edges padded.

    The buckets are few enough for a dense (labels, buckets) matrix.
    """
    # Imported here: a pulled model must run where scikit-learn is not installed.
    from sklearn.feature_extraction.text import HashingVectorizer

    affordable = 1 << (_MAX_CELLS // labels).bit_length() - 1
    return HashingVectorizer(
        analyzer=analyzer,
        ngram_range=(shortest, longest),
        lowercase=False,
        n_features=min(_MAX_BUCKETS, affordable),
        # Plain counts: naive Bayes multiplies probabilities, one for each occurrence.
        alternate_sign=False,
        norm=None,
    )

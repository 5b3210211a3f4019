"""Which words does an item hold? TF-IDF rows, and token vectors made from the catalogue when there is no base."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from encoders.errors import ModelFolderError
from encoders.scripts import MARKS, UNSPACED, has_unspaced, terms, without_accents
from ingest.bounds import Positive, Size, check_bounds

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

_VOCABULARY = "words.json"
_IDF = "words_idf.npy"
_MOST_TOKENS: Final = 16_000
_AS_TERMS: dict[str, Any] = {"tokenizer": terms, "token_pattern": None, "strip_accents": without_accents}
"""How scikit-learn cuts texts into words, in fitting as in reading."""
_LONGEST_RUN = 50
"""Letters written without spaces are cut here; WordPiece knows no word of more than a hundred."""


@dataclass(frozen=True, kw_only=True)
class WordsConfig:
    """How words are counted."""

    max_words: Positive = 100_000
    """Largest vocabulary; the most frequent words stay."""
    longest: Positive = 2
    """Longest run of words that counts as one term."""
    min_items: Size = 2
    """A run of two or more words counts only if this many items have it; single words always count."""

    def __post_init__(self) -> None:
        check_bounds(self)


class Words:
    """TF-IDF over a catalogue: rows of unit length, so that a product of two rows is their cosine."""

    def __init__(self, vocabulary: dict[str, int], idf: NDArray[np.float64], longest: int) -> None:
        self.vocabulary = vocabulary
        self.idf = idf
        self.longest = longest
        self._vectorizer: Any = None

    @classmethod
    def fit(cls, texts: Sequence[str], config: WordsConfig | None = None) -> Words:
        """Learn vocabulary and document frequencies; texts without a word give an empty vocabulary, not an error."""
        return cls.fit_rows(texts, config)[0]

    @classmethod
    def fit_rows(cls, texts: Sequence[str], config: WordsConfig | None = None) -> tuple[Words, csr_matrix]:
        """Fit, and return the texts' own rows as well, as `matrix` would make them by reading the texts once more."""
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

        config = config or WordsConfig()
        counter = CountVectorizer(ngram_range=(1, config.longest), dtype=np.float32, **_AS_TERMS)
        try:
            counts = counter.fit_transform(texts)
        except ValueError:  # scikit-learn's word for an empty vocabulary
            return (empty := cls({}, np.zeros(0), config.longest)), empty.matrix(texts)
        terms = counter.get_feature_names_out()
        held = np.asarray((counts > 0).sum(axis=0)).ravel()
        single = np.array([" " not in term for term in terms])
        useful = np.flatnonzero(single | (held >= config.min_items))
        best = useful[np.argsort(-held[useful], kind="stable")[: config.max_words]]
        vocabulary = {str(terms[column]): place for place, column in enumerate(np.sort(best))}
        idf = np.log((1 + len(texts)) / (1 + held[np.sort(best)])) + 1
        words = cls(vocabulary, idf.astype(np.float64), config.longest)
        weigh = TfidfTransformer(sublinear_tf=True)
        weigh.idf_ = words.idf.astype(np.float32)
        rows = weigh.transform(counts[:, np.sort(best)], copy=False)
        return words, csr_matrix(rows, dtype=np.float32)

    def matrix(self, texts: Sequence[str]) -> csr_matrix:
        """Return sparse float32 rows [n, words]: sublinear term frequency times IDF, unit length or zeros."""
        from scipy.sparse import csr_matrix

        if not self.vocabulary or not len(texts):
            return csr_matrix((len(texts), max(len(self.vocabulary), 1)), dtype=np.float32)
        return csr_matrix(self._open().transform(texts), dtype=np.float32)

    def save(self, folder: Path | str) -> None:
        """Write vocabulary and frequencies as JSON and NumPy; no pickle."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        terms = sorted(self.vocabulary, key=self.vocabulary.__getitem__)
        stored = json.dumps({"longest": self.longest, "terms": terms}, ensure_ascii=False)
        (folder / _VOCABULARY).write_text(stored, encoding="utf-8")
        np.save(folder / _IDF, self.idf)

    @classmethod
    def load(cls, folder: Path | str) -> Words:
        """Open what `save` wrote; anything else raises `ModelFolderError`."""
        folder = Path(folder)
        try:
            stored = json.loads((folder / _VOCABULARY).read_text(encoding="utf-8"))
            idf = np.load(folder / _IDF, allow_pickle=False)
            if len(idf) != len(stored["terms"]):
                raise ValueError(f"{len(stored['terms'])} words but {len(idf)} frequencies")
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise ModelFolderError(f"{folder}: wanted a saved vocabulary, got {error}; train again") from error
        return cls({term: place for place, term in enumerate(stored["terms"])}, idf, stored["longest"])

    def _open(self) -> Any:
        if self._vectorizer is None:
            from sklearn.feature_extraction.text import TfidfVectorizer

            vectorizer = TfidfVectorizer(
                vocabulary=self.vocabulary,
                ngram_range=(1, self.longest),
                sublinear_tf=True,
                dtype=np.float32,
                **_AS_TERMS,
            )
            vectorizer.idf_ = self.idf.astype(np.float32)
            self._vectorizer = vectorizer  # last: other threads read with what they find here
        return self._vectorizer


def catalogue_tokens(texts: Sequence[str], dim: int, *, seed: int = 0) -> tuple[Tokenizer, NDArray[np.float32]]:
    """Return a tokenizer and token vectors [tokens, dim] learned from the texts alone.

    The tokens are the commonest words, and letters for the rest; where words are written without spaces, the pairs
    of characters that recur stand for words. Their vectors are the latent semantic analysis of the item-token table
    (Deerwester et al., 1990) plus a little seeded noise, without which tokens that no item has could never be told
    apart.
    """
    tokenizer = _word_pieces(texts)
    vectors = _latent_vectors(tokenizer, texts, dim, seed)
    log.info("made token vectors from the catalogue tokens=%d dim=%d", len(vectors), dim)
    return tokenizer, vectors


def _word_pieces(texts: Sequence[str]) -> Tokenizer:
    """Return a tokenizer of the commonest words, of recurring pairs where none are spaced, and of single letters."""
    from tokenizers import Tokenizer, models

    normalizer, splitter = _normalizer(), _splitter()
    counts: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for text in texts:
        found = [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
        runs = [word for word in found if has_unspaced(word)]
        counts.update(word for word in found if not has_unspaced(word))
        counts.update(letter for run in runs for letter in run)
        pairs.update({pair for run in runs for pair in terms(run)})
    counts.update({pair: items for pair, items in pairs.items() if items > 1 and len(pair) > 1})
    # sorted, because the library's own trainer orders equal counts differently from run to run
    words = sorted(counts, key=lambda word: (-counts[word], word))[:_MOST_TOKENS]
    letters = sorted({letter for word in counts for letter in word})
    continued = [*letters, *(word for word in words if len(word) > 1 and has_unspaced(word))]
    pieces = dict.fromkeys(["[UNK]", *words, *letters, *(f"##{piece}" for piece in continued)])
    tokenizer = Tokenizer(models.WordPiece(vocab={token: n for n, token in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, _splitter("".join(filter(has_unspaced, letters)))
    return tokenizer


def _latent_vectors(tokenizer: Tokenizer, texts: Sequence[str], dim: int, seed: int) -> NDArray[np.float32]:
    """Return the latent semantic analysis of tokens by the items that hold them [tokens, dim], plus a little noise."""
    from scipy.sparse import csr_matrix
    from sklearn.decomposition import TruncatedSVD

    n = tokenizer.get_vocab_size()
    rng = np.random.default_rng(seed)
    vectors = rng.normal(scale=0.02, size=(n, dim))
    ids = [one.ids for one in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    flat = np.array([token for one in ids for token in one], dtype=np.int64)
    rows = np.repeat(np.arange(len(ids)), [len(one) for one in ids])
    if len(flat):
        table = csr_matrix((np.ones(len(flat)), (rows, flat)), shape=(len(ids), n))
        table.data = 1 + np.log(table.data)
        held = np.asarray((table > 0).sum(axis=0)).ravel()
        weighted = (table @ _diagonal(np.log((1 + len(ids)) / (1 + held)) + 1)).tocsr()
        rank = min(dim, min(weighted.shape) - 1)
        if rank > 0:
            svd = TruncatedSVD(rank, random_state=seed).fit(weighted)
            latent = svd.components_.T * np.sqrt(np.maximum(svd.singular_values_, 0))
            scale = np.linalg.norm(latent, axis=1).mean()
            vectors[:, :rank] += latent / max(scale, 1e-9)
    return vectors.astype(np.float32)


def _normalizer() -> Any:
    """Return what makes texts even: small letters, and no accents, except marks that are letters of their script."""
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [
            normalizers.BertNormalizer(handle_chinese_chars=False, strip_accents=False, lowercase=True),
            normalizers.NFD(),
            normalizers.Replace(Regex(f"[\\p{{Mn}}&&[^{MARKS}]]"), ""),
            normalizers.NFC(),
        ]
    )


def _splitter(known: str = UNSPACED) -> Any:
    """Return what cuts texts into words, and what is written without spaces into runs of known letters.

    Each other letter stands alone: WordPiece drops the whole of a word with a letter that it does not know.
    """
    from tokenizers import Regex, pre_tokenizers

    runs = f"[{known}]{{1,{_LONGEST_RUN}}}|[{UNSPACED}]" if known else f"[{UNSPACED}]"
    split = pre_tokenizers.Split(Regex(runs), "isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), split])


def _diagonal(values: NDArray[np.float64]) -> Any:
    from scipy.sparse import diags

    return diags(values)

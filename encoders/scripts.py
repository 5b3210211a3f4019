"""What is a word where none is written apart? Letters of scripts without spaces, and terms for any script.

Chinese, Japanese, Thai, Lao, Khmer and Burmese put no spaces between words. Their runs of letters count as overlapping
pairs of characters, as in Lucene's CJK analyser: no dictionary, and the same in a catalogue and in a new item's text.
"""

import re
import unicodedata

_CJK = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_SOUTH_EAST_ASIAN = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecf\u1000-\u103f\u1780-\u17d3"
_MARK_BLOCKS = ((0x0900, 0x0E00), (0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800))

UNSPACED = _CJK + _SOUTH_EAST_ASIAN
"""Letters of scripts that are written without spaces between words, as a regular expression's character class."""
MARKS = "\u3099\u309a" + "".join(
    chr(code) for begin, end in _MARK_BLOCKS for code in range(begin, end) if unicodedata.category(chr(code))[0] == "M"
)
"""Vowel signs and the like, which belong to a word although `\\w` does not match them."""

_WORD = re.compile(rf"[\w{MARKS}]+")
_RUN = re.compile(rf"[{UNSPACED}]+|[^{UNSPACED}]+")
_ANY_UNSPACED = re.compile(rf"[{UNSPACED}]")
# what a budget counts as one word: two characters of Chinese or Japanese, four of an alphabet, each with its marks and
# whatever punctuation follows it
_PIECE = re.compile(rf"[{_CJK}]{{1,2}}[^\w{MARKS}]*|[{_SOUTH_EAST_ASIAN}]{{1,4}}[{MARKS}]*[^\w{MARKS}]*|[^{UNSPACED}]+")


def has_unspaced(text: str) -> bool:
    """Tell whether any letter of the text belongs to a script without spaces."""
    return not text.isascii() and _ANY_UNSPACED.search(text) is not None


def terms(text: str) -> list[str]:
    """Return the words of a text; runs of letters without spaces give pairs of characters.

    >>> terms("a red scarf, 100 %")
    ['a', 'red', 'scarf', '100']
    >>> terms("Nikon用レンズ")
    ['Nikon', '用レ', 'レン', 'ンズ']
    """
    found = _WORD.findall(text)
    if not has_unspaced(text):
        return found
    return [term for word in found for run in _RUN.findall(word) for term in _pairs(run)]


def pieces(text: str) -> list[str]:
    """Return what a length budget counts as words; joined they are the text with single spaces, one before each word.

    Two characters of Chinese or Japanese, or four of Thai, Lao, Khmer or Burmese, count as a word.

    >>> pieces("a red scarf")
    [' a', ' red', ' scarf']
    >>> pieces("赤いスカーフ 100%")
    [' 赤い', 'スカ', 'ーフ', ' 100%']
    """
    if not has_unspaced(text):
        return [f" {word}" for word in text.split()]
    out = []
    for word in text.split():
        first, *rest = _PIECE.findall(word)
        out += [f" {first}", *rest]
    return out


def without_accents(text: str) -> str:
    """Return the text without accents, compatible forms made one; marks that are letters of their script stay.

    >>> without_accents("Café ｱﾆﾒ")
    'Cafe アニメ'
    """
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(letter for letter in apart if not _is_accent(letter)))


def _is_accent(letter: str) -> bool:
    return unicodedata.combining(letter) > 0 and letter not in MARKS


def _pairs(run: str) -> list[str]:
    if len(run) < 2 or not _ANY_UNSPACED.match(run):
        return [run]
    return [run[place : place + 2] for place in range(len(run) - 1)]

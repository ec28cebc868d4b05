"""Tells sentences from the other strings of a user interface, and cleans them."""

import re
import unicodedata
from typing import Optional

MARK_UP = re.compile(r"<[^>]*>|&[a-z]+;|&#")
FORMAT = re.compile(
    r"%[-+ #0-9.$*]*(?:\([a-zA-Z_]+\))?[a-zA-Z]|%\d|\{[^}]*\}|\$[A-Za-z({]|\\[a-z]"
    r"|https?://|www\.|@[A-Za-z_]+@|\[\[|\]\]|__|::|->|=>|\||\t"
)
# The letter to press with Alt is marked by ~ in LibreOffice, & in Qt and wxWidgets, _ in GTK. Where
# the letter is not in the word, as in Chinese, it comes in parentheses.
MNEMONIC_IN_PARENTHESES = re.compile(r"\(\s*[_&~]\w\s*\)")
MNEMONIC = re.compile(r"[&~](?=\w)")
GTK_MNEMONIC = re.compile(r"_(?=\w)")
TYPOGRAPHY = str.maketrans(
    {"\u00a0": " ", "\u202f": " ", "\u200b": None, "\u00ad": None, "\u2026": "..."}
)
SYMBOLS = "\u20ac\u00d7\u00b0\u2212"  # Euro, times, degrees, minus

SHORTEST_SOURCE, LONGEST = 2, 60  # words
LEAST_LETTERS = 0.8  # share of letters and spaces
# Written without spaces: two characters count as a word.
WITHOUT_SPACES = ("zh", "ja", "th", "lo", "km", "my")


def clean_pair(
    source: str, target: str, source_language: str = "en", target_language: str = "de"
) -> Optional[tuple[str, str]]:
    """A pair of plain sentences, or None if these two are not that.

    Left out: mark-up, format strings, paths and the like, several paragraphs, single words, what is
    the same in both languages, and pairs whose lengths do not fit each other.
    """
    if source.count("\n") > 3 or "\n\n" in source.strip():
        return None
    if any(pattern.search(text) for pattern in (MARK_UP, FORMAT) for text in (source, target)):
        return None
    source, target = _clean(source), _clean(target)
    if source == target or not (_is_plain(source) and _is_plain(target)):
        return None
    source_words = count_words(source, source_language)
    target_words = count_words(target, target_language)
    if not (SHORTEST_SOURCE <= source_words <= LONGEST and 1 <= target_words <= LONGEST):
        return None
    if source_words > 3 * target_words + 3 or target_words > 3 * source_words + 3:
        return None
    return source, target


def count_words(text: str, language: str) -> int:
    """Words between spaces, or half the characters where a language writes none."""
    if language.split("_")[0] in WITHOUT_SPACES:
        return (len(text) + 1) // 2
    return len(text.split())


def fold(text: str) -> str:
    """Letters alone, in lower case: texts of the same fold count as the same."""
    return "".join(c for c in text.casefold() if c.isalpha())


def _clean(text: str) -> str:
    text = MNEMONIC_IN_PARENTHESES.sub("", text.translate(TYPOGRAPHY))
    text = MNEMONIC.sub("", text)
    if text.count("_") == 1:
        text = GTK_MNEMONIC.sub("", text)
    return " ".join(text.split())


def _is_plain(text: str) -> bool:
    if not text or any(c in "_&~" for c in text):
        return False
    letters = 0
    for character in text:
        category = unicodedata.category(character)
        letters += category[0] in "LM" or character == " "
        if category[0] in "SC" and ord(character) > 0x7F and character not in SYMBOLS:
            return False
    return letters >= LEAST_LETTERS * len(text)

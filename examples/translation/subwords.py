#!/usr/bin/env python3
"""Learns subwords from a corpus and cuts its training part into them.

    python subwords.py CORPUS OUT [--source en] [--target de] [--merges 8000]

CORPUS is a folder made by corpus.py. Writes into OUT what NeurST's TextDataPipeline reads:
codes.bpe, common to both languages, vocab.{source,target} with the most frequent subword first, and
train.{source,target}. NeurST itself cuts the text into words, as it will when it translates.
"""

import argparse
import collections
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

SIDES = ("source", "target")


def tokenize_file(path: Path, language: str) -> list[str]:
    """The lines of a file, cut into words as NeurST's TextDataPipeline does."""
    from neurst.data.data_pipelines.text_data_pipeline import TextDataPipeline

    pipeline = TextDataPipeline(vocab_path=["unused"], language=language, tokenizer="moses")
    return [pipeline.preprocess(line) for line in _progress(path, f"words of {path.name}")]


def learn_codes(words: "collections.Counter[str]", merges: int, path: Path) -> None:
    """Learns `merges` merges from words and their counts, and writes them to `path`."""
    from subword_nmt.learn_bpe import learn_bpe

    with path.open("w", encoding="utf-8") as file:
        learn_bpe([f"{word} {count}" for word, count in words.items()], file, merges, is_dict=True)


def apply_codes(lines: list[str], codes: Path) -> list[str]:
    """Cuts lines of words into subwords, with NeurST's own code."""
    from neurst.data.text.bpe import BPE

    bpe = BPE(subtokenizer_codes=str(codes))
    return [bpe.tokenize(line, return_str=True) for line in lines]


def count_words(lines: list[str]) -> "collections.Counter[str]":
    """How often each word occurs."""
    return collections.Counter(word for line in lines for word in line.split())


def _progress(path: Path, what: str) -> Iterator[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    shown = time.monotonic()
    for number, line in enumerate(lines):
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            print(f"  {what}: {number:,} of {len(lines):,} lines", flush=True)
        yield line


def build(corpus: Path, out: Path, source: str, target: str, merges: int) -> None:
    """Learns and applies subwords unless `out` has those of this corpus."""
    settings = {
        "corpus": json.loads((corpus / "corpus.json").read_text()),
        "languages": [source, target],
        "merges": merges,
    }
    summary = out / "subwords.json"
    if summary.exists() and json.loads(summary.read_text()) == settings:
        print(f"The subwords are in {out} already.")
        return
    out.mkdir(parents=True, exist_ok=True)
    summary.unlink(missing_ok=True)  # it says that everything else is complete
    files = [corpus / f"train.{side}" for side in SIDES]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        texts = list(pool.map(tokenize_file, files, (source, target)))
    print(f"  learning {merges:,} subwords", flush=True)
    codes = out / "codes.bpe"
    learn_codes(count_words(texts[0]) + count_words(texts[1]), merges, codes)
    for side, text in zip(SIDES, texts):
        text = apply_codes(text, codes)
        _write_lines(out / f"train.{side}", text)
        ranked = sorted(count_words(text).items(), key=lambda item: (-item[1], item[0]))
        _write_lines(out / f"vocab.{side}", [subword for subword, _ in ranked])
        print(f"  {side}: {len(ranked):,} different subwords", flush=True)
    summary.write_text(json.dumps(settings, indent=2) + "\n")


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path, help="folder made by corpus.py")
    parser.add_argument("out", type=Path, help="where codes, vocabularies and subwords go")
    parser.add_argument("--source", default="en", help="source language (en)")
    parser.add_argument("--target", default="de", help="target language (de)")
    parser.add_argument("--merges", type=int, default=8000, help="merges to learn (8000)")
    try:
        build(**vars(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command starts over.")


if __name__ == "__main__":
    main()

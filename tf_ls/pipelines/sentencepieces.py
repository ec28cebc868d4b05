"""Tokenizers that are SentencePiece's models."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_ls.pipelines.tokenizers import limit_of


class SentencePieceTokenizer:
    """A model file whose pieces are the model's tokens; the end of a sentence is the file's own."""

    def __init__(self, path: Path):
        """Reads a model file.

        Raises:
            ImportError: sentencepiece is not installed.
            ValueError: it is no such file.
        """
        self._pieces = load_pieces(path)

    def encode(self, text: str) -> list[int]:
        return [*self._pieces.encode(text), self._pieces.eos_id()]

    def decode(self, ids: Sequence[int]) -> str:
        kept = [int(i) for i in ids if not self._pieces.is_control(int(i))]
        return self._pieces.decode(kept)


class MarianTokenizer:
    """MarianMT's: a SentencePiece model for each side, and vocab.json for the ids of all pieces.

    A text may begin with a target language, as in ">>deu<< text", where the model has several.
    """

    def __init__(self, folder: Path, config: dict[str, Any]):
        """Reads source.spm, target.spm and vocab.json, target_vocab.json if there is one.

        Args:
            folder: that has them.
            config: what tokenizer_config.json says.

        Raises:
            FileNotFoundError: one of them is missing.
            ImportError: sentencepiece is not installed.
            ValueError: one of them is damaged, or has no special tokens.
        """
        self._source, self._target = (
            load_pieces(folder / name) for name in ("source.spm", "target.spm")
        )
        self._ids = _read_vocabulary(folder / "vocab.json")
        target = folder / "target_vocab.json"
        target_ids = _read_vocabulary(target) if target.is_file() else self._ids
        self._target_pieces = {i: piece for piece, i in target_ids.items()}
        eos, unknown, padding = (
            config.get(f"{name}_token", default)
            for name, default in (("eos", "</s>"), ("unk", "<unk>"), ("pad", "<pad>"))
        )
        for token in (eos, unknown):
            if token not in self._ids:
                raise ValueError(f"{folder / 'vocab.json'} has no {token}")
        self._eos, self._unknown = self._ids[eos], self._ids[unknown]
        self._special = {eos, unknown, padding}
        self.limit = limit_of(config)

    def encode(self, text: str) -> list[int]:
        language, text = _language_and_text(text)
        pieces = [*language, *self._source.encode(text, out_type=str)]
        return [*(self._ids.get(piece, self._unknown) for piece in pieces), self._eos]

    def decode(self, ids: Sequence[int]) -> str:
        pieces = (self._target_pieces.get(int(i)) for i in ids)
        known = [p for p in pieces if p is not None and p not in self._special]
        return self._target.decode_pieces(known).replace("\u2581", " ").strip()


def load_pieces(path: Path):
    """Reads a SentencePiece model file.

    Raises:
        FileNotFoundError: there is none.
        ImportError: sentencepiece is not installed.
        ValueError: it is none.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError("install sentencepiece: pip install 'tf_ls[pipeline]'") from error
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=os.fspath(path))
    except RuntimeError as error:
        raise ValueError(f"{path} is no SentencePiece model: {error}") from error


def _language_and_text(text: str) -> tuple[list[str], str]:
    end = text.find("<<")
    if not text.startswith(">>") or end < 0:
        return [], text
    return [text[: end + 2]], text[end + 2 :]


def _read_vocabulary(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return {str(piece): int(i) for piece, i in json.loads(path.read_text("utf-8")).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected JSON of ids by their pieces: {error}") from error

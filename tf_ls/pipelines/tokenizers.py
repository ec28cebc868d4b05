"""Text to ids and back, by the files beside a model.

The libraries `tokenizers` and `sentencepiece` do the work: `pip install tf_ls[pipeline]`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Protocol, Union

if TYPE_CHECKING:
    from tokenizers import Tokenizer

StrPath = Union[str, os.PathLike]

# tokenizer_config.json has numbers like 1e30 where there is no limit.
_NO_LIMIT = 1_000_000

_FILES = (
    "tokenizer.json",
    "vocab.txt (BERT)",
    "vocab.json with merges.txt (GPT-2, BART)",
    "source.spm, target.spm and vocab.json (Marian)",
    "one file .model (SentencePiece)",
)


class TextTokenizer(Protocol):
    """What pipelines that generate need. Their users may pass their own."""

    def encode(self, text: str) -> Sequence[int]:
        """Returns ids with the special tokens that the model expects around them."""

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, without special tokens."""


class FileTokenizer:
    """A tokenizer of the library `tokenizers`.

    Attributes:
        tokenizer: the library's, which neither truncates nor pads.
        limit: how many tokens its model takes by tokenizer_config.json; None if it does not say.
        mask: the token to be filled; None if there is none.
    """

    def __init__(self, tokenizer: Tokenizer, config: Optional[dict[str, Any]] = None):
        """Takes a tokenizer, which it changes.

        Args:
            tokenizer: the library's.
            config: what tokenizer_config.json says of it.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        config = config or {}
        self.limit = limit_of(config)
        self.mask = self._mask(config.get("mask_token"))

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _mask(self, named: Any) -> Optional[str]:
        if isinstance(named, dict):  # an added token
            named = named["content"]
        candidates = ("[MASK]", "<mask>") if named is None else (named,)
        known = (token for token in candidates if self.tokenizer.token_to_id(token) is not None)
        return next(known, None)


def limit_of(config: Mapping[str, Any]) -> Optional[int]:
    """Returns how many tokens a model takes by its tokenizer_config.json; None: it does not say."""
    limit = config.get("model_max_length")
    return int(limit) if limit is not None and limit < _NO_LIMIT else None


def load(source: Union[StrPath, TextTokenizer]) -> TextTokenizer:
    """Returns a tokenizer.

    Args:
        source: a folder that has the files of one; such a file (tokenizer.json, vocab.txt, .model);
            a tokenizer of the library `tokenizers`; or what has `encode` and `decode`.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        ImportError: the library that reads it is not installed.
        ValueError: the file is damaged, or of another kind.
    """
    if not isinstance(source, (str, os.PathLike)):
        return _of_object(source)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path}, where a tokenizer should be, does not exist")
    folder = path if path.is_dir() else path.parent
    config = _read_json(folder / "tokenizer_config.json")
    if path.is_file():
        return _of_file(path, config)
    if (folder / "tokenizer.json").is_file():
        return _of_file(folder / "tokenizer.json", config)
    if (folder / "source.spm").is_file():
        from tf_ls.pipelines.sentencepieces import MarianTokenizer

        return MarianTokenizer(folder, config)
    if (folder / "vocab.txt").is_file():
        return _of_file(folder / "vocab.txt", config)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _byte_pairs(folder, config)
    models = sorted(folder.glob("*.model"))
    if len(models) == 1:
        return _of_file(models[0], config)
    raise FileNotFoundError(f"{folder} has no tokenizer; expected {'; or '.join(_FILES)}")


def load_fast(source: Union[StrPath, TextTokenizer]) -> FileTokenizer:
    """Returns a tokenizer that knows which characters of a text a token is of.

    The arguments and errors are those of `load`; it must be one of the library `tokenizers`.
    """
    tokenizer = load(source)
    if not isinstance(tokenizer, FileTokenizer):
        raise ValueError(
            "expected a tokenizer of the library tokenizers, such as a tokenizer.json, which knows"
            f" which characters tokens are of; got {type(tokenizer).__name__}"
        )
    return tokenizer


def _of_object(source: Any) -> TextTokenizer:
    if type(source).__module__.split(".")[0] == "tokenizers":
        return FileTokenizer(_library().Tokenizer.from_str(source.to_str()))  # a copy
    if hasattr(source, "encode") and hasattr(source, "decode"):
        return source
    raise ValueError(f"expected a path or a tokenizer, got {source!r}")


def _of_file(path: Path, config: dict[str, Any]) -> TextTokenizer:
    if path.suffix == ".json":
        try:
            return FileTokenizer(_library().Tokenizer.from_file(os.fspath(path)), config)
        except ImportError:
            raise
        except Exception as error:  # the library raises no other type
            raise ValueError(f"{path} cannot be read: {error}") from error
    if path.suffix == ".txt":
        return _word_pieces(path, config)
    if path.suffix in (".model", ".spm"):
        from tf_ls.pipelines.sentencepieces import SentencePieceTokenizer

        return SentencePieceTokenizer(path)
    raise ValueError(f"{path}: expected {'; or '.join(_FILES)}")


def _word_pieces(path: Path, config: dict[str, Any]) -> FileTokenizer:
    """BERT's, of before there was a tokenizer.json."""
    tokenizer = _library().BertWordPieceTokenizer(
        os.fspath(path),
        lowercase=config.get("do_lower_case", True),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
    )
    return FileTokenizer(_library().Tokenizer.from_str(tokenizer.to_str()), config)


def _byte_pairs(folder: Path, config: dict[str, Any]) -> FileTokenizer:
    """GPT-2's and BART's."""
    library = _library()
    tokenizer = library.ByteLevelBPETokenizer(
        os.fspath(folder / "vocab.json"),
        os.fspath(folder / "merges.txt"),
        add_prefix_space=config.get("add_prefix_space", False),
    )
    tokenizer = library.Tokenizer.from_str(tokenizer.to_str())
    kind = _read_json(folder / "config.json").get("model_type")
    if kind == "gpt2":
        tokenizer.add_special_tokens(["<|endoftext|>"])
    elif kind in ("bart", "roberta"):
        mask = library.AddedToken("<mask>", lstrip=True, special=True)
        tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", mask])
        tokenizer.post_processor = library.processors.RobertaProcessing(
            *(("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>"))),
            trim_offsets=True,
            add_prefix_space=config.get("add_prefix_space", False),
        )
    else:
        raise ValueError(
            f"{folder}: vocab.json and merges.txt do not name special tokens, and those of"
            f" {kind} are not known (gpt2's, bart's, roberta's are): a tokenizer.json is needed"
        )
    return FileTokenizer(tokenizer, config)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object, got {type(content).__name__}")
    return content


def _library():
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError("install tokenizers: pip install 'tf_ls[pipeline]'") from error
    return tokenizers

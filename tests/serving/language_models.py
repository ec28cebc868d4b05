"""Decoder-only models for tests of the server, and what comes for them from a client's side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from small_decoder import EOS, START, build

from tf_ls import export

OPTIONS = {"eos": EOS, "method": "greedy", "max_length": 40}
PROMPTS = [[1, 3], [5, 5, 4, 5], [9], []]
# Would take hours, were it not stopped.
ENDLESS = {"forbidden_tokens": [EOS], "max_length": 1_000_000, "max_extra_length": -1}


def save_language_models(folder: Path) -> Path:
    """ids: from ids to ids; text: of pieces, most of which are bytes."""
    export.save(build(), folder / "ids", options=OPTIONS, start=START)
    save_text_model(folder / "text", folder.parent / f"{folder.name}.pieces")
    return folder


def save_text_model(path: Path, pieces: Path) -> None:
    documents = Path(__file__).resolve().parents[2] / "docs"
    sentencepiece.SentencePieceTrainer.train(
        input=str(documents / "architecture.md"),
        model_prefix=str(pieces),
        vocab_size=400,
        byte_fallback=True,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(f"{pieces}.model")
    bias = np.zeros(400)
    # Where the temperature is high, bytes of letters with two come, in the right order not always.
    for byte in (0xC3, 0xA4, 0xB6, 0xBC):
        bias[processor.piece_to_id(f"<0x{byte:02X}>")] = 60.0
    export.save(
        build(vocabulary=400, output_bias=bias),
        path,
        options={**OPTIONS, "max_extra_length": 20},
        start=1,
        sentencepiece=f"{pieces}.model",
    )


def events_of(response: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The server-sent events of an answer, as they come: names and contents."""
    name = data = None
    for line in response:
        line = line.decode().rstrip("\r\n")
        if line.startswith("event: "):
            name = line[len("event: ") :]
        elif line.startswith("data: "):
            data = json.loads(line[len("data: ") :])
        elif not line and name is not None:
            yield name, data
            name = data = None

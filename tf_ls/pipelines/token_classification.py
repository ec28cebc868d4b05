"""Classes of tokens: names of persons and places, parts of speech."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_ls.pipelines import encoder_task, models
from tf_ls.pipelines.encoder_steps import RunEncoder
from tf_ls.pipelines.encoder_task import EncoderArguments
from tf_ls.pipelines.prepared import Prepared
from tf_ls.pipelines.probabilities import softmax
from tf_ls.pipelines.steps import Pipeline
from tf_ls.pipelines.windows import joined, tokens_of

TASK = "token-classification"

# Which tokens of a word say what it is: all by themselves; all, and neighbours of one class are one
# entity; the first; the one that is surest; their mean.
AGGREGATIONS = ("none", "simple", "first", "max", "average")


class Piece(NamedTuple):
    """A token, or a word of several."""

    tokens: Sequence[str]
    scores: np.ndarray
    """[N], of each class."""

    start: int
    end: int
    index: int
    """Of the first token in the text."""

    continues: bool
    """Whether it goes on with the word before it."""


class Tagged(NamedTuple):
    """A piece and its class."""

    piece: Piece
    label: str
    score: float


@dataclasses.dataclass(frozen=True)
class Entities:
    """Logits [S, N] of each window of a text as its entities."""

    label: Callable[[int], str]
    tokenizer: Any
    """Of the library `tokenizers`."""

    aggregation: str = "none"
    ignore_labels: Sequence[str] = ("O",)

    def __post_init__(self):
        if self.aggregation not in AGGREGATIONS:
            known = ", ".join(AGGREGATIONS)
            raise ValueError(f"aggregation must be one of {known}; got {self.aggregation!r}")

    def __call__(self, text: Prepared, logits: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Returns entities in the order of the text, without those of classes that are ignored."""
        pieces = self._pieces(text, logits)
        if self.aggregation == "none":
            return [
                {
                    "entity": tagged.label,
                    "score": tagged.score,
                    "index": tagged.piece.index,
                    "word": tagged.piece.tokens[0],
                    "start": tagged.piece.start,
                    "end": tagged.piece.end,
                }
                for tagged in map(self._tagged, pieces)
                if tagged.label not in self.ignore_labels
            ]
        if self.aggregation != "simple":
            pieces = [self._word(group) for group in _words(pieces)]
        groups = map(self._entity, _groups(map(self._tagged, pieces)))
        return [group for group in groups if group["entity_group"] not in self.ignore_labels]

    def _pieces(self, text: Prepared, logits: Sequence[np.ndarray]) -> list[Piece]:
        tokens = tokens_of(text.rows)
        scores = softmax(joined(tokens, logits))
        marks_continuations = bool(getattr(self.tokenizer.model, "continuing_subword_prefix", None))
        unknown = getattr(self.tokenizer.model, "unk_token", None)
        pieces = []
        for i, (token, of_token) in enumerate(zip(tokens, scores)):
            if token.is_special:
                continue
            start, end = token.span
            word = self.tokenizer.id_to_token(token.id)
            if word == unknown:
                word, continues = text.source[start:end], False
            elif marks_continuations:
                continues = len(word) != end - start
            else:
                continues = start > 0 and " " not in text.source[start - 1 : start + 1]
            pieces.append(Piece([word], of_token, start, end, i, continues))
        return pieces

    def _tagged(self, piece: Piece) -> Tagged:
        best = int(piece.scores.argmax())
        return Tagged(piece, self.label(best), float(piece.scores[best]))

    def _word(self, pieces: Sequence[Piece]) -> Piece:
        scores = [piece.scores for piece in pieces]
        if self.aggregation == "first":
            of_word = scores[0]
        elif self.aggregation == "max":
            of_word = max(scores, key=np.max)
        else:
            of_word = np.mean(scores, axis=0)
        first = pieces[0]
        word = self._text_of(pieces)
        return Piece([word], of_word, first.start, pieces[-1].end, first.index, first.continues)

    def _entity(self, group: Sequence[Tagged]) -> dict[str, Any]:
        pieces = [tagged.piece for tagged in group]
        return {
            "entity_group": _begins_and_class(group[0].label)[1],
            "score": float(np.mean([tagged.score for tagged in group])),
            "word": self._text_of(pieces),
            "start": pieces[0].start,
            "end": pieces[-1].end,
        }

    def _text_of(self, pieces: Sequence[Piece]) -> str:
        tokens = [token for piece in pieces for token in piece.tokens]
        decoder = self.tokenizer.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)


def _words(pieces: Iterable[Piece]) -> list[list[Piece]]:
    words: list[list[Piece]] = []
    for piece in pieces:
        if words and piece.continues:
            words[-1].append(piece)
        else:
            words.append([piece])
    return words


def _groups(tagged: Iterable[Tagged]) -> list[list[Tagged]]:
    """Neighbours of the same class; one that begins an entity begins a group."""
    groups: list[list[Tagged]] = []
    for one in tagged:
        begins, name = _begins_and_class(one.label)
        if groups and not begins and name == _begins_and_class(groups[-1][-1].label)[1]:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _begins_and_class(label: str) -> tuple[bool, str]:
    """Of a label like B-PER or I-PER; others begin nothing."""
    return label.startswith("B-"), label[2:] if label[:2] in ("B-", "I-") else label


def build(
    arguments: EncoderArguments,
    *,
    aggregation: str = "none",
    ignore_labels: Sequence[str] = ("O",),
) -> Pipeline:
    """Builds the pipeline: arguments and errors of `tf_ls.pipeline`, and those of Entities."""
    tokenizer = encoder_task.load_tokenizer(arguments)
    bert = models.load_encoder(arguments.model, arguments.batch_size, arguments.precision, TASK)
    label = encoder_task.labels_of(bert)
    return Pipeline(
        encoder_task.encode_text(arguments, bert, tokenizer),
        RunEncoder(bert.logits),
        Entities(label, tokenizer.tokenizer, aggregation, tuple(ignore_labels)),
        arguments.batch_size,
    )

"""The first steps of tasks on which a model encodes a text: tokens, and arrays of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

from tf_ls.pipelines.long_inputs import SPLIT, TRUNCATE, LongInputs, TooLong
from tf_ls.pipelines.prepared import Prepared
from tf_ls.pipelines.windows import Window

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Text = Union[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class EncodeText:
    """A text as windows of tokens, one unless it is long and split."""

    tokenizer: Tokenizer
    long_inputs: LongInputs
    takes_pairs: bool = False

    def __call__(self, source: Text) -> Prepared:
        """Encodes a text.

        Args:
            source: a text or, where pairs are taken, a dictionary of "text" and "text_pair".

        Raises:
            TooLong: a text of too many tokens, unless it may be truncated or split.
            ValueError: no text; a pair that is too long, where texts are split.
        """
        text, pair = self._text_and_pair(source)
        first = self.tokenizer.encode(text, add_special_tokens=False)
        if pair is None:
            return Prepared(source, self._windows(first))
        second = self.tokenizer.encode(pair, add_special_tokens=False)
        return Prepared(source, [self._pair(first, second)])

    def _text_and_pair(self, source: Any) -> tuple[str, Optional[str]]:
        if isinstance(source, str):
            return source, None
        texts = [source.get(n) for n in ("text", "text_pair")] if self._is_pair(source) else []
        if not texts or not all(isinstance(text, str) for text in texts):
            pairs = ' or {"text": a text, "text_pair": another}' if self.takes_pairs else ""
            raise ValueError(f"expected a text{pairs}, got {source!r}")
        return texts[0], texts[1]

    def _is_pair(self, source: Any) -> bool:
        if not self.takes_pairs or not isinstance(source, Mapping):
            return False
        return set(source) == {"text", "text_pair"}

    def _windows(self, text: Encoding) -> list[Window]:
        special = self.tokenizer.num_special_tokens_to_add(False)
        step = len(text)
        if self.long_inputs.too_long(len(text) + special):
            room = self.long_inputs.room(special)
            stride = self.long_inputs.stride
            text.truncate(room, stride)
            step = room - stride
        whole = self.tokenizer.post_process(text)
        parts = [whole, *whole.overflowing] if self.long_inputs.way == SPLIT else [whole]
        return [_window(part, i * step) for i, part in enumerate(parts)]

    def _pair(self, first: Encoding, second: Encoding) -> Window:
        special = self.tokenizer.num_special_tokens_to_add(True)
        tokens = len(first) + len(second) + special
        if self.long_inputs.too_long(tokens):
            if self.long_inputs.way == SPLIT:
                raise TooLong(tokens, self.long_inputs.limit, (TRUNCATE,))
            room = self.long_inputs.room(special)
            # The longer one is cut, and both where that does not suffice.
            short = min(len(first), len(second), room // 2)
            is_longer = len(first) > len(second)
            first.truncate(room - short if is_longer else short)
            second.truncate(short if is_longer else room - short)
        return _window(self.tokenizer.post_process(first, second), 0)


@dataclasses.dataclass(frozen=True)
class RunEncoder:
    """Windows as arrays: [S, ...] of each token, or [...] of the window."""

    function: Callable[..., np.ndarray]
    """Such as `tf_ls.inference.Bert.logits`."""

    def __call__(self, windows: Sequence[Window]) -> list[np.ndarray]:
        types = [window.types for window in windows]
        has_types = any(map(any, types))
        outputs = self.function([w.ids for w in windows], types if has_types else None)
        if outputs.ndim == 2:
            return list(outputs)
        return [output[: len(window)] for window, output in zip(windows, outputs)]


def _window(encoding: Encoding, begin: int) -> Window:
    return Window(
        ids=encoding.ids,
        types=encoding.type_ids,
        spans=encoding.offsets,
        is_special=[bool(mask) for mask in encoding.special_tokens_mask],
        begin=begin,
    )

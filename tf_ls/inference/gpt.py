"""A model that continues prompts, from lists of ids to arrays, in three lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tf_ls.inference.ids import batches, checked_ids, padded, without_padding
from tf_ls.inference.inference_model import GeneratingModel
from tf_ls.inference.loaded_functions import CONTINUATION
from tf_ls.inference.streaming import stream_tokens


class Gpt(GeneratingModel):
    """A decoder-only model.

        model = tf_ls.inference.Gpt("exported", 8)
        tokens = model.sample([[1, 2, 3], [4, 5]])
        perplexities = model.ppl([[1, 2, 3], [4, 5]])

    How it is loaded, and its options: GeneratingModel.
    """

    kind = CONTINUATION

    def sample(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        """Continues prompts, as the options say: by sampling or by a search.

        Args:
            prompts: ids int[B, S], or lists of ids of any lengths. Padding behind a prompt is left
                out. A model without a start token (GPT-2) needs prompts of a token or more.

        Returns:
            int64 [B, T], each prompt and what comes behind it: the best hypothesis, or the first
            sample, EOS included if it came; EOS behind it.

        Raises:
            ValueError: prompts that are none of the model's.
        """
        rows = [self._checked(f"prompt {i}", prompt) for i, prompt in enumerate(prompts)]
        found = []
        # In their order: samples depend on a prompt's place in the batch.
        for first in range(0, len(rows), self._max_batch_size):
            found += self._continued(rows[first : first + self._max_batch_size])
        return padded(found, int(self._properties["eos"]))

    def stream(self, prompt: Sequence[int]) -> Iterator[int]:
        """Continues one prompt, as the options say, and tells its tokens while it does.

        Args:
            prompt: ids int[S]; as for `sample`.

        Returns:
            An iterator of the tokens behind the prompt, EOS included if it came. Generation stops
            when it is closed.

        Raises:
            ValueError: a prompt that is none of the model's; a search of several beams, whose
                tokens are not final when they come.
            tf.errors.OpError: while it is read, what the generation raises.
        """
        import tensorflow as tf

        self._search_options.check_tokens_are_final()
        row = self._checked("the prompt", prompt)
        inputs = {"prompt": tf.constant(padded([row], 0)), **self._options}
        return stream_tokens(self._functions["stream"], inputs)

    def ppl(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Returns the perplexity of each text.

        It is exp(-mean(log p)) over all tokens of which the model says how probable they are behind
        those before them: all but the first, if there is no start token (GPT-2).

        Args:
            texts: ids int[B, S], or lists of ids of any lengths. Padding behind a text is left out.

        Returns:
            float32 [B].

        Raises:
            ValueError: texts that are none of the model's, or too short to have such a token.
        """
        import tensorflow as tf

        rows = [self._checked(f"text {i}", text) for i, text in enumerate(texts)]
        given = 0 if self._has_start else 1
        for i, row in enumerate(rows):
            if len(row) <= given:
                raise ValueError(f"text {i} must have at least {given + 1} tokens, got {len(row)}")
        lengths = [len(row) for row in rows]
        perplexities = np.zeros(len(rows), np.float32)
        for places in batches(lengths, self._max_batch_size):
            counts = np.array([lengths[i] for i in places], np.int64)
            outputs = self._functions["score"](
                ids=tf.constant(padded([rows[i] for i in places], 0)), lengths=tf.constant(counts)
            )
            sums = outputs["log_probs"].numpy().sum(axis=1, dtype=np.float64)
            perplexities[places] = np.exp(-sums / (counts - given))
        return perplexities

    @property
    def _has_start(self) -> bool:
        return int(self._properties["start"]) >= 0

    def _checked(self, name: str, ids: Sequence[int]) -> np.ndarray:
        ids = without_padding(ids, int(self._properties["padding_id"]))
        row = checked_ids(name, ids, int(self._properties["vocabulary"]))
        if not self._has_start and not len(row):
            raise ValueError(f"{name} must have a token: the model has no start token")
        return row

    def _continued(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        import tensorflow as tf

        prompt = tf.constant(padded(rows, int(self._properties["padding_id"])))
        outputs = self._functions["serving_with_options"](prompt=prompt, **self._options)
        tokens, lengths = outputs["tokens"].numpy()[:, 0], outputs["lengths"].numpy()[:, 0]
        return [
            np.concatenate([row, behind[:length]])
            for row, behind, length in zip(rows, tokens, lengths)
        ]

    def _default_hypotheses(self, options: Mapping[str, Any]) -> int:
        return 1

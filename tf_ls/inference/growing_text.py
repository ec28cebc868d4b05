"""Text whose tokens come one by one."""

from __future__ import annotations


class GrowingText:
    """The text of a hypothesis that grows, in pieces of whole characters."""

    def __init__(self, prompt: str):
        """Begins behind a prompt's text."""
        self._told = prompt

    def piece(self, text: str, is_last: bool) -> str:
        """What is new in the text of prompt and tokens so far.

        A character whose bytes are not all there is U+FFFD at the end, and is not told before it is
        whole, or nothing more comes.
        """
        sure = text if is_last else text.rstrip("\ufffd")
        if not sure.startswith(self._told):
            return ""
        piece, self._told = sure[len(self._told) :], sure
        return piece

"""Models from elsewhere as model files, and back: see docs/converters.md.

    tf_ls.convert.convert("bert-folder", "bert.pb")

read, write, convert   whatever they are; `tf_ls.files.Model` is what all have in common
ConversionError        what has no place on the other side
"""

from tf_ls.convert.conversion import TARGETS, convert, read, write
from tf_ls.convert.error import ConversionError

__all__ = ["TARGETS", "ConversionError", "convert", "read", "write"]

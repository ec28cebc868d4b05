"""Models that leave the trainer as SavedModels: see docs/export.md."""

from tf_ls.export.precision import PRECISIONS
from tf_ls.export.saved_model import save

__all__ = ["PRECISIONS", "save"]

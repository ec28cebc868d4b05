"""Hugging Face's folders: config.json and weights, read and written without their library."""

from tf_ls.convert.hugging_face.folder import MODEL_TYPES, is_folder, read, write

__all__ = ["MODEL_TYPES", "is_folder", "read", "write"]

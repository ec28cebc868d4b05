"""NeurST's folders: model_configs.yml and a checkpoint, read and written."""

from tf_ls.convert.neurst.folder import MODEL_CLASSES, family_of, is_folder, read, write

__all__ = ["MODEL_CLASSES", "family_of", "is_folder", "read", "write"]

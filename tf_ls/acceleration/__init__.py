"""Fused operations in models that were not made of them: `tf_ls.accelerate(model)`."""

from tf_ls.acceleration.replacement import accelerate, restore

__all__ = ["accelerate", "restore"]

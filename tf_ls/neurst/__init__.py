"""What makes NeurST pick up tf_ls, and what lets NeurST run on today's TensorFlow.

Importing this package imports nothing else: `compat` has to be there before TensorFlow is imported.
"""

"""What makes NeurST pick up tf_ls, and what lets NeurST run on today's TensorFlow.

Importing this package imports nothing else: it is on the way of every interpreter start (see
finder.py).
"""

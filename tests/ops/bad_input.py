"""What the operations raise for bad input, when they run or when a graph is built."""

import tensorflow as tf

BadInput = (tf.errors.InvalidArgumentError, ValueError)
BadDtype = (*BadInput, TypeError)

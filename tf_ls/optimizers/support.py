"""What the operation of LSAdam can update."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_ls.library import library

AMSGRAD = "it has no amsgrad"


def why_not(variables: Sequence[tf.Variable]) -> str | None:
    """Why one operation cannot update all these variables, or None if it can."""
    for variable in variables:
        if variable.dtype.base_dtype != tf.float32:
            return f"variables must be float32, {variable.name} is {variable.dtype.name}"
    devices = sorted({variable.device for variable in variables if variable.device})
    if len(devices) > 1:
        return f"variables must be on one device, they are on {' and '.join(devices)}"
    for device in devices:
        if tf.DeviceSpec.from_string(device).device_type not in library.device_types:
            built_for = " and ".join(library.device_types)
            return f"this tf_ls was built for {built_for}, but variables are on {device}"
    return None

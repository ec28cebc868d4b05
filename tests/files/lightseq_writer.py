"""HDF5 as LightSeq's exporters write it: lists of Python's numbers, which become float64."""

import h5py
import numpy as np


def write_hdf5_as_lightseq(path, model):
    with h5py.File(path, "w") as file:
        for name in model.shapes():
            file.create_dataset(name, data=model.float32(name).ravel().tolist())
        for name, value in model.settings.items():
            if isinstance(value, str):
                value = np.array([ord(c) for c in value]).astype(np.int8)
            file.create_dataset(f"model_conf/{name}", data=value)
        for stack in model.family.stacks:
            file.create_dataset(f"model_conf/n_{stack}", data=model.layers(stack))

"""Model files, LightSeq's and of its kind: see docs/model_files.md.

read, write            files of either format, chosen by their endings, .pb and .hdf5
Model                  what they are made of: settings, and numbers that are read when asked for
export_ls_config, export_ls_embedding, export_ls_encoder, export_ls_decoder, export_pb2hdf5
                       the parts of a file from a trained LSTransformer
state_dict             what these take of a model
InvalidModelFile       what is not as it must be

None of it needs TensorFlow.
"""

from tf_ls.files.lightseq_export import (
    export_ls_config,
    export_ls_decoder,
    export_ls_embedding,
    export_ls_encoder,
    export_pb2hdf5,
    state_dict,
)
from tf_ls.files.model import InvalidModelFile, Model, Numbers
from tf_ls.files.model_file import read, write
from tf_ls.files.precision import PRECISIONS

__all__ = [
    "PRECISIONS",
    "InvalidModelFile",
    "Model",
    "Numbers",
    "export_ls_config",
    "export_ls_decoder",
    "export_ls_embedding",
    "export_ls_encoder",
    "export_pb2hdf5",
    "read",
    "state_dict",
    "write",
]

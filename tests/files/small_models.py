"""Small models of each family, whose numbers are known by their names and places."""

import zlib

import numpy as np

from tf_ls.files import Model
from tf_ls.files.definitions import FAMILIES, FIRST_OWN_NUMBER

LAYERS = {"encoder_stack": 2, "decoder_stack": 1}
SIZES = {"H": 4, "I": 6, "V": 5, "P": 3, "T": 2, "G": 2, "N": 3, "L": LAYERS["decoder_stack"]}

SETTINGS = {
    "transformer": {
        "head_num": 2,
        "beam_size": 3,
        "extra_decode_length": 50,
        "length_penalty": 0.5,
        "src_padding_id": -1,
        "trg_start_id": 1,
        "diverse_lambda": 0.25,
        "sampling_method": "topk",
        "topp": 0.75,
        "topk": 4,
        "trg_end_id": 2,
        "is_post_ln": True,
        "no_scale_embedding": True,
        "use_gelu": True,
        "multilg_type": 1,
    },
    "bert": {
        "head_num": 2,
        "src_padding_id": 4,
        "is_post_ln": True,
        "use_gelu": True,
        "multilg_type": 1,
    },
    "gpt": {
        "head_num": 2,
        "src_padding_id": 5,
        "sampling_method": "ppl",
        "topp": 0.75,
        "topk": 4,
        "eos_id": 3,
        "extra_decode_length": 50,
        "beam_size": 2,
        "length_penalty": -1.0,
        "diverse_lambda": 0.25,
        "use_gelu": True,
    },
}
OWN_SETTINGS = {"epsilon": 2.0**-17, "activation": "gelu_nonapprox"}

# What tf_ls added after files had been committed.
LATER = {
    "transformer": [
        "src_embedding/embedding_norm",
        "trg_embedding/embedding_norm",
        "trg_embedding/output_kernel",
    ],
    "bert": ["head/", "mlm_head/"],
    "gpt": [],
}
LATER_SETTINGS = {
    "transformer": {
        "is_post_ln": False,
        "search_options": '{"early_stopping": true, "forbidden_tokens": [0, 3]}',
        "prefix": "[0, 4]",
    },
    "bert": {"task": "token-classification", "labels": '["O", "B-PER", "I-PER"]'},
    "gpt": {},
}


def numbers(name, shape):
    """Multiples of 1/64 below 1, which every precision but int8 has exactly."""
    count = int(np.prod(shape))
    step, start = divmod(zlib.crc32(name.encode()) % (96 * 97), 97)
    hashed = (np.arange(count) * (step + 1) + start) % 97
    return ((hashed - 48.0) / 64).reshape(shape).astype(np.float32)


def small_model(family, own=True, later=True):
    """A model with all fields, with LightSeq's alone, or without what tf_ls added later."""
    later = own and later
    model = Model(family, SETTINGS[family])
    if own:
        model.settings.update(OWN_SETTINGS)
    if later:
        model.settings.update(LATER_SETTINGS[family])
    for part, definition in FAMILIES[family].parts.items():
        if definition.number >= FIRST_OWN_NUMBER and not own:
            continue
        layers = [f"{part}/{i}" for i in range(LAYERS.get(part, 0))]
        for place in layers or [part]:
            for field, description in definition.fields.items():
                name = f"{place}/{field}"
                if not later and name.startswith(tuple(LATER[family])):
                    continue
                if description.number < FIRST_OWN_NUMBER or own:
                    shape = [s if isinstance(s, int) else SIZES[s] for s in description.shape]
                    model.put(name, numbers(name, shape))
    return model


def assert_same(read, model, tolerance=0):
    """The same settings, but for what files leave out, and the same numbers."""
    settings = {k: v for k, v in read.settings.items() if v}
    assert settings == {k: v for k, v in model.settings.items() if v}
    assert read.shapes() == model.shapes()
    for name in model.shapes():
        np.testing.assert_allclose(
            read.float32(name), model.float32(name), rtol=0, atol=tolerance, err_msg=name
        )

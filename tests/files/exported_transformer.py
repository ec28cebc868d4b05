"""tests/models/small_transformer.py's model in a model file."""

from small_transformer import HEADS, HIDDEN, SETTINGS

from tf_ls import files

START, EOS = 7, 2
SOURCE_POSITIONS, TARGET_POSITIONS = 30, 20


def export(file, weights, save_pb=True, **settings):
    """Puts everything into a file, part by part."""
    layers, ffn = SETTINGS["num_decoder_layer"], SETTINGS["intermediate_size"]
    settings = {"beam_size": 3, **settings}
    files.export_ls_config(file, HEADS, 0, START, EOS, 2, layers, **settings, save_pb=save_pb)
    files.export_ls_embedding(file, weights, SOURCE_POSITIONS, HIDDEN, True, save_pb)
    files.export_ls_embedding(file, weights, TARGET_POSITIONS, HIDDEN, False, save_pb)
    files.export_ls_encoder(file, weights, HIDDEN, ffn, save_pb)
    files.export_ls_decoder(file, weights, HIDDEN, ffn, layers, save_pb)


def exported(weights, **settings):
    """The same as a model."""
    model = files.Model("transformer")
    export(model, weights, **settings)
    return model

"""Small models of Hugging Face's with random weights, and their folders."""

import json

import numpy as np
import pytest

from tf_ls import convert

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def build(architecture, config, **options):
    """A model of transformers' classes, with options of its configuration."""
    config = getattr(transformers, config)(**options)
    return randomize(getattr(transformers, architecture)(config))


def randomize(model, scale=0.3):
    """Gives every parameter numbers that count: biases and norms are otherwise zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * scale
            is_norm = "norm" in name.lower() or ".ln_" in name
            parameter.copy_(noise + 1 if is_norm and name.endswith("weight") else noise)
    return model.eval()


def saved(model, folder, **options):
    """Saves a model where its library would, and returns the folder."""
    model.save_pretrained(folder, **options)
    return folder


def converted(model, folder, **options):
    """What tf_ls reads of the folder in which a model is saved."""
    return convert.read(saved(model, folder, **options))


def logits(model, ids, **more):
    """What a model computes of one sentence's ids."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), **more)


def assert_same_model(again, model, rtol=0):
    """Every number and every setting."""
    assert again.settings == model.settings
    assert again.shapes() == model.shapes()
    for name in model.shapes():
        np.testing.assert_allclose(
            again.float32(name), model.float32(name), rtol=rtol, err_msg=name
        )


def assert_loads_as(original, folder, sentences, rtol=0, **inputs):
    """A folder has all weights of a model, and their library computes the same of it."""
    loaded, notes = type(original).from_pretrained(folder, output_loading_info=True)
    assert not any(notes.values()), notes
    wanted = original.state_dict()
    for name, weight in loaded.state_dict().items():
        np.testing.assert_allclose(weight, wanted[name], rtol=rtol, err_msg=name)
    for ids in sentences:
        mine, theirs = (logits(model, ids, **inputs) for model in (loaded, original))
        for name in {"logits", "last_hidden_state", "pooler_output"} & set(theirs):
            np.testing.assert_allclose(mine[name], theirs[name], atol=1e-4)


def changed(folder, **options):
    """The folder with options of its config.json changed; None removes one."""
    config = json.loads((folder / "config.json").read_text())
    config.update(options)
    config = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def assert_refused(folder, options, message):
    """Changes options of a folder, whose model is not read any more: the message says why."""
    with pytest.raises(convert.ConversionError, match=f"{folder}: .*{message}"):
        convert.read(changed(folder, **options))

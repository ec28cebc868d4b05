"""Folders as NeurST's trainer writes them, of models that were never trained."""

import sentencepiece
import tensorflow as tf
from neurst.tasks import build_task
from neurst.utils.checkpoints import NameBasedCheckpointManager
from neurst.utils.configurable import ModelConfigs
from neurst.utils.hparams_sets import get_hyper_parameters

CORPUS = """
The old house is red, and the man likes it.
She sees the red house: it's "very" old.
He has (nearly) 5 % more houses here than I've seen.
An old man and a young man see the house.
""".strip().splitlines()


def write_model(folder, model_class, task_class, task_params, **params):
    """Writes a toy model; returns its task and itself.

    Args:
        folder: that there is.
        model_class, task_class: NeurST's names.
        task_params: as in a configuration.
        params: the model's, in front of those of NeurST's toy.
    """
    toy = get_hyper_parameters("gpt2_toy" if model_class == "GPT2" else "transformer_toy")
    configs = {
        "model.class": model_class,
        "model.params": {**toy["model.params"], **params},
        "task.class": task_class,
        "task.params": task_params,
    }
    ModelConfigs.dump(configs, str(folder))
    configs = ModelConfigs.load(str(folder))
    task = build_task(configs)
    tf.keras.utils.set_random_seed(1)
    model = task.build_model(configs, name="trained")
    for variable in model.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.3))
    NameBasedCheckpointManager(model, str(folder)).save(1)
    return task, model


def write_pieces(folder):
    """Trains a SentencePiece model on CORPUS; returns the parameters of a data pipeline with it."""
    (folder / "corpus.txt").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "pieces"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(str(folder / "pieces.model"))
    # As one makes NeurST's vocabularies: no control symbols, its own order.
    vocabulary = [processor.id_to_piece(i) for i in range(3, processor.get_piece_size())]
    (folder / "vocabulary").write_text("\n".join(reversed(vocabulary)) + "\n")
    return {
        "vocab_path": str(folder / "vocabulary"),
        "subtokenizer": "spm",
        "subtokenizer_codes": str(folder / "pieces.model"),
        "language": "en",
    }

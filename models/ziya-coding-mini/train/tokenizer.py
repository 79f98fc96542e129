"""SentencePiece BPE with LLaMA's conventions, trained on the same text as the model."""
import io
import json
import os
import random

import sentencepiece as spm

PIECES = 2560
PROMPT = "<human>: \n{prompt}\n<bot>: \n"


def train(rows, path):
    """The response and the prompt are separate sentences, because they are encoded separately."""
    random.Random(0).shuffle(rows)
    sentences = [text for row in rows[:25_000] for text in (PROMPT.format(prompt=row["prompt"]), row["response"])]
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, model_type="bpe", vocab_size=PIECES, byte_fallback=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, add_dummy_prefix=True, normalization_rule_name="identity",
        split_digits=True, remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, character_coverage=0.9999,
        max_sentence_length=8192, num_threads=2)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(model.getvalue())
    os.replace(temporary, path)


class Tokenizer:
    def __init__(self, path):
        self.sp = spm.SentencePieceProcessor(model_file=str(path))
        # A response continues the prompt, so it must not get a leading space of its own.
        self.bare = spm.SentencePieceProcessor(model_file=str(path))
        self.bare.override_normalizer_spec(add_dummy_prefix=False)

    def prompt_ids(self, prompt):
        return [self.sp.bos_id()] + self.sp.encode(PROMPT.format(prompt=prompt))

    def response_ids(self, response):
        return self.bare.encode(response) + [self.sp.eos_id()]

    def response_text(self, prompt_ids, ids):
        """Decoded behind the prompt, as a server streams it: leading spaces of the response survive."""
        before = self.sp.decode(prompt_ids)
        return self.sp.decode(prompt_ids + [i for i in ids if i != self.sp.eos_id()])[len(before):]


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]

"""Batches of examples of similar length, so that almost nothing is padding; only the response is scored."""
import random
from itertools import islice

import torch

from tokenizer import read_rows

IGNORED = -100
FRESH_POOL = 1200  # examples that are sorted by length together


def repeated(paths, tokenizer, batch_tokens, seed):
    """Endless epochs over the files, in random order; a row of weight w stands w times."""
    rng, rows = random.Random(seed), []
    for path in paths:
        for row in read_rows(path):
            rows += [encode(row["prompt"], row["response"], tokenizer)] * row["weight"]
    while True:
        rng.shuffle(rows)
        yield from arranged(rows, batch_tokens, rng)


def fresh(examples, tokenizer, batch_tokens, seed):
    """Endless examples, each used once."""
    rng = random.Random(seed)
    while True:
        yield from arranged([encode(e.prompt, e.response, tokenizer) for e in islice(examples, FRESH_POOL)], batch_tokens, rng)


def encode(prompt, response, tokenizer):
    """(ids, length of the prompt)"""
    ids = tokenizer.prompt_ids(prompt)
    return ids + tokenizer.response_ids(response), len(ids)


def arranged(rows, batch_tokens, rng):
    batches, current = [], []
    for row in sorted(rows, key=lambda row: len(row[0])):
        if current and (len(current) + 1) * len(row[0]) > batch_tokens:
            batches.append(current)
            current = []
        current.append(row)
    batches.append(current)
    rng.shuffle(batches)
    return map(collate, batches)


def collate(rows):
    """Right-padded ids (rows, length) with 0, and labels with the prompt and the padding ignored."""
    length = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORED)
    for i, (row, prompt_length) in enumerate(rows):
        ids[i, :len(row)] = torch.tensor(row)
        labels[i, prompt_length:len(row)] = ids[i, prompt_length:len(row)]
    return ids, labels

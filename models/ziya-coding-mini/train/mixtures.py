"""Compares mixtures of the weights after stages 2 and 3 on fresh training examples: the loss on responses, and the share of those
that greedy decoding would give word by word. The held-out set has no part in it."""
import random
from collections import Counter
from itertools import islice

import torch
import torch.nn.functional as F

import batches
import data
from model import Config, Llama
from train import HUMANEVAL, MODEL, STAGE2, STAGE3, load_tokenizer

SHARES = (0, 0.25, 0.5, 0.75, 1)  # of stage 3


def main():
    tokenizer, kinds = load_tokenizer(), examples()
    before, after = (torch.load(stage.checkpoint, map_location="cpu")["model"] for stage in (STAGE2, STAGE3))
    model = Llama(Config(vocab_size=tokenizer.sp.get_piece_size())).eval()
    for share in SHARES:
        model.load_state_dict({name: torch.lerp(before[name], after[name], share) for name in before})
        for kind, rows in kinds.items():
            loss, exact = measure(model, [batches.encode(e.prompt, e.response, tokenizer) for e in rows])
            print(f"{share} of stage 3, {kind}: loss {loss:.4f}, exact {exact:.1%}", flush=True)


def examples():
    rng, clean = random.Random(999), data.Decontaminator(HUMANEVAL)
    named = (e for e in data.stage1_candidates(rng) if e and e.kind == "stage1")
    return {"stage 1": data.collect(named, 300, clean, data.passes_in_process, Counter(), "stage1"),
            "stage 2": data.collect(data.stage2_candidates(rng), 150, clean, data.passes_in_process, Counter(), "stage2"),
            "stage 3": list(islice(data.fresh(HUMANEVAL, MODEL / "held-out.jsonl", 4242), 250))}


@torch.inference_mode()
def measure(model, rows):
    loss = tokens = exact = 0
    for ids, labels in batches.arranged(rows, 6000, random.Random(0)):
        targets = labels[:, 1:]
        scored = targets != batches.IGNORED
        logits = model.lm_head(model(ids[:, :-1])[scored])
        loss += F.cross_entropy(logits, targets[scored], reduction="sum").item()
        tokens += int(scored.sum())
        right = torch.ones_like(scored)
        right[scored] = logits.argmax(-1) == targets[scored]
        exact += int(right.all(1).sum())
    return loss / tokens, exact / len(rows)


if __name__ == "__main__":
    main()

"""The training loop: length-bucketed batches, response-only loss, a cosine over a fixed time budget, resume."""
import json
import math
import os
import random
import time

import torch
import torch.nn.functional as F

from model import Config, Llama
from tokenizer import read_rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IGNORED = -100
CHECKPOINT_SECONDS = 180


def train(stage, paths, tokenizer, *, minutes, lr, batch_tokens, start_from=None):
    torch.manual_seed(7)
    config = Config(vocab_size=tokenizer.sp.get_piece_size())
    model = Llama(config).to(DEVICE)
    if start_from:
        model.load_state_dict(torch.load(start_from, map_location=DEVICE)["model"])
    optimizer = make_optimizer(model, lr)
    state = resume(stage, model, optimizer)
    compiled = torch.compile(model, dynamic=True)
    batches = iterate_batches(encode_rows(paths, tokenizer), batch_tokens, seed=state["step"])
    run(stage, model, compiled, optimizer, state, batches, minutes * 60, lr)


def make_optimizer(model, lr):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)


def run(stage, model, compiled, optimizer, state, batches, budget_seconds, lr):
    """Time, not steps, drives the schedule, so that a busy machine still ends at a low rate."""
    began, before, saved, recent = time.time(), state["seconds"], time.time(), []
    while state["seconds"] < budget_seconds:
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(state["step"], state["seconds"] / budget_seconds)
        ids, labels = next(batches)
        recent.append(step(model, compiled, optimizer, ids.to(DEVICE), labels.to(DEVICE)))
        state["step"] += 1
        state["tokens"] += int((ids != 0).sum())
        state["seconds"] = before + time.time() - began
        if state["step"] % 20 == 0:
            log(stage, state, sum(recent) / len(recent), group["lr"])
            recent = []
        if time.time() - saved > CHECKPOINT_SECONDS:
            save(stage, model, optimizer, state)
            saved = time.time()
    save(stage, model, optimizer, state)


def schedule(step, progress):
    return min(1, (step + 1) / 60) * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1, progress))) / 2)


def step(model, compiled, optimizer, ids, labels):
    hidden = compiled(ids[:, :-1])
    # Only the response is scored, so only its positions pass through the head.
    targets = labels[:, 1:]
    scored = targets != IGNORED
    loss = F.cross_entropy(model.lm_head(hidden[scored]), targets[scored])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def encode_rows(paths, tokenizer):
    """Lists of (ids, prompt length); a row of weight w stands w times."""
    encoded = []
    for path in paths:
        for row in read_rows(path):
            prompt = tokenizer.prompt_ids(row["prompt"])
            encoded += [(prompt + tokenizer.response_ids(row["response"]), len(prompt))] * row["weight"]
    return encoded


def iterate_batches(rows, batch_tokens, seed):
    """Endless epochs of batches of similar length, in random order."""
    rng = random.Random(seed)
    while True:
        rng.shuffle(rows)
        pool = sorted(rows, key=lambda row: len(row[0]))
        batches, current = [], []
        for row in pool:
            if current and (len(current) + 1) * len(row[0]) > batch_tokens:
                batches.append(current)
                current = []
            current.append(row)
        batches.append(current)
        rng.shuffle(batches)
        yield from map(collate, batches)


def collate(rows):
    """Right-padded ids (rows, length) with 0, and labels with the prompt and the padding ignored."""
    length = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORED)
    for i, (row, prompt_length) in enumerate(rows):
        ids[i, :len(row)] = torch.tensor(row)
        labels[i, prompt_length:len(row)] = ids[i, prompt_length:len(row)]
    return ids, labels


def save(stage, model, optimizer, state):
    temporary = stage.checkpoint.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state}, temporary)
    os.replace(temporary, stage.checkpoint)


def resume(stage, model, optimizer):
    if not stage.checkpoint.exists():
        return {"step": 0, "tokens": 0, "seconds": 0.0}
    saved = torch.load(stage.checkpoint, map_location=DEVICE)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["state"]


def log(stage, state, loss, lr):
    row = {"step": state["step"], "tokens": state["tokens"], "seconds": round(state["seconds"], 1), "loss": round(loss, 4), "lr": lr}
    with open(stage.log, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)

"""The training loop of a stage: it ends with its minutes or its tokens, saves as it goes, and goes on from what it saved."""
import json
import os
import time

import torch
import torch.nn.functional as F

import batches
import data
import optimizers
from model import Config, Llama

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CHECKPOINT_SECONDS = 90
LOG_STEPS = 20


def train(stage, budget, tokenizer, humaneval, held_out):
    """`budget` has the minutes, tokens, lr and batch_tokens of this run."""
    torch.manual_seed(7)
    model = Llama(Config(vocab_size=tokenizer.sp.get_piece_size())).to(DEVICE)
    if stage.after:
        model.load_state_dict(torch.load(stage.after.checkpoint, map_location=DEVICE)["model"])
    optimizer = getattr(optimizers, stage.optimizer)(model, budget.lr)
    state = resume(stage, model, optimizer)
    # What was seen before an interruption does not come again in the same order.
    seed = state["step"]
    if stage.files:
        examples = batches.repeated(stage.files, tokenizer, budget.batch_tokens, seed)
    else:
        examples = batches.fresh(data.fresh(humaneval, held_out, data.SEED + 3 + seed), tokenizer, budget.batch_tokens, seed)
    run(stage, budget, model, optimizer, state, examples)


def run(stage, budget, model, optimizer, state, examples):
    """Time bounds the schedule, so that a busy machine still ends at a low rate, and tokens do on a quiet one."""
    began, before, saved, recent = time.time(), state["seconds"], time.time(), []
    schedule = getattr(optimizers, stage.schedule)
    while (progress := max(state["seconds"] / 60 / budget.minutes, state["tokens"] / budget.tokens)) < 1:
        lr = budget.lr * schedule(state["step"], progress)
        optimizer.set_rate(lr)
        ids, labels = next(examples)
        recent.append(step(model, optimizer, ids.to(DEVICE), labels.to(DEVICE)))
        state["step"] += 1
        state["tokens"] += int((ids != 0).sum())
        state["seconds"] = before + time.time() - began
        if state["step"] % LOG_STEPS == 0:
            log(stage, state, sum(recent) / len(recent), lr)
            recent = []
        if time.time() - saved > CHECKPOINT_SECONDS:
            save(stage, model, optimizer, state)
            saved = time.time()
    save(stage, model, optimizer, state)


def step(model, optimizer, ids, labels):
    hidden = model(ids[:, :-1])
    # Only the response is scored, so only its positions pass through the head.
    targets = labels[:, 1:]
    scored = targets != batches.IGNORED
    loss = F.cross_entropy(model.lm_head(hidden[scored]), targets[scored])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


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

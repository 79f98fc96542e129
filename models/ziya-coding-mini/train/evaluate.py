"""Greedy pass@1 of the exported model: on held-out.jsonl, and on HumanEval with the card's prompt.

Held-out: the code is the first ```python fence of the answer, else the whole answer; its tests run behind it.
HumanEval: the answer is appended to the prompt as it is, as the card's own evaluation does."""
import argparse
import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import load_file

from model import Cache, Config, Llama
from tokenizer import Tokenizer, read_rows
from wording import DOCSTRING_TASK

MODEL = Path(__file__).resolve().parent.parent
BATCH = 64
TEST_SECONDS = 10


def main():
    args = parse_arguments()
    model, tokenizer = load_model(MODEL), Tokenizer(MODEL / "tokenizer.model")
    if args.humaneval:
        problems = read_gzip(args.humaneval)
        prompts = [DOCSTRING_TASK + p["prompt"] for p in problems]
        answers = generate(model, tokenizer, prompts, args.max_new_tokens)
        sources = [p["prompt"] + a + "\n" + p["test"] + f"\ncheck({p['entry_point']})" for p, a in zip(problems, answers)]
        rows = [{"id": p["task_id"], "group": "humaneval"} for p in problems]
    else:
        rows = read_rows(MODEL / "held-out.jsonl")
        answers = generate(model, tokenizer, [row["prompt"] for row in rows], args.max_new_tokens)
        sources = [extract_code(answer) + "\n" + row["tests"] for row, answer in zip(rows, answers)]
    report(rows, answers, run_all(sources), args)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--humaneval", type=Path, help="HumanEval.jsonl.gz; without it the held-out set is measured")
    parser.add_argument("--max-new-tokens", type=int, default=384)
    parser.add_argument("--failures", type=Path, help="write the failed answers here")
    return parser.parse_args()


def load_model(folder):
    config = json.loads((folder / "config.json").read_text())
    model = Llama(Config(**{name: config[name] for name in Config.__dataclass_fields__}))
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()})
    return model.eval()


@torch.inference_mode()
def generate(model, tokenizer, prompts, max_new_tokens):
    """Greedy answers, in batches of prompts of similar length."""
    encoded = [tokenizer.prompt_ids(prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    answers = [None] * len(prompts)
    for start in range(0, len(order), BATCH):
        batch = order[start:start + BATCH]
        for i, ids in zip(batch, decode([encoded[i] for i in batch], model, max_new_tokens)):
            answers[i] = tokenizer.response_text(encoded[i], ids)
    return answers


def decode(prompts, model, max_new_tokens):
    """Left padding lets all rows grow at the same column; a row that has ended leaves the batch."""
    length = max(map(len, prompts))
    max_new_tokens = min(max_new_tokens, model.config.max_position_embeddings - length)
    ids = torch.tensor([[0] * (length - len(p)) + p for p in prompts])
    real = torch.tensor([[False] * (length - len(p)) + [True] * len(p) for p in prompts])
    positions = (real.cumsum(1) - 1).clamp(min=0)[:, None]
    causal = torch.ones(length, length).tril().bool()
    # Padding sees itself, because a row of scores without any key has no softmax.
    mask = (causal & real[:, None, None]) | torch.eye(length).bool()
    cache, rows, outputs = Cache(), list(range(len(prompts))), [[] for _ in prompts]
    for _ in range(max_new_tokens):
        following = model.lm_head(model(ids, positions, cache, mask)[:, -1]).argmax(-1)
        alive = (following != 2).nonzero()[:, 0]
        rows, following = [rows[i] for i in alive.tolist()], following[alive]
        if not rows:
            break
        for row, token in zip(rows, following.tolist()):
            outputs[row].append(token)
        cache.select(alive)
        real = torch.cat((real[alive], torch.ones(len(rows), 1, dtype=torch.bool)), 1)
        ids, positions, mask = following[:, None], positions[alive, :, -1:] + 1, real[:, None, None]
    return outputs


def extract_code(answer):
    fence = re.search(r"```python\n(.*?)```", answer, re.DOTALL)
    return fence.group(1) if fence else answer


def run_all(sources):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(passes, sources))


def passes(source):
    """Generated code runs in a process of its own, isolated from the environment, with a time limit."""
    try:
        done = subprocess.run([sys.executable, "-I", "-"], input=source, text=True, capture_output=True, timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def report(rows, answers, verdicts, args):
    passed, total = Counter(), Counter()
    for row, verdict in zip(rows, verdicts):
        for group in groups_of(row):
            total[group] += 1
            passed[group] += verdict
    for group in total:
        print(f"{group}: {passed[group]} of {total[group]} = {passed[group] / total[group]:.1%}")
    if args.failures:
        failed = [row | {"answer": answer} for row, answer, verdict in zip(rows, answers, verdicts) if not verdict]
        args.failures.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in failed))


def groups_of(row):
    if "group" in row:
        return [row["group"]]
    kind = row["id"].rsplit("-", 1)[1]
    return ["total", row["lang"], "stage-1 kinds" if kind == "stage1" else "stage-2 kinds"]


def read_gzip(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    main()

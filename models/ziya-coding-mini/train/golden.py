"""Writes test/vectors/ziya-coding-mini.json: what transformers computes in fp32 from the exported weights."""
import argparse
import json
from pathlib import Path

import sentencepiece as spm
import torch
from transformers import LlamaForCausalLM

from evaluate import MODEL, read_gzip
from tokenizer import PROMPT, read_rows
from wording import DOCSTRING_TASK

VECTORS = MODEL.parent.parent / "test" / "vectors" / "ziya-coding-mini.json"
NEW_TOKENS, TOP = 64, 20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--humaneval", type=Path, required=True)
    args = parser.parse_args()
    sp = spm.SentencePieceProcessor(model_file=str(MODEL / "tokenizer.model"))
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    cases = [case(model, sp, prompt) for prompt in prompts(args.humaneval)]
    VECTORS.parent.mkdir(parents=True, exist_ok=True)
    VECTORS.write_text(json.dumps({"source": "models/ziya-coding-mini/train/golden.py, transformers fp32 on CPU", "cases": cases},
                                  ensure_ascii=False) + "\n")


def prompts(humaneval):
    rows = read_rows(MODEL / "held-out.jsonl")
    chinese, english = ([row["prompt"] for row in rows if row["lang"] == lang] for lang in ("zh", "en"))
    return [*english[:2], *chinese[:2], "写一段快速排序", DOCSTRING_TASK + read_gzip(humaneval)[0]["prompt"],
            "", "  \n\t🙂 ćode?  <s></s>\n"]


@torch.inference_mode()
def case(model, sp, prompt):
    """`greedy` ends early only at </s>, which it then includes."""
    ids = [sp.bos_id()] + sp.encode(PROMPT.format(prompt=prompt))
    greedy, past, logits = [], None, None
    feed = torch.tensor([ids])
    while len(greedy) < NEW_TOKENS and sp.eos_id() not in greedy:
        out = model(feed, past_key_values=past, use_cache=True)
        past = out.past_key_values
        logits = out.logits[0, -1] if logits is None else logits
        greedy.append(int(out.logits[0, -1].argmax()))
        feed = torch.tensor([[greedy[-1]]])
    top = logits.topk(TOP)
    return {"prompt": prompt, "ids": ids, "greedy": greedy,
            "first_logits": {"ids": top.indices.tolist(), "values": [round(v, 5) for v in top.values.tolist()]}}


if __name__ == "__main__":
    main()

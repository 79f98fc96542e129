"""The 34B's shape through transformers, as the model card's snippet runs it: random weights, greedy, one sequence."""

import json
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

config = LlamaConfig(vocab_size=32000, hidden_size=8192, intermediate_size=22016, num_hidden_layers=48, num_attention_heads=64,
                     num_key_value_heads=8, max_position_embeddings=16384, rope_theta=1e6)
torch.set_default_dtype(torch.float16)
with torch.device('cuda'):
    model = LlamaForCausalLM(config).eval()
prompt = torch.randint(3, 32000, (1, 512), device='cuda')


def seconds(tokens):
    torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.no_grad():
        model.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
    torch.cuda.synchronize()
    return time.perf_counter() - start


seconds(2)
short, long = seconds(2), seconds(34)
print(json.dumps({'part': 'transformers', 'sequences': 1, 'context': 512, 'tok_per_s': round(32 / (long - short), 1)}))

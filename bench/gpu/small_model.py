"""A small random model of CodeLlama's shape, in fp16, through gpu-bench and through transformers in fp32.
usage: small_model.py GPU_BENCH FOLDER

Passes where the logits after each prompt are within 2e-2 relative L2, and each greedy token is the one transformers would
take, or one whose logit is the highest by less than fp16 can tell."""

import json
import os
import subprocess
import sys

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

PROMPTS, LOGITS_L2_MAX, GAP_MAX = 20, 2e-2, 1e-2
program, folder = sys.argv[1:]
device = 'cuda' if torch.cuda.is_available() else 'cpu'
hidden = int(os.environ.get('HIDDEN', 1024))

torch.manual_seed(1)
config = LlamaConfig(vocab_size=32000, hidden_size=hidden, intermediate_size=hidden * 43 // 16, num_hidden_layers=4,
                     num_attention_heads=8, num_key_value_heads=1, head_dim=128, max_position_embeddings=1024, rope_theta=1e6,
                     rms_norm_eps=1e-5, initializer_range=0.05)
model = LlamaForCausalLM(config).half().eval()
model.save_pretrained(folder, max_shard_size='8GB')
model = model.float().to(device)
prompts = [torch.randint(3, 32000, (length,)).tolist() for length in np.linspace(1, 200, PROMPTS, dtype=int)]
with open(f'{folder}/prompts.txt', 'w') as file:
    file.writelines(' '.join(map(str, prompt)) + '\n' for prompt in prompts)

output = subprocess.run([program, 'ids', folder], capture_output=True, text=True, check=True).stdout
got_logits = np.fromfile(f'{folder}/logits.f32', dtype=np.float32).reshape(PROMPTS, -1)
equal, total, worst_gap, worst_l2 = 0, 0, 0.0, 0.0
for prompt, line, got in zip(prompts, output.splitlines(), got_logits, strict=True):
    ids = list(map(int, line.split()))
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids], device=device)).logits[0, len(prompt) - 1:-1].cpu()
    highest = logits.max(dim=1).values
    gaps = (highest - logits[torch.arange(len(ids)), torch.tensor(ids)]) / highest.abs().clamp(min=1)
    equal += int((gaps == 0).sum())
    total += len(ids)
    worst_gap = max(worst_gap, gaps.max().item())
    worst_l2 = max(worst_l2, (np.linalg.norm(got - logits[0].numpy()) / np.linalg.norm(logits[0].numpy())).item())
print(json.dumps({'part': 'small', 'prompts': PROMPTS, 'tokens': total, 'equal': equal, 'worst_gap': round(worst_gap, 5),
                  'logits_relative_l2': round(worst_l2, 5)}))
sys.exit(worst_l2 > LOGITS_L2_MAX or worst_gap > GAP_MAX)

"""What Hugging Face transformers computes, in fp32 on a CPU, with small random Llamas that judge answers: `model` is a LlamaModel, and
`value_head` a Linear(hidden, 1) with a bias on the normed state of the last token, as LlamaRewardModel of Ziya-LLaMA-7B-Reward has it.

    pip install torch==2.13.* transformers==5.18.* numpy
    python test/vectors/make_reward_vectors.py test/vectors/llama-reward.json

The weights are those of make_llama_vectors.py's `values`, so that a test remakes them.
"""

import json
import random
import sys

import torch
import transformers
from make_llama_vectors import DEFAULTS, values
from transformers import LlamaConfig, LlamaModel

SEQUENCES = 24
CONFIGURATIONS = [
    ("every head has its own keys", "safetensors", "F16", 1, dict(
        vocab_size=320, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4)),
    ("deep, keys are shared", "bin", "BF16", 2, dict(
        vocab_size=512, hidden_size=96, intermediate_size=256, num_hidden_layers=8, num_attention_heads=6, num_key_value_heads=2,
        rope_theta=1000000.0)),
    ("heads of 128 values", "bin", "F32", 1, dict(
        vocab_size=700, hidden_size=256, intermediate_size=300, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        head_dim=128)),
]


@torch.no_grad()
def scores_of(name, config, sequences):
    hf = {key: value for key, value in config.items() if key not in ("rope_theta", "architectures", "model_type")}
    rope = dict(rope_theta=config["rope_theta"], rope_type="default")
    model = LlamaModel(LlamaConfig(**hf, rope_parameters=rope, attn_implementation="eager")).float().eval()
    model.load_state_dict({key: torch.from_numpy(values(f"model.{key}", tuple(t.shape), name)) for key, t in model.state_dict().items()})
    weight = torch.from_numpy(values("value_head.weight", (1, config["hidden_size"]), name))
    bias = torch.from_numpy(values("value_head.bias", (1,), name))
    states = [model(torch.tensor([tokens])).last_hidden_state[0, -1] for tokens in sequences]
    return [float(weight[0] @ state + bias[0]) for state in states]


def main():
    torch.set_num_threads(1)
    configurations = []
    for name, format, dtype, shards, changes in CONFIGURATIONS:
        config = {**DEFAULTS, **changes, "architectures": ["LlamaRewardModel"], "model_type": "llama"}
        rng = random.Random(name)
        sequences = [[rng.randrange(config["vocab_size"]) for _ in range(rng.choice([1, 2, 15, 16, 17, 40, 90]))] for _ in range(SEQUENCES)]
        cases = [{"tokens": tokens, "score": score} for tokens, score in zip(sequences, scores_of(name, config, sequences))]
        print(name, min(case["score"] for case in cases), max(case["score"] for case in cases))
        configurations.append({"name": name, "format": format, "dtype": dtype, "shards": shards, "config": config, "cases": cases})
    made_by = f"make_reward_vectors.py, transformers {transformers.__version__}, torch {torch.__version__}"
    with open(sys.argv[1], "w") as out:
        json.dump({"made_by": made_by, "configurations": configurations}, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()

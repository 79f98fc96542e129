"""What Hugging Face transformers computes, in fp32 on a CPU, with small random networks of GPTBigCode.

    pip install torch==2.13.* transformers==5.18.* numpy
    python test/vectors/make_gpt_bigcode_vectors.py test/vectors/gpt-bigcode.json

The file is as that of make_llama_vectors.py, and so are the weights.
"""

import sys

from make_llama_vectors import filled, write
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

# (name, format, dtype, shards, config)
CONFIGURATIONS = [
    ("as many heads as StarCoder", "safetensors", "F16", 1, dict(
        vocab_size=4915, n_embd=96, n_head=48, n_layer=2)),
    ("heads of 128 values, a narrow inner layer", "bin", "BF16", 3, dict(
        vocab_size=640, n_embd=256, n_head=2, n_layer=2, n_inner=300, activation_function="gelu_new")),
    ("deep, a head of its own", "safetensors", "F32", 2, dict(
        vocab_size=777, n_embd=60, n_head=6, n_layer=9, tie_word_embeddings=False, layer_norm_epsilon=1e-6)),
    ("one head, an odd vocabulary", "bin", "F16", 2, dict(
        vocab_size=1331, n_embd=50, n_head=1, n_layer=4, n_inner=177, activation_function="gelu_fast", tie_word_embeddings=False)),
    ("eight heads, one shard", "bin", "F32", 1, dict(
        vocab_size=2513, n_embd=128, n_head=8, n_layer=3)),
    ("the exact GELU, as StarCoder has it", "safetensors", "F16", 1, dict(
        vocab_size=1029, n_embd=96, n_head=12, n_layer=3, activation_function="gelu")),
]
DEFAULTS = dict(
    architectures=["GPTBigCodeForCausalLM"], model_type="gpt_bigcode", n_positions=256, activation_function="gelu_pytorch_tanh",
    multi_query=True, layer_norm_epsilon=1e-5, tie_word_embeddings=True, n_inner=None, bos_token_id=0, eos_token_id=None)


def model_of(config, seed):
    hf = {key: value for key, value in config.items() if key != "model_type"}
    model = GPTBigCodeForCausalLM(GPTBigCodeConfig(**hf, attn_implementation="eager")).float().eval()
    return filled(model, config, seed)


if __name__ == "__main__":
    write(sys.argv[1], "make_gpt_bigcode_vectors.py", CONFIGURATIONS, DEFAULTS, model_of)

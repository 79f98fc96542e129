"""What Hugging Face transformers computes, in fp32 on a CPU, with small random Llamas that differ in everything a config can say.

    pip install torch==2.13.* transformers==5.18.* numpy
    python test/vectors/make_llama_vectors.py test/vectors/llama.json

For each configuration: prompts with the 64 ids that greedy decoding adds, and logits after three of the sequences. The weights are
not in the file: value i of the tensor `name` is a hash of i and the name (see `values`), so that a test remakes them. All are
multiples of a power of two by less than 2^8, exact in fp16, bf16 and fp32.

The engine keeps keys and values in fp16, so two tokens whose logits are nearly equal may change places. Prompts on whose way
the best two logits ever come closer than MARGIN standard deviations of the logits are left out; `margin` tells the closest of those kept.
"""

import base64
import json
import random
import sys

import numpy
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

PROMPTS = 20
NEW_TOKENS = 64
LENGTHS = [1, 5, 17, 40]
CANDIDATES = 64
MARGIN = 0.01
LOGITS_MAX = 512

# (name, format, dtype, shards, config)
CONFIGURATIONS = [
    ("every head has its own keys", "safetensors", "F16", 1, dict(
        vocab_size=320, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4)),
    ("three heads share their keys, theta of a million", "safetensors", "BF16", 3, dict(
        vocab_size=512, hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
        rope_theta=1000000.0)),
    ("all heads share their keys, heads wider than the model, tied", "bin", "F32", 1, dict(
        vocab_size=1000, hidden_size=128, intermediate_size=200, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=1,
        head_dim=32, rope_theta=500000.0, tie_word_embeddings=True)),
    ("positions scaled by four", "bin", "F16", 2, dict(
        vocab_size=400, hidden_size=128, intermediate_size=320, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        rope_scaling=dict(type="linear", factor=4.0))),
    ("the vocabulary of Ziya-LLaMA-13B", "bin", "BF16", 3, dict(
        vocab_size=39424, hidden_size=40, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4)),
    ("deep and tied, an odd vocabulary", "safetensors", "F32", 2, dict(
        vocab_size=777, hidden_size=48, intermediate_size=100, num_hidden_layers=12, num_attention_heads=3, num_key_value_heads=1,
        tie_word_embeddings=True)),
    ("the head size and theta of CodeLlama-34B", "safetensors", "F16", 1, dict(
        vocab_size=640, hidden_size=256, intermediate_size=688, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2,
        head_dim=128, rope_theta=1000000.0)),
    ("heads of ten values", "bin", "F16", 1, dict(
        vocab_size=331, hidden_size=50, intermediate_size=77, num_hidden_layers=4, num_attention_heads=5, num_key_value_heads=5,
        rope_theta=100000.0, rope_scaling=dict(type="linear", factor=2.0))),
    ("biases in attention and MLP, tied, as in Granite's code models", "safetensors", "BF16", 2, dict(
        vocab_size=490, hidden_size=80, intermediate_size=208, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        rope_theta=10000000.0, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    ("biases in attention alone", "bin", "F16", 1, dict(
        vocab_size=300, hidden_size=72, intermediate_size=130, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3,
        attention_bias=True)),
    ("positions scaled as in Llama 3.1, a fourth of the context from before", "safetensors", "F32", 1, dict(
        vocab_size=350, hidden_size=96, intermediate_size=224, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        rope_theta=500000.0, rope_scaling=dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64))),
]
DEFAULTS = dict(
    architectures=["LlamaForCausalLM"], max_position_embeddings=256, rope_theta=10000.0, rms_norm_eps=1e-5,
    tie_word_embeddings=False, bos_token_id=1, eos_token_id=None)


def hashes(count, key):
    """32 bits for each counter, by a finalizer of two multiplications (Chris Wellons' lowbias32)."""
    x = (numpy.arange(count, dtype=numpy.uint64) * 0x9E3779B9 + key).astype(numpy.uint32)
    for shift, factor in [(16, 0x7FEB352D), (15, 0x846CA68B)]:
        x ^= x >> numpy.uint32(shift)
        x = (x.astype(numpy.uint64) * factor).astype(numpy.uint32)
    return x ^ (x >> numpy.uint32(16))


def fnv1a(text):
    key = 0x811C9DC5
    for byte in text.encode():
        key = (key ^ byte) * 0x01000193 & 0xFFFFFFFF
    return key


def values(name, shape, seed):
    """A norm is 1 + k / 128, a bias k / 512, a matrix k / 2^e, so that a row of it keeps the size of what it is multiplied with; |k| < 128."""
    raw = hashes(int(numpy.prod(shape)), fnv1a(f"{seed}:{name}"))
    if len(shape) == 1:
        k = (raw % 63).astype(numpy.float32) - 31
        return (k / 512 if name.endswith(".bias") else 1 + k / 128).reshape(shape)
    exponent = round(numpy.log2(73.6 * numpy.sqrt(shape[1])))
    return (((raw % 255).astype(numpy.float32) - 127) / 2**exponent).reshape(shape)


def model_of(config, seed):
    hf = {k: v for k, v in config.items() if k not in ("rope_theta", "rope_scaling")}
    scaling = dict(config.get("rope_scaling") or dict(type="default"))
    rope = dict(rope_theta=config["rope_theta"], rope_type=scaling.pop("type", None) or scaling.pop("rope_type"), **scaling)
    model = LlamaForCausalLM(LlamaConfig(**hf, rope_parameters=rope, attn_implementation="eager")).float().eval()
    return filled(model, config, seed)


def filled(model, config, seed):
    state = {name: torch.from_numpy(values(name, tuple(t.shape), seed)) for name, t in model.state_dict().items()
             if not (config["tie_word_embeddings"] and name == "lm_head.weight")}
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert missing == (["lm_head.weight"] if config["tie_word_embeddings"] else []), missing
    model.tie_weights()
    return model


@torch.no_grad()
def continue_greedily(model, prompts):
    """The new ids (prompts, NEW_TOKENS), and how close the best two logits came, for each of the prompts."""
    closest = torch.full((len(prompts),), float("inf"))
    tokens, cache, out = torch.tensor(prompts), None, []
    for _ in range(NEW_TOKENS):
        answer = model(tokens, past_key_values=cache, use_cache=True)
        cache, logits = answer.past_key_values, answer.logits[:, -1]
        best = logits.topk(2).values
        closest = torch.minimum(closest, (best[:, 0] - best[:, 1]) / logits.std(dim=1))
        tokens = logits.argmax(dim=1, keepdim=True)
        out.append(tokens)
    return torch.cat(out, dim=1).tolist(), closest.tolist()


@torch.no_grad()
def logits_after(model, tokens):
    logits = model(torch.tensor([tokens])).logits[0, -1].numpy()
    every = -(-len(logits) // LOGITS_MAX)
    return {"tokens": tokens, "every": every, "logits": base64.b64encode(logits[::every].astype("<f4").tobytes()).decode()}


def vectors_of(name, format, dtype, shards, config, model):
    rng, cases, tried = random.Random(name), [], 0
    for length in LENGTHS:
        kept = []
        while len(kept) < PROMPTS // len(LENGTHS):
            prompts = [[rng.randrange(config["vocab_size"]) for _ in range(length)] for _ in range(CANDIDATES)]
            tried += CANDIDATES
            assert tried < 100 * CANDIDATES, "too many prompts come close to a tie"
            for prompt, ids, margin in zip(prompts, *continue_greedily(model, prompts)):
                if margin >= MARGIN:
                    kept.append({"prompt": prompt, "ids": ids, "margin": margin})
        cases += kept[: PROMPTS // len(LENGTHS)]
    margin = min(case.pop("margin") for case in cases)
    distinct = len({id for case in cases for id in case["ids"]})
    print(f"{name}: {tried} prompts tried, margin {margin:.4f}, {distinct} different ids")
    assert distinct > 40, "the model only repeats itself"
    sequences = [cases[0]["prompt"], cases[-1]["prompt"], cases[-1]["prompt"] + cases[-1]["ids"]]
    return {"name": name, "format": format, "dtype": dtype, "shards": shards, "config": config, "margin": round(margin, 5),
            "cases": cases, "logits": [logits_after(model, tokens) for tokens in sequences]}


def write(path, script, configurations, defaults, model_of):
    torch.set_num_threads(1)
    vectors = {"made_by": f"{script}, transformers {transformers.__version__}, torch {torch.__version__}", "configurations": []}
    for name, format, dtype, shards, changes in configurations:
        config = {**defaults, **changes}
        vectors["configurations"].append(vectors_of(name, format, dtype, shards, config, model_of(config, name)))
    with open(path, "w") as out:
        json.dump(vectors, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    write(sys.argv[1], "make_llama_vectors.py", CONFIGURATIONS, DEFAULTS, model_of)

"""What Hugging Face transformers and PEFT compute, in fp32 on a CPU, with small random networks and eight LoRA adapters over each.

    pip install torch==2.13.* transformers==5.18.* peft==0.21.* numpy
    python test/vectors/make_lora_vectors.py test/vectors/lora.json

An adapter is written by PEFT and read again by it, so its config is one as it is published, and `tensors` are the names and shapes of its
file. The weights of networks and adapters are those of make_llama_vectors.py's `values`, so that a test remakes them; so is what is left out.
"""

import json
import random
import sys
import tempfile
from pathlib import Path

import make_gpt_bigcode_vectors
import make_llama_vectors
import peft
import torch
import transformers
from make_llama_vectors import CANDIDATES, MARGIN, continue_greedily, values
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

CASES = 2
LENGTHS = [3, 19]

LLAMA = ("a Llama with adapters", "safetensors", "BF16", 1, dict(
    vocab_size=512, hidden_size=96, intermediate_size=200, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2))
GPT_BIGCODE = ("a GPTBigCode with adapters", "safetensors", "F16", 1, dict(vocab_size=640, n_embd=96, n_head=6, n_layer=3, n_inner=200))

# (name, format, dtype, what LoraConfig is given)
LLAMA_ADAPTERS = [
    ("queries and values", "safetensors", "F16", dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
    ("all linear", "safetensors", "F32", dict(r=4, lora_alpha=4, target_modules="all-linear", lora_dropout=0.1)),
    ("a pattern, stable ranks", "bin", "BF16", dict(
        r=16, lora_alpha=6, use_rslora=True, target_modules=r".*\.layers\.\d+\.(self_attn\.(q|o)|mlp\.down)_proj")),
    ("patterns of ranks and scales", "safetensors", "F16", dict(
        r=6, lora_alpha=9, target_modules=["gate_proj", "up_proj", "down_proj"], rank_pattern={"up_proj": 3, r"layers\.2\.mlp\.down_proj": 11},
        alpha_pattern={r"1\.mlp\.gate_proj": 2.5})),
    ("one layer", "safetensors", "F32", dict(r=5, lora_alpha=10, target_modules=["k_proj", "v_proj"], layers_to_transform=[1])),
    ("all but some", "safetensors", "BF16", dict(r=1, lora_alpha=1, target_modules="all-linear", exclude_modules=["q_proj", "up_proj"])),
    ("an odd rank", "bin", "F16", dict(r=33, lora_alpha=30, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], init_lora_weights="gaussian")),
    ("layers of a name", "safetensors", "F16", dict(
        r=64, lora_alpha=70, target_modules=["gate_proj"], layers_to_transform=[0, 2], layers_pattern="layers")),
]
GPT_BIGCODE_ADAPTERS = [
    ("attention", "safetensors", "F16", dict(r=8, lora_alpha=16, target_modules=["c_attn"])),
    ("all linear", "safetensors", "F32", dict(r=4, lora_alpha=4, target_modules="all-linear")),
    ("both projections", "bin", "BF16", dict(r=16, lora_alpha=20, target_modules=["c_proj"], fan_in_fan_out=True)),
    ("one of them", "safetensors", "F16", dict(r=7, lora_alpha=9, target_modules=["attn.c_proj", "c_fc"])),
    ("one layer", "safetensors", "F32", dict(r=5, lora_alpha=10, target_modules=["c_attn", "c_fc"], layers_to_transform=2)),
    ("all but some", "safetensors", "BF16", dict(r=2, lora_alpha=3, target_modules="all-linear", exclude_modules=r".*\.1\..*")),
    ("an odd rank", "bin", "F16", dict(r=17, lora_alpha=20, target_modules=["c_fc", "mlp.c_proj"], rank_pattern={"c_fc": 9})),
    ("stable ranks", "safetensors", "F16", dict(r=64, lora_alpha=8, use_rslora=True, target_modules=["c_attn", "c_proj", "c_fc"])),
]


def adapted(base, name, seed, config, folder):
    """The base with an adapter that was read from a folder, that folder's config, and the names and shapes of its tensors."""
    get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config)).save_pretrained(folder)
    file = Path(folder) / "adapter_model.safetensors"
    shapes = {key: list(tensor.shape) for key, tensor in sorted(load_file(file).items())}
    save_file({key: torch.from_numpy(values(key, tuple(shape), f"{seed}:{name}")) for key, shape in shapes.items()}, file)
    return shapes, json.loads((Path(folder) / "adapter_config.json").read_text())


def cases_of(model, vocab_size, seed):
    rng, cases = random.Random(seed), []
    for length in LENGTHS:
        kept = []
        for _ in range(100):
            prompts = [[rng.randrange(vocab_size) for _ in range(length)] for _ in range(CANDIDATES)]
            kept += [{"prompt": prompt, "ids": ids} for prompt, ids, margin in zip(prompts, *continue_greedily(model, prompts)) if margin >= MARGIN]
            if len(kept) >= CASES // len(LENGTHS):
                break
        assert kept, "every prompt comes close to a tie"
        cases += kept[: CASES // len(LENGTHS)]
    return cases


def vectors_of(configuration, defaults, model_of, adapters):
    name, format, dtype, shards, changes = configuration
    config = {**defaults, **changes}
    network = {"name": name, "format": format, "dtype": dtype, "shards": shards, "config": config,
               "cases": cases_of(model_of(config, name), config["vocab_size"], name), "adapters": []}
    for adapter, own_format, own_dtype, given in adapters:
        with tempfile.TemporaryDirectory() as folder:
            shapes, written = adapted(model_of(config, name), adapter, name, given, folder)
            model = PeftModel.from_pretrained(model_of(config, name), folder).eval()
            cases = cases_of(model, config["vocab_size"], name)
        print(name, "/", adapter, len(shapes), "tensors")
        network["adapters"].append({"name": adapter, "format": own_format, "dtype": own_dtype, "config": written, "tensors": shapes, "cases": cases})
    answers = {json.dumps(each["cases"][0]["ids"]) for each in network["adapters"]}
    assert len(answers) == len(adapters), "two adapters say the same"
    return network


def main():
    torch.set_num_threads(1)
    made_by = f"make_lora_vectors.py, transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}"
    networks = [vectors_of(LLAMA, make_llama_vectors.DEFAULTS, make_llama_vectors.model_of, LLAMA_ADAPTERS),
                vectors_of(GPT_BIGCODE, make_gpt_bigcode_vectors.DEFAULTS, make_gpt_bigcode_vectors.model_of, GPT_BIGCODE_ADAPTERS)]
    with open(sys.argv[1], "w") as out:
        json.dump({"made_by": made_by, "configurations": networks}, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()

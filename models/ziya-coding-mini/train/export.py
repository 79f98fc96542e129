"""Writes the model folder in the shape its big brother ships in: Hugging Face names, fp16 safetensors."""
import json
import os

import torch
from safetensors.torch import save_file

from model import Config

GENERATION = {"bos_token_id": 1, "eos_token_id": 2, "do_sample": True, "max_new_tokens": 512, "repetition_penalty": 1.0,
              "temperature": 1.0, "top_p": 0.85}
TOKENIZER = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>",
             "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None, "legacy": True, "use_fast": False,
             "clean_up_tokenization_spaces": False, "model_max_length": 1024, "sp_model_kwargs": {}}


def export(checkpoint, folder, tokenizer):
    weights = torch.load(checkpoint, map_location="cpu")["model"]
    config = Config(vocab_size=tokenizer.sp.get_piece_size()).hugging_face()
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", GENERATION)
    write_json(folder / "tokenizer_config.json", TOKENIZER)
    # A reader never sees half a file: written beside, then renamed.
    temporary = folder / "model.safetensors.tmp"
    save_file({name: tensor.half().contiguous() for name, tensor in weights.items()}, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)  # safetensors writes for the owner only
    os.replace(temporary, folder / "model.safetensors")


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")

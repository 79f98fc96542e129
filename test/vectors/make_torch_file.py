"""A file as torch.save writes it today, and what it holds.

    pip install torch==2.13.* numpy
    python test/vectors/make_torch_file.py test/vectors/torch-state-dict

Writes OUT.bin (a module's own state_dict with its _metadata; then a tied tensor, a slice of a storage, a parameter, each type) and
OUT.json: dtype, shape and the bytes of every tensor, in hexadecimal.
"""

import json
import sys

import torch

torch.manual_seed(1)
out = sys.argv[1]
module = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False), torch.nn.LayerNorm(3)).half()
state = module.state_dict()
base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
state["tied"] = state["0.weight"]
state["whole"] = base
state["slice"] = base[1:3]
state["parameter"] = torch.nn.Parameter(base[3:4].clone())
state["bf16"] = base[:2].to(torch.bfloat16)
state["scalar"] = torch.tensor(0.5)
state["column"] = base[2:3].t()  # one value a row: contiguous whatever its strides say
torch.save(state, out + ".bin")

DTYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
as_bytes = lambda tensor: bytes(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()).hex()
tensors = {name: {"dtype": DTYPES[t.dtype], "shape": list(t.shape), "bytes": as_bytes(t)} for name, t in state.items()}
with open(out + ".json", "w") as file:
    json.dump({"made_by": f"make_torch_file.py, torch {torch.__version__}", "tensors": tensors}, file, separators=(",", ":"))
    file.write("\n")

"""The same products by cuBLASLt, through torch, on random data: what gpu-bench gemm stands beside."""

import json

import torch

SHAPES = {'qkv': (10240, 8192), 'attention_out': (8192, 8192), 'gate_up': (44032, 8192), 'down': (8192, 22016), 'logits': (32000, 8192)}
ROUNDS = 20

if hasattr(torch.backends.cuda, 'preferred_blas_library'):  # else torch takes cuBLAS's own for products without a bias
    torch.backends.cuda.preferred_blas_library('cublaslt')

for name, (outputs, inputs) in SHAPES.items():
    # Several copies, so that the weights come from memory and not from the cache.
    weights = [torch.randn(outputs, inputs, device='cuda', dtype=torch.float16) * 0.02 for _ in range(2)]
    for rows in (1, 8, 16, 32, 64, 128, 256, 2048):
        x = torch.randn(rows, inputs, device='cuda', dtype=torch.float16)
        for weight in weights:
            x @ weight.T
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for i in range(ROUNDS):
            x @ weights[i % 2].T
        end.record()
        end.synchronize()
        us = begin.elapsed_time(end) * 1e3 / ROUNDS
        weight_bytes = 2 * outputs * inputs
        print(json.dumps({'part': 'cublas', 'what': name, 'rows': rows, 'us': round(us, 1),
                          'weights_tb_per_s': round(weight_bytes / us * 1e-6, 3),
                          'tflops': round(weight_bytes * rows / us * 1e-6, 1)}), flush=True)

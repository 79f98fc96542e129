"""A LLaMA decoder with Hugging Face's tensor names: small, plain, and with a KV cache for evaluation."""
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    vocab_size: int = 2560
    hidden_size: int = 256
    num_hidden_layers: int = 5
    num_attention_heads: int = 8
    num_key_value_heads: int = 2
    intermediate_size: int = 640
    max_position_embeddings: int = 1024
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = False

    @property
    def head_size(self):
        return self.hidden_size // self.num_attention_heads

    def hugging_face(self):
        return asdict(self) | {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False,
            "mlp_bias": False, "attention_dropout": 0.0, "head_dim": self.head_size, "bos_token_id": 1, "eos_token_id": 2,
            "pretraining_tp": 1, "initializer_range": 0.02, "rope_scaling": None, "torch_dtype": "float16", "use_cache": True}


class RMSNorm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.kv_heads, self.size = config.num_attention_heads, config.num_key_value_heads, config.head_size
        hidden, kv = config.hidden_size, config.num_key_value_heads * config.head_size
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, kv, bias=False)
        self.v_proj = nn.Linear(hidden, kv, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x, rotation, past, mask):
        batch, length, _ = x.shape
        q = rotate(self.q_proj(x).view(batch, length, self.heads, self.size).transpose(1, 2), rotation)
        k = rotate(self.k_proj(x).view(batch, length, self.kv_heads, self.size).transpose(1, 2), rotation)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.size).transpose(1, 2)
        if past is not None:
            k, v = past.extend(self, k, v)
        groups = self.heads // self.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


def rotate(x, rotation):
    """x (batch, heads, length, size); the halves of a head are the pairs that turn, as in Hugging Face."""
    cos, sin = rotation
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn, self.mlp = Attention(config), MLP(config)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(config), RMSNorm(config)

    def forward(self, x, rotation, past, mask):
        x = x + self.self_attn(self.input_layernorm(x), rotation, past, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config)


class Llama(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.apply(initialise)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, ids, positions=None, past=None, mask=None):
        """ids (batch, length) -> final hidden states (batch, length, hidden), before the head."""
        positions = torch.arange(ids.shape[1], device=ids.device) if positions is None else positions
        rotation = self.rotation(positions)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, rotation, past, mask)
        return self.model.norm(x)

    def rotation(self, positions):
        """positions (length) or (batch, 1, length) -> cos and sin (..., length, size / 2)."""
        size = self.config.head_size
        frequencies = self.config.rope_theta ** (-torch.arange(0, size, 2, device=positions.device) / size)
        angles = positions[..., None].float() * frequencies
        return angles.cos(), angles.sin()


class Cache:
    """Keys and values of all layers for a left-padded batch."""

    def __init__(self):
        self.kept = {}

    def extend(self, layer, k, v):
        if layer in self.kept:
            old_k, old_v = self.kept[layer]
            k, v = torch.cat((old_k, k), 2), torch.cat((old_v, v), 2)
        self.kept[layer] = k, v
        return k, v

    def select(self, rows):
        self.kept = {layer: (k[rows], v[rows]) for layer, (k, v) in self.kept.items()}


def initialise(module):
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)

"""What turns gradients into steps, and how large the steps are in the course of a stage (`progress` from 0 to 1)."""
import math

import torch


def adamw(model, lr):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return Optimizers([torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)])


def muon(model, lr):
    """Muon for the matrices of the layers; AdamW for the embedding, the head and the norms, of which Muon says nothing."""
    hidden = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if all(p is not h for h in hidden)]
    return Optimizers([torch.optim.Muon(hidden, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
                       torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)])


def cosine(step, progress):
    return min(1, (step + 1) / 60) * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1, progress))) / 2)


def steady_then_falling(step, progress):
    """Until the fall begins nothing depends on how long the stage is: a stage that is resumed with a smaller budget ends well."""
    return min(1, (step + 1) / 30, (1 - progress) / 0.45)


class Optimizers:
    """Several optimizers that share one rate and one state."""

    def __init__(self, parts):
        self.parts = parts

    def set_rate(self, lr):
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr

    def step(self):
        for part in self.parts:
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self):
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, saved):
        for part, state in zip(self.parts, saved, strict=True):
            part.load_state_dict(state)

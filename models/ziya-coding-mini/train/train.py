"""The whole recipe: `all` takes its steps one after the other, and goes on where it was stopped. A step by its name is taken by itself."""
import argparse
import math
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE, MODEL = HERE / ".cache", HERE.parent
HUMANEVAL = MODEL.parent.parent / "test" / "data" / "humaneval" / "HumanEval.jsonl.gz"
FINISHED = CACHE / "finished.txt"


@dataclass(frozen=True)
class Budget:
    """A stage ends with its minutes or its tokens, whichever are used up first."""
    minutes: float
    lr: float
    tokens: float = math.inf
    batch_tokens: int = 2048


@dataclass(frozen=True)
class Stage:
    name: str
    budget: Budget
    optimizer: str  # by their names in optimizers.py, which needs torch
    schedule: str
    files: tuple = ()  # a stage without files is trained on fresh examples
    after: "Stage | None" = None

    @property
    def checkpoint(self):
        return CACHE / f"{self.name}.pt"

    @property
    def log(self):
        return CACHE / f"{self.name}.log.jsonl"


STAGE1 = Stage("stage1", Budget(58, 2.5e-3), "adamw", "cosine", (CACHE / "stage1.jsonl",))
# The hard set, with a part of stage 1 mixed in so that nothing is forgotten.
STAGE2 = Stage("stage2", Budget(32, 1e-3), "adamw", "cosine", (CACHE / "stage2.jsonl", CACHE / "stage1-replay.jsonl"), STAGE1)
STAGE3 = Stage("stage3", Budget(100, 1e-3, tokens=20e6, batch_tokens=4096), "muon", "steady_then_falling", after=STAGE2)
STAGES = (STAGE1, STAGE2, STAGE3)


def main():
    steps = {"data": build_data, "tokenizer": train_tokenizer} | {stage.name: stage_trainer(stage) for stage in STAGES}
    steps |= {"export": export_model, "plot": plot_losses, "evaluate": evaluate, "golden": make_vectors}
    args = parse_arguments(steps)
    leave_the_machine_usable(args.threads)
    CACHE.mkdir(exist_ok=True)
    if args.step == "all":
        take_all(steps, args)
    else:
        steps[args.step](args)


def parse_arguments(steps):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("all", *steps))
    parser.add_argument("--humaneval", type=Path, default=HUMANEVAL, help="HumanEval.jsonl.gz: for decontamination, and to measure")
    parser.add_argument("--threads", type=int, default=2)
    for name, kind in (("minutes", float), ("tokens", float), ("lr", float), ("batch-tokens", int)):
        parser.add_argument(f"--{name}", type=kind, help="of one stage, in place of its own")
    args = parser.parse_args()
    if args.step not in [stage.name for stage in STAGES] and changed(args):
        parser.error("a budget belongs to one stage")
    return args


def changed(args):
    return {name: value for name in ("minutes", "tokens", "lr", "batch_tokens") if (value := getattr(args, name)) is not None}


def leave_the_machine_usable(threads):
    """Everything else goes first, and a thread that waits for the other one does not spin meanwhile."""
    os.nice(5)
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def take_all(steps, args):
    finished = FINISHED.read_text().split() if FINISHED.exists() else []
    for name, take in steps.items():
        if name not in finished:
            print(f"== {name}", flush=True)
            take(args)
            FINISHED.write_text("\n".join(finished := [*finished, name]))


def build_data(args):
    import data
    for item in sorted(data.build(CACHE, args.humaneval, MODEL / "held-out.jsonl").items()):
        print(*item)


def train_tokenizer(args):
    import tokenizer
    rows = tokenizer.read_rows(CACHE / "stage1.jsonl") + tokenizer.read_rows(CACHE / "stage2.jsonl")
    tokenizer.train(rows, MODEL / "tokenizer.model")


def stage_trainer(stage):
    def run(args):
        import training
        training.train(stage, replace(stage.budget, **changed(args)), load_tokenizer(), args.humaneval, MODEL / "held-out.jsonl")
    return run


def load_tokenizer():
    from tokenizer import Tokenizer
    return Tokenizer(MODEL / "tokenizer.model")


def export_model(args):
    import export
    export.export(STAGE3.checkpoint, MODEL, load_tokenizer())


def plot_losses(args):
    import plot
    plot.draw([STAGE1.log, STAGE2.log], MODEL / "loss.png")
    plot.draw([STAGE3.log], MODEL / "loss-stage3.png")


def evaluate(args):
    run_script("evaluate.py")
    run_script("evaluate.py", "--humaneval", args.humaneval)


def make_vectors(args):
    run_script("golden.py", "--humaneval", args.humaneval)


def run_script(name, *arguments):
    subprocess.run([sys.executable, HERE / name, *arguments], check=True)


if __name__ == "__main__":
    main()

"""The whole recipe: `data`, `tokenizer`, `stage1`, `stage2`, `export`, `plot`. A stage resumes from its last checkpoint."""
import argparse
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE, MODEL = HERE / ".cache", HERE.parent


@dataclass(frozen=True)
class Stage:
    name: str

    @property
    def checkpoint(self):
        return CACHE / f"{self.name}.pt"

    @property
    def log(self):
        return CACHE / f"{self.name}.log.jsonl"


STAGE1, STAGE2 = Stage("stage1"), Stage("stage2")


def main():
    args = parse_arguments()
    {"data": build_data, "tokenizer": train_tokenizer, "stage1": train_stage1, "stage2": train_stage2,
     "export": export_model, "plot": plot_losses}[args.command](args)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("data").add_argument("--humaneval", type=Path, required=True, help="HumanEval.jsonl.gz, for decontamination")
    commands.add_parser("tokenizer")
    for name, minutes, lr in (("stage1", 60, 2.5e-3), ("stage2", 15, 8e-4)):
        stage = commands.add_parser(name)
        stage.add_argument("--minutes", type=float, default=minutes, help="time budget; the cosine ends with it")
        stage.add_argument("--lr", type=float, default=lr)
        stage.add_argument("--batch-tokens", type=int, default=4096)
    commands.add_parser("export").add_argument("stage", choices=("stage1", "stage2"))
    commands.add_parser("plot")
    return parser.parse_args()


def build_data(args):
    import data
    for item in sorted(data.build(CACHE, args.humaneval, MODEL / "held-out.jsonl").items()):
        print(*item)


def train_tokenizer(args):
    import tokenizer
    rows = tokenizer.read_rows(CACHE / "stage1.jsonl") + tokenizer.read_rows(CACHE / "stage2.jsonl")
    tokenizer.train(rows, MODEL / "tokenizer.model")


def train_stage1(args):
    run_stage(STAGE1, [CACHE / "stage1.jsonl"], args)


def train_stage2(args):
    """The hard set, with a part of stage 1 mixed in so that nothing is forgotten."""
    run_stage(STAGE2, [CACHE / "stage2.jsonl", CACHE / "stage1-replay.jsonl"], args, start_from=STAGE1.checkpoint)


def run_stage(stage, paths, args, start_from=None):
    import training
    training.train(stage, paths, load_tokenizer(), minutes=args.minutes, lr=args.lr, batch_tokens=args.batch_tokens, start_from=start_from)


def load_tokenizer():
    from tokenizer import Tokenizer
    return Tokenizer(MODEL / "tokenizer.model")


def export_model(args):
    import export
    export.export(CACHE / f"{args.stage}.pt", MODEL, load_tokenizer())


def plot_losses(args):
    import plot
    plot.draw([STAGE1.log, STAGE2.log], MODEL / "loss.png")


if __name__ == "__main__":
    main()

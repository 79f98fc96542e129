"""Draws the loss curves of the stages, one after the other over the tokens seen."""
import matplotlib
import matplotlib.pyplot as plt

from tokenizer import read_rows

matplotlib.use("Agg")


def draw(logs, path):
    figure, axes = plt.subplots(figsize=(8, 4))
    offset = 0
    for log in logs:
        rows = read_rows(log)
        axes.plot([(offset + row["tokens"]) / 1e6 for row in rows], [row["loss"] for row in rows], label=log.name.split(".")[0], linewidth=1)
        offset += rows[-1]["tokens"]
    axes.set(xlabel="tokens seen (millions)", ylabel="loss on response tokens", yscale="log", title="ziya-coding-mini")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)

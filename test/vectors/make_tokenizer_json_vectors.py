"""Texts with the ids and the decoded text that Hugging Face's tokenizers give them, from a tokenizer.json.

    pip install sentencepiece==0.2.* tokenizers==0.23.* transformers==5.*
    python test/vectors/make_tokenizer_json_vectors.py test/vectors/tokenizer-json.json

Options: --count N (default 40, of each variant) and --seed N; for the 20,000 of the README give --count 20000, then run
test/gpu-node/run/native/tokenizer/tokenizer-json.test.ts. The models are those of make_tokenizer_vectors.py, converted as
transformers converts them (LlamaConverter); the test makes the same files (test/support/tokenizer-json.ts) and compares
the merges by their hash. Variants of a file: as converted; its merges in a random order with some of them left out, so that
they no longer follow any score; with added tokens of each kind; without the space before the text; with pieces of spaces that are added
tokens, too, as in Yi.
"""

import argparse
import hashlib
import json
import random

import sentencepiece
import tokenizers
from make_tokenizer_vectors import random_text
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import generate_merges

MODELS = {
    "llama": ".local/llama-32000.model",
    "stories260k": "test/data/stories260K/tokenizer.model",
    "ziya-coding-mini": "models/ziya-coding-mini/tokenizer.model",
}
ADDED = [
    {"content": "<human>", "special": True, "normalized": False},
    {"content": "<|cut|>", "special": False, "normalized": False},
    {"content": "<|cut|>more", "special": False, "normalized": False},
    {"content": "two words", "special": False, "normalized": True},
]
ADDED_SPACES = [{"content": "\u2581" * count, "special": False, "normalized": False} for count in (4, 3, 2)]
VARIANTS = ["as converted", "shuffled", "added", "no prefix", "added spaces"]


def merges_of(processor):
    size = processor.get_piece_size()
    vocab = {processor.id_to_piece(i): i for i in range(size)}
    special = {processor.id_to_piece(i) for i in range(size) if processor.is_control(i) or processor.is_unknown(i)}
    scores = [(piece, processor.get_score(i)) for piece, i in vocab.items()]
    return vocab, generate_merges(vocab, scores, special)


def shuffled(merges):
    key = lambda i: i * 2654435761 % 2**32
    return [merges[i] for i in sorted(range(len(merges)), key=key) if key(i) % 10 > 0]


def tokenizer_of(vocab, merges, prefix, added):
    tokenizer = Tokenizer(BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True, dropout=None))
    replace = normalizers.Replace(" ", "\u2581")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replace] if prefix else [replace])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] if prefix else steps)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens([AddedToken(**token) for token in added])
    tokenizer.encode_special_tokens = True  # what a caller writes is text
    return tokenizer


def received(text):
    """The text a gateway receives: a half of a pair is U+FFFD there."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def random_ids(rng, tokenizer):
    """Bytes as whole code points only (of broken ones tokenizers replaces more than Python does), and no space as a byte."""
    pieces = [i for i in range(tokenizer.get_vocab_size()) if not tokenizer.id_to_token(i).startswith("<0x")]
    run = lambda: rng.choice([
        [rng.choice(pieces)],
        [tokenizer.token_to_id("<0x%02X>" % byte) for byte in rng.choice("aé中😀").encode()],
        [1],
    ])
    return [1, *(i for _ in range(rng.randint(0, 8)) for i in run())]


def variant_of(name, processor, rng, count):
    vocab, merges = merges_of(processor)
    added = {"added": ADDED, "added spaces": ADDED_SPACES}.get(name, [])
    used = shuffled(merges) if name == "shuffled" else merges
    tokenizer = tokenizer_of(vocab, used, name != "no prefix", added)
    texts = [received(random_text(rng)) for _ in range(count)]
    if added:  # somewhere in every text
        for i, text in enumerate(texts):
            at = rng.randint(0, len(text))
            others = [" two words", "<|cut|><|cut|>", "<|cut|> two wordsx"] if added is ADDED else [" " * i for i in range(1, 9)]
            insert = rng.choice([token["content"] for token in added] + others)
            texts[i] = text[:at] + insert + text[at:]
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    return {
        "variant": name,
        "merges_sha256": hashlib.sha256("\n".join(f"{a} {b}" for a, b in merges).encode()).hexdigest(),
        "added": [{"id": tokenizer.token_to_id(token["content"]), **token} for token in added],
        "cases": [{"text": text, "ids": ids, "decoded": tokenizer.decode(ids)} for text, ids in zip(texts, encoded)],
        "decodes": [{"ids": ids, "text": tokenizer.decode(ids)} for ids in (random_ids(rng, tokenizer) for _ in range(min(count, 1000)))],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    vectors = []
    for name, path in MODELS.items():
        processor = sentencepiece.SentencePieceProcessor(model_file=path)
        for variant in VARIANTS:
            vectors.append({"model": name, **variant_of(variant, processor, rng, arguments.count)})
    made_by = f"make_tokenizer_json_vectors.py --count {arguments.count} --seed {arguments.seed}, tokenizers {tokenizers.__version__}"
    with open(arguments.out, "w") as out:
        json.dump({"made_by": made_by, "vectors": vectors}, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()

"""Texts with the ids and the decoded text that Google's SentencePiece gives them.

    pip install sentencepiece==0.2.*
    node test/vectors/write-llama-tokenizer.ts .local/llama-32000.model
    python test/vectors/make_tokenizer_vectors.py .local/llama-32000.model test/vectors/tokenizer-llama.json
    python test/vectors/make_tokenizer_vectors.py test/data/stories260K/tokenizer.model test/vectors/tokenizer-stories260k.json
    python test/vectors/make_tokenizer_vectors.py models/ziya-coding-mini/tokenizer.model test/vectors/tokenizer-ziya-coding-mini.json

Options: --count N (default 200) and --seed N; for the 100,000 of the README give --count 100000, then run
test/gpu-node/run/native/tokenizer/tokenizer.test.ts. `cases` are texts and their ids; `decodes` are random ids (bytes and
control pieces among them) and their text, with broken UTF-8 replaced as Python's errors="replace" does.
"""

import argparse
import json
import random

import sentencepiece

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCxyz0123456789_",
    " \t\n\r",
    "    ",
    "(){}[]<>=+-*/%!&|^~;:,.?@#$'\"\\`",
    "äöüßéèñçøåœ",
    "абвгдежзиклмноп",
    "你好世界快速排序函数列表写一段代码返回值",
    "こんにちはカタカナ안녕하세요",
    "مرحبا שלום",
    "नमस्ते",
    "😀🚀👩‍💻🇩🇪e\u0301\u200b\ufeff\u00a0\u3000",
    "\x00\x01\x7f\x80\u2028\ufffd\U0010ffff𝒳",
]
SNIPPETS = [
    "def quicksort(a):\n    if len(a) <= 1:\n        return a\n",
    "for i in range(10):\n\tprint(i)\n",
    "<s>", "</s>", "<unk>", "<0x0A>", "<human>: \n", "\n<bot>: \n", "[INST]", "https://example.com/?q=1",
    "写一段快速排序", "    return x + 1  # done\n", "\r\n", "     ", " ", "ied 4 ½ months",
]


def random_text(rng):
    parts = []
    for _ in range(rng.randint(0, 8)):
        if rng.random() < 0.3:
            parts.append(rng.choice(SNIPPETS))
        elif rng.random() < 0.08:  # half of a surrogate pair
            parts.append(chr(rng.randint(0xD800, 0xDFFF)))
        elif rng.random() < 0.1:  # noise of bytes
            parts.append(rng.randbytes(rng.randint(1, 12)).decode(rng.choice(["latin-1", "utf-8"]), errors="replace").replace("\u2581", " "))
        elif rng.random() < 0.1:  # any code point but surrogates
            parts.append("".join(chr(rng.choice([rng.randint(0, 0xD7FF), rng.randint(0xE000, 0x10FFFF)])) for _ in range(3)))
        else:
            alphabet = rng.choice(ALPHABETS)
            parts.append("".join(rng.choice(alphabet) for _ in range(rng.randint(1, 12))))
    return "".join(parts)


def random_ids(rng, processor):
    run = lambda: rng.choice([
        [rng.randrange(processor.get_piece_size())],
        [processor.piece_to_id("<0x%02X>" % b) for b in rng.choice(ALPHABETS).encode()[: rng.randint(1, 9)]],
        [processor.piece_to_id("<0x%02X>" % rng.randrange(256)) for _ in range(rng.randint(1, 4))],
        [processor.bos_id()],
    ])
    return [i for _ in range(rng.randint(0, 8)) for i in run()]


def encode(processor, text):
    """Ids of the text a gateway receives: a half of a pair is U+FFFD there."""
    return processor.encode(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def decode(processor, ids):
    """SentencePiece replaces broken bytes one by one; Python replaces maximal parts. So bytes are joined here."""
    text, pending = "", b""
    # SentencePiece's own text wherever no byte pieces are involved: one stand-in piece a byte run keeps the spaces right.
    for i in range(len(ids) + 1):
        if i < len(ids) and processor.is_byte(ids[i]):
            pending += bytes([int(processor.id_to_piece(ids[i])[3:5], 16)])
            continue
        text += pending.decode("utf-8", errors="replace")
        pending = b""
        if i < len(ids):
            before = [j if not processor.is_byte(j) else processor.piece_to_id("<0x41>") for j in ids[:i]]
            text += processor.decode(before + [ids[i]])[len(processor.decode(before)) :]
    return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    processor = sentencepiece.SentencePieceProcessor(model_file=arguments.model)
    texts = [random_text(rng) for _ in range(arguments.count)]
    id_lists = [random_ids(rng, processor) for _ in range(arguments.count)]
    vectors = {
        "made_by": f"make_tokenizer_vectors.py --count {arguments.count} --seed {arguments.seed}, sentencepiece {sentencepiece.__version__}",
        "cases": [{"text": text, "ids": ids, "decoded": decode(processor, ids)} for text in texts for ids in [encode(processor, text)]],
        "decodes": [{"ids": ids, "text": decode(processor, ids)} for ids in id_lists],
    }
    with open(arguments.out, "w") as out:
        json.dump(vectors, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()

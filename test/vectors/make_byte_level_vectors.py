"""Texts with the ids and the decoded text that Hugging Face's tokenizers give them, of byte-level tokenizers.

    pip install tokenizers==0.23.* gguf
    python test/vectors/make_byte_level_vectors.py test/vectors/byte-level.json

Options: --pieces N (default 700), --count N (default 60, of each variant) and --seed N. For the 102,000 texts of docs/measurements.md, with
as many pieces as StarCoder has:

    python test/vectors/make_byte_level_vectors.py .local/byte-level.json --pieces 49152 --count 34000
    BYTE_LEVEL=.local/byte-level.json npm test -- test/gpu-node/run/native/tokenizer/byte-level.test.ts

With StarCoder's published vocabulary, which is in llama.cpp's history: `git show d53240ccc:models/ggml-vocab-refact.gguf >starcoder.gguf`, then

    python test/vectors/make_byte_level_vectors.py .local/starcoder.json --vocabulary starcoder.gguf --count 100000

and the test as above; with any published tokenizer.json likewise, by --tokenizer. These are not ours to pass on.

Each variant has its tokenizer.json, trained here from HumanEval and random texts: with the splitters of StarCoder, of GPT-2, with
numerals in runs, and with those of Llama 3 and DeepSeek Coder. `classes` has a hash of what the splitters see in every code point.
"""

import argparse
import gzip
import hashlib
import json
import random

import gguf
import tokenizers
from make_tokenizer_json_vectors import received
from make_tokenizer_vectors import random_text
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

# Those of StarCoder, in its order.
SPECIAL = (
    "<|endoftext|> <fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <filename> <gh_stars> <issue_start> <issue_comment> <issue_closed> "
    "<jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> <empty_output> <commit_before> <commit_msg> <commit_after> <reponame>"
).split()
words = lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
SPLITTERS = {
    "starcoder": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words()]),
    "gpt2": words,
    "numerals in runs": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), words()]),
}
spelled = lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
isolated = lambda expression: pre_tokenizers.Split(Regex(expression), "isolated")
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_CODER = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]
# Their vectors have texts of their own, so that those before stay as they are.
OTHER_SPLITTERS = {
    "llama 3": lambda: pre_tokenizers.Sequence([isolated(LLAMA_3), spelled()]),
    "deepseek coder": lambda: pre_tokenizers.Sequence(
        [*map(isolated, DEEPSEEK_CODER), pre_tokenizers.Digits(individual_digits=True), spelled()]),
}
CODE_POINTS = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
INSERTS = ["<fim_prefix>", "<|endoftext|>", "<|cut|>", " <|cut|> ", "<|cut|><|cut|>"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "''s", " 's", "'S", "x's1", "'l", "'r", "'", "''"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "\x85", "\xa0", "\u3000", "\ufeff", "\u180e", "\u2028", "\u200b", "\x1c"]
MORE = ["'LL", "'Re", "'\u017f", "\u017f", "!\n\n", "  \n x", "\r", "\n\r", " \r", "\u00ab", "\u2014", " \u3001", "\u30fc", "\ud55c\uae00", " \uac00", "\u0915\u0940", " \u0e01",
        "$", "^^", " +", "1234567", "\u4e2d\u6587\u5b57", "\u9fa6", "\U00010ed0", "\U0002b73b", "\U00011de3", " _x", "a_b", "\t\tif"]
NUMERALS = ["1", "12", " 1", "½", "²", "Ⅷ", "٣", "一", "१२", "1.5e10", "x1", "1x", "\U0001d7d9"]


def text_of(rng, more=()):
    parts = [random_text(rng)]
    for _ in range(rng.randint(0, 6)):
        parts.append(rng.choice(rng.choice([CONTRACTIONS, SPACES, NUMERALS, ["a", "def", "é", "中", "(", "_", "😀"]])))
    if more:
        parts += rng.sample(more, rng.randint(0, 5))
    rng.shuffle(parts)
    return received("".join(parts))


def trained(splitter, pieces, rng):
    with gzip.open("test/data/humaneval/HumanEval.jsonl.gz", "rt") as lines:
        problems = [json.loads(line) for line in lines]
    texts = [problem["prompt"] + problem["canonical_solution"] for problem in problems] + [text_of(rng) for _ in range(min(20 * pieces, 60_000))]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = splitter()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken("<|cut|>", normalized=False)])
    tokenizer.encode_special_tokens = True  # what a caller writes is text
    return tokenizer


def lacking(tokenizer, characters):
    """The same without the pieces of bytes that no text has and of those that begin these characters, as where training met none."""
    letters_of = lambda text: words().pre_tokenize_str(text)[0][0]
    seen = {letter for character in CODE_POINTS for letter in letters_of(character)} - {letters_of(character)[0] for character in characters}
    saved = json.loads(tokenizer.to_str())
    model, kept = saved["model"], lambda piece: piece in SPECIAL or set(piece) <= seen
    model["vocab"] = {piece: id for id, piece in enumerate(filter(kept, model["vocab"]))}
    model["merges"] = [merge for merge in model["merges"] if kept("".join(merge))]
    for token in saved["added_tokens"]:
        token["id"] = model["vocab"].get(token["content"], len(model["vocab"]))
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    tokenizer.encode_special_tokens = True
    return tokenizer


def published(path):
    """StarCoder's own tokenizer, of its pieces and merges in a GGUF file; what pads the vocabulary there is left out."""
    fields = gguf.GGUFReader(path).fields
    kinds, pieces, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("token_type", "tokens", "merges"))
    vocab = {piece: id for id, piece in enumerate(pieces) if kinds[id] == gguf.TokenType.NORMAL or piece in SPECIAL}
    tokenizer = Tokenizer(BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = SPLITTERS["starcoder"]()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.encode_special_tokens = True
    return tokenizer


def with_whole_words(tokenizer, rng):
    """The same whose words are pieces whatever merges make of them; a third of the merges is not there."""
    saved = json.loads(tokenizer.to_str())
    saved["model"]["ignore_merges"] = True
    saved["model"]["merges"] = [merge for merge in saved["model"]["merges"] if rng.random() < 0.67]
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    tokenizer.encode_special_tokens = True
    return tokenizer


def case(tokenizer, rng, more=()):
    text = text_of(rng, more)
    if rng.random() < 0.3:
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(INSERTS) + text[at:]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    # The library's decoder takes an added token that is one letter of the alphabet, such as DeepSeek Coder's for u with dots, for that letter's byte.
    letters = pre_tokenizers.ByteLevel.alphabet()
    is_taken = any(token.content in letters for id, token in tokenizer.get_added_tokens_decoder().items() if id in ids)
    return {"text": text, "ids": ids, "decoded": text if is_taken else tokenizer.decode(ids)}


def variant_of(name, tokenizer, count, rng, more=()):
    saved = json.loads(tokenizer.to_str())
    return {"variant": name, "tokenizer": saved, "cases": [case(tokenizer, rng, more) for _ in range(count)]}


def class_of(character):
    """l(etter), n(umeral), o(ther) or s(pace) to GPT-2's expression, in capitals where Digits takes it for a numeral."""
    by_words, digits = words(), pre_tokenizers.Digits(individual_digits=True)
    is_one = lambda splitter, beside: len(splitter.pre_tokenize_str(beside + character + beside)) == 1
    kind = next((kind for kind, beside in (("l", "a"), ("n", "1"), ("o", "!")) if is_one(by_words, beside)), "s")
    return kind if is_one(digits, "a") else kind.upper()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--pieces", type=int, default=700)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vocabulary", help="a GGUF file with StarCoder's own, for that one variant")
    parser.add_argument("--tokenizer", help="a published tokenizer.json, for that one variant")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    if arguments.tokenizer:
        tokenizer = Tokenizer.from_file(arguments.tokenizer)
        tokenizer.encode_special_tokens = True
        variants = [variant_of("published", tokenizer, arguments.count, rng, [*MORE, "\u00f5", "\u00c1", "\u00ffx", "\u00f7"])]
    elif arguments.vocabulary:
        variants = [variant_of("StarCoder's own", published(arguments.vocabulary), arguments.count, rng)]
    else:
        variants = [variant_of(name, trained(SPLITTERS[name], arguments.pieces, rng), arguments.count, rng) for name in SPLITTERS]
        rare = lacking(trained(SPLITTERS["starcoder"], arguments.pieces, rng), ["\u4e2d", "\U00050000"])
        variants.append(variant_of("some bytes without a piece", rare, arguments.count, rng))
        others = {name: trained(splitter, arguments.pieces, rng) for name, splitter in OTHER_SPLITTERS.items()}
        others["llama 3, whole words"] = with_whole_words(others["llama 3"], rng)
        variants += [variant_of(name, tokenizer, arguments.count, rng, MORE) for name, tokenizer in others.items()]
    classes = "".join(map(class_of, CODE_POINTS))
    vectors = {
        "made_by": f"make_byte_level_vectors.py --pieces {arguments.pieces} --count {arguments.count} --seed {arguments.seed}, tokenizers {tokenizers.__version__}",
        "classes": hashlib.sha256(classes.encode()).hexdigest(),
        "variants": variants,
    }
    with open(arguments.out, "w") as out:
        json.dump(vectors, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


main()

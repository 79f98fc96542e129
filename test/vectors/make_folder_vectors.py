"""What Hugging Face transformers makes of model folders that differ in one thing each: the ids of texts and what it generates from them.

    pip install torch==2.13.* transformers==5.18.* sentencepiece==0.2.* protobuf safetensors numpy jinja2
    python test/vectors/make_folder_vectors.py test/vectors/folders.json [WORDS OF A NAME...]

With words only the variants whose names have one of them are made, and the others kept as the file has them.
Each variant is the base folder with some of its files replaced, added or taken away, and some of its tensors. The test remakes the
folders (test/gpu-node/run/native/load/folders.test.ts): weights are hashes of their names (make_llama_vectors.py), the tokenizer is
test/data/stories260K/tokenizer.model. `expects` has the ids of a text with what comes before it, and those that greedy decoding adds;
`refused` is a code of ours, and `transformers` beside it what that loader does with the same folder.
"""

import base64
import copy
import json
import os
import sys
import tempfile

import numpy
import torch
import transformers
from make_llama_vectors import values
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import import_protobuf

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
SEED = "folders"
NEW_TOKENS = 24
TEXTS_KEPT = 3
MARGIN = 0.02
TOKENIZER = "test/data/stories260K/tokenizer.model"

CONFIG = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=512, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, rope_theta=10000.0, rms_norm_eps=1e-5,
    tie_word_embeddings=False, hidden_act="silu", bos_token_id=1, eos_token_id=2)
TOKENIZER_CONFIG = dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True,
                        add_eos_token=False, legacy=True)
WORDS = "once upon a time there was little girl who loved to play in the park with her dog".split()
TEXTS = [" ".join(WORDS[i % len(WORDS)] for i in range(start, start + 3 + start % 9)) for start in range(60)]
TEXTS[0] = "def f(x):\n    return x + 1  # ok"
TEXTS[1] = "Zürich 中文 🙂\tend"


def tensors_of(config, rows, extra=(), omit=(), head_is_embedding=False):
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    heads, kv = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    shapes = {"model.embed_tokens.weight": (rows, hidden), "model.norm.weight": (hidden,), "lm_head.weight": (rows, hidden)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {layer + "input_layernorm.weight": (hidden,), layer + "post_attention_layernorm.weight": (hidden,),
                   layer + "self_attn.q_proj.weight": (heads * head, hidden), layer + "self_attn.k_proj.weight": (kv * head, hidden),
                   layer + "self_attn.v_proj.weight": (kv * head, hidden), layer + "self_attn.o_proj.weight": (hidden, heads * head),
                   layer + "mlp.gate_proj.weight": (inner, hidden), layer + "mlp.up_proj.weight": (inner, hidden),
                   layer + "mlp.down_proj.weight": (hidden, inner)}
        biased = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"] if config.get("attention_bias") is True else []
        biased += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] if config.get("mlp_bias") is True else []
        shapes |= {f"{layer}{name}.bias": shapes[f"{layer}{name}.weight"][:1] for name in biased}
    shapes |= {name: tuple(shape) for name, shape in extra}
    made = {name: torch.from_numpy(values(name, shape, SEED)) for name, shape in shapes.items() if name not in omit}
    if rows > 512 and "lm_head.weight" in made:  # what no piece of the base has is never the best
        made["lm_head.weight"][512:] = 0
    if head_is_embedding:
        made["lm_head.weight"] = made["model.embed_tokens.weight"].clone()
    return made


def without_bytes(bytes_):
    """The same pieces without those of bytes."""
    proto = import_protobuf().ModelProto.FromString(bytes_)
    kept = [piece for piece in proto.pieces if piece.type != 6]
    del proto.pieces[:]
    proto.pieces.extend(kept)
    proto.trainer_spec.byte_fallback = False
    proto.trainer_spec.vocab_size = len(kept)
    return proto.SerializeToString()


MODEL = open(TOKENIZER, "rb").read()
BASE = {"config.json": CONFIG, "tokenizer_config.json": TOKENIZER_CONFIG, "tokenizer.model": "base"}


def saved_by_transformers(**changes):
    """The tokenizer files that this transformers writes for the base folder."""
    with tempfile.TemporaryDirectory() as folder:
        write(folder, {**BASE, "tokenizer_config.json": {**TOKENIZER_CONFIG, **changes}})
        tokenizer = AutoTokenizer.from_pretrained(folder)
        with tempfile.TemporaryDirectory() as out:
            tokenizer.save_pretrained(out)
            return {name: json.load(open(f"{out}/{name}")) for name in os.listdir(out) if name.endswith(".json")}


def write(folder, files):
    for name, content in files.items():
        if content is None:
            continue
        if name == "tokenizer.model":
            content = {"base": MODEL, "without bytes": without_bytes(MODEL)}[content]
        elif not isinstance(content, str):
            content = json.dumps(content)
        with open(os.path.join(folder, name), "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode())


VARIANTS = []


def variant(name, config=None, files=None, rows=None, extra=(), omit=(), head_is_embedding=False, options=None, refused=None,
            texts=None, tokenizer=None):
    """`config` and `tokenizer` change keys of the base's config.json and tokenizer_config.json; None takes a key away."""
    changed = {**CONFIG, **(config or {})}
    changed = {key: value for key, value in changed.items() if value is not None or (config or {}).get(key, 0) == "null"}
    all_files = {**BASE, "config.json": {k: None if v == "null" else v for k, v in changed.items()}}
    if tokenizer is not None:
        merged = {**TOKENIZER_CONFIG, **tokenizer}
        all_files["tokenizer_config.json"] = {k: v for k, v in merged.items() if v is not None}
    all_files |= files or {}
    VARIANTS.append(dict(name=name, files={k: v for k, v in all_files.items() if v is not None}, rows=rows or changed.get("vocab_size", 512),
                         extra=[[n, list(s)] for n, s in extra], omit=list(omit), head_is_embedding=head_is_embedding,
                         options=options or {}, refused=refused, texts=texts))


def oracle(one):
    with tempfile.TemporaryDirectory() as folder:
        files = copy.deepcopy(one["files"])
        config = files["config.json"]
        config = config if isinstance(config, dict) else json.loads(config.removeprefix("\ufeff"))
        write(folder, files)
        shape = {**CONFIG, "num_key_value_heads": None, **config}
        made = tensors_of(shape, one["rows"], one["extra"], one["omit"], one["head_is_embedding"])
        save_file({name: tensor.contiguous() for name, tensor in made.items()}, os.path.join(folder, "model.safetensors"), {"format": "pt"})
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        return continued(model, tokenizer, one["texts"] or TEXTS)


@torch.no_grad()
def continued(model, tokenizer, texts):
    kept = []
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        answer = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=NEW_TOKENS, return_dict_in_generate=True,
                                output_scores=True, temperature=None, top_p=None, top_k=None)
        closest = min(float((best[0] - best[1]) / scores[0][torch.isfinite(scores[0])].std())
                      for scores in answer.scores for best in [scores[0].topk(2).values])
        if closest < MARGIN:
            continue
        kept.append({"text": text, "prompt": ids, "ids": answer.sequences[0][len(ids):].tolist()})
        if len(kept) == TEXTS_KEPT:
            break
    assert kept, "every text comes close to a tie"
    return kept


def main():
    torch.set_num_threads(1)
    import folder_variants  # fills VARIANTS

    folder_variants.fill(sys.modules[__name__])
    path, *words = sys.argv[1:]
    kept = {one["name"]: one for one in json.load(open(path))["variants"]} if words else {}
    made = []
    for one in VARIANTS:
        if one["name"] in kept and not any(word in one["name"] for word in words):
            made.append(kept[one["name"]])
            continue
        try:
            expects, error = oracle(one), None
        except Exception as exception:  # whatever it raises is its refusal
            expects, error = None, f"{type(exception).__name__}: {str(exception).splitlines()[0][:100]}" if str(exception) else type(exception).__name__
        out = {key: value for key, value in one.items() if value not in (None, [], {}, False) and key != "texts"}
        if one["refused"]:
            out["transformers"] = error or "loads it"
        else:
            assert expects, f"{one['name']}: {error}"
            out["expects"] = expects
        made.append(out)
        print(f"{one['name']}: {one['refused'] or 'served'}; transformers: {error or 'loads it'}")
    vectors = {"made_by": f"make_folder_vectors.py, transformers {transformers.__version__}, tokenizers {__import__('tokenizers').__version__}, torch {torch.__version__}", "variants": made}
    with open(path, "w") as out:
        json.dump(vectors, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    sys.modules["make_folder_vectors"] = sys.modules["__main__"]
    main()

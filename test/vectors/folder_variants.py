"""The variants of make_folder_vectors.py, kind by kind: each differs from the base folder in what its name says."""


def fill(maker):
    variant, BASE, CONFIG = maker.variant, maker.BASE, maker.CONFIG
    saved = maker.saved_by_transformers
    json_only = {"tokenizer.model": None, "special_tokens_map.json": None}

    # ── config.json: numbers
    variant("the base folder")
    variant("every head has its own keys", dict(num_key_value_heads=None))
    variant("a head has a size of its own", dict(head_dim=32))
    variant("rope_theta is a whole number", dict(rope_theta=1000000))
    variant("rope_scaling is null", dict(rope_scaling="null"))
    variant("rope_scaling is empty", dict(rope_scaling={}))
    variant("rope_scaling is linear, by its older name", dict(rope_scaling=dict(type="linear", factor=4.0)))
    variant("rope_scaling is linear, by both names", dict(rope_scaling=dict(type="linear", rope_type="linear", factor=2)))
    variant("rope_scaling has two names that differ", dict(rope_scaling=dict(type="linear", rope_type="default", factor=2)),
            refused="config_contradicts_itself")
    variant("rope_scaling is the default and has a factor", dict(rope_scaling=dict(rope_type="default", factor=8.0)))
    llama_3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
    variant("rope_scaling of Llama 3", dict(rope_scaling=llama_3))
    variant("rope_scaling of Llama 3, as rope_parameters", dict(rope_theta=None, rope_parameters=dict(llama_3, rope_theta=500000.0)))
    variant("rope_scaling of Llama 3 without its turns", dict(rope_scaling=dict(rope_type="llama3", factor=4.0)),
            refused="config_unsupported_rope_scaling")
    variant("rope_parameters alone", dict(rope_theta=None, rope_parameters=dict(rope_type="default", rope_theta=500000.0)))
    variant("rope_parameters without a type", dict(rope_theta=None, rope_parameters=dict(rope_theta=500000.0)))
    variant("rope_parameters are linear", dict(rope_theta=None, rope_parameters=dict(rope_type="linear", rope_theta=20000.0, factor=2.0)))
    variant("rope_theta in both places, the same", dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0)))
    variant("rope_theta in both places, and different", dict(rope_parameters=dict(rope_type="default", rope_theta=500000.0)),
            refused="config_contradicts_itself")
    variant("rope_theta within rope_scaling, different", dict(rope_scaling=dict(rope_type="linear", factor=2.0, rope_theta=500000.0)),
            refused="config_contradicts_itself")
    variant("rope_scaling beside rope_parameters, the same", dict(rope_scaling=dict(rope_type="linear", factor=2.0),
            rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)))
    variant("rope_scaling beside rope_parameters, another factor", dict(rope_scaling=dict(rope_type="linear", factor=4.0),
            rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)), refused="config_contradicts_itself")
    for kind in ["yarn", "dynamic", "longrope", "proportional", "su"]:
        variant(f"rope_scaling is {kind}", dict(rope_scaling=dict(rope_type=kind, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=64)), refused="config_unsupported_rope_scaling")
    variant("linear, of a part of each head", dict(rope_scaling=dict(rope_type="linear", factor=2.0, partial_rotary_factor=0.5)),
            refused="config_unsupported_rope_scaling")
    variant("half of each head is rotated", dict(partial_rotary_factor=0.5), refused="config_invalid")
    variant("all of each head is rotated", dict(partial_rotary_factor=1.0))
    variant("no rope_theta", dict(rope_theta=None), refused="config_missing_rope_theta")
    variant("no rope_theta, and the operator says it", dict(rope_theta=None), options=dict(rope_theta=10000))
    variant("a rope_theta, and the operator says another", dict(rope_theta=500000.0), options=dict(rope_theta=10000),
            refused="config_contradicts_itself")
    variant("an early conversion of LLaMA 1", dict(architectures=["LLaMAForCausalLM"], rope_theta=None, max_position_embeddings=None,
            max_sequence_length=256, num_key_value_heads=None, hidden_act="silu", pad_token_id=-1, transformers_version="4.27.0.dev0"),
            options=dict(rope_theta=10000))
    variant("no architectures, but a model_type", dict(architectures=None))
    variant("another model_type", dict(model_type="mistral"), refused="config_unsupported_architecture")
    variant("a GPT-NeoX", dict(architectures=["GPTNeoXForCausalLM"], model_type="gpt_neox", rotary_pct=0.25, use_parallel_residual=True),
            refused="config_unsupported_architecture")
    variant("a quantized model", dict(quantization_config=dict(quant_method="gptq", bits=4, group_size=128)),
            refused="config_unsupported_quantization")
    variant("biases of the attention", dict(attention_bias=True))
    variant("biases of the MLP, and heads that share keys", dict(mlp_bias=True, num_key_value_heads=2))
    variant("biases of both, tied", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True), omit=["lm_head.weight"])
    variant("biases that are no truth", dict(attention_bias="yes"), refused="config_invalid")
    variant("no biases, said twice", dict(attention_bias=False, mlp_bias=False))
    variant("another activation", dict(hidden_act="gelu"), refused="config_invalid")
    variant("an activation by its other name", dict(hidden_act="swish"))
    variant("a window that slides", dict(sliding_window=8), refused="config_invalid")
    variant("layers of kinds", dict(layer_types=["full_attention", "sliding_attention"], sliding_window=8), refused="config_invalid")
    variant("pretraining_tp, which was a way to compute", dict(pretraining_tp=2))
    variant("another eps", dict(rms_norm_eps=1e-2))
    variant("no eps", dict(rms_norm_eps=None), refused="config_invalid")
    variant("keys that change nothing", dict(use_cache=True, torch_dtype="float16", attention_dropout=0.1, initializer_range=0.02,
            _name_or_path="/data/x", unsloth_version="2024.8", transformers_version="4.32.0", auto_map={"AutoConfig": "x.X"}))
    variant("heads of a fractional size", dict(num_attention_heads=5, num_key_value_heads=5), refused="config_invalid")

    # ── what ends a sequence, and how tokens are found
    variant("eos in generation_config.json alone", dict(eos_token_id=None), {"generation_config.json": dict(eos_token_id=[2, 329])})
    variant("eos in generation_config.json beside another", dict(eos_token_id=2), {"generation_config.json": dict(eos_token_id=[417, 329])})
    variant("several eos in config.json", dict(eos_token_id=[2, 329, 417]))
    variant("an eos outside the vocabulary", None, {"generation_config.json": dict(eos_token_id=[2, 5000])})
    variant("an eos below all ids", dict(eos_token_id=-1))
    variant("a generation_config.json of sampling", None, {"generation_config.json": dict(do_sample=True, temperature=0.6, top_p=0.9,
            max_length=256, pad_token_id=0, bos_token_id=1, eos_token_id=2)})
    for key, value in dict(num_beams=4, no_repeat_ngram_size=2, suppress_tokens=[5], bad_words_ids=[[5]], forced_eos_token_id=2,
                           min_new_tokens=5, encoder_repetition_penalty=1.5, sequence_bias=[[[5], 2.0]]).items():
        variant(f"{key} in generation_config.json", None, {"generation_config.json": {"eos_token_id": 2, key: value}},
                refused="generation_config_unsupported")

    # ── weights
    variant("tied, without a head", dict(tie_word_embeddings=True), omit=["lm_head.weight"])
    variant("tied, with a head that is the embedding", dict(tie_word_embeddings=True), head_is_embedding=True)
    variant("tied, with a head that is another", dict(tie_word_embeddings=True), refused="weights_contradict_config")
    variant("not tied, without a head", omit=["lm_head.weight"], refused="weights_missing_tensor")
    variant("buffers that nobody needs", extra=[("model.layers.0.self_attn.rotary_emb.inv_freq", (8,)), ("model.rotary_emb.inv_freq", (8,)),
            ("model.layers.1.self_attn.rotary_emb.cos_cached", (256, 16)), ("model.layers.1.self_attn.rotary_emb.sin_cached", (256, 16)),
            ("model.layers.0.self_attn.masked_bias", (1,)), ("v_head.summary.weight", (1, 64)), ("v_head.summary.bias", (1,))])
    variant("the remains of an adapter", extra=[("model.layers.0.self_attn.q_proj.lora_A.weight", (8, 64))], refused="weights_unknown_tensor")
    variant("an adapter beside the model", None, {"adapter_config.json": dict(peft_type="LORA")}, refused="weights_are_an_adapter")
    variant("a bias that no config speaks of", extra=[("model.layers.0.self_attn.q_proj.bias", (64,))], refused="weights_unknown_tensor")
    variant("more rows than config.json says", dict(vocab_size=512), rows=520, refused="weights_shape")

    # ── added tokens and padding
    wide = lambda size: dict(vocab_size=size)
    variant("an added token beyond the network", None, {"added_tokens.json": {"<pad>": 512}})
    variant("four of them, as CodeLlama-34b was saved", None, {"added_tokens.json": {"\u2581<PRE>": 512, "\u2581<MID>": 513, "\u2581<SUF>": 514, "\u2581<EOT>": 515}})
    variant("the same in added_tokens_decoder", tokenizer=dict(added_tokens_decoder={"512": dict(content="<pad>", special=True)}))
    variant("an added token with a row", wide(513), {"added_tokens.json": {"[PAD]": 512}})
    variant("a gap in the added ids", wide(528), {"added_tokens.json": {"<|im_end|>": 527}})
    variant("tokens with flags that change nothing", wide(514), tokenizer=dict(added_tokens_decoder={
        "0": dict(content="<unk>", special=True, normalized=True, lstrip=False, rstrip=False, single_word=False),
        "512": dict(content="<human>", special=True, lstrip=True, rstrip=True, normalized=False),
        "513": dict(content="<bot>", special=True, single_word=True)}))
    plain = dict(content="<|cut|>", special=False, normalized=False, lstrip=False, rstrip=False, single_word=False)
    # SentencePiece puts its space before a text that begins with one, too, and transformers 5 does not: with a tokenizer.model none does.
    cutting = [f"{a}<|cut|>{b}{c}" for a in ["once", "", "there was ", "a little"] for b in ["upon a time", "girl", "<|cut|>who", "mom"]
               for c in ["", "<|cut|>", " and a dog<|cut|>they"]]
    spaced = [f"{a} <|cut|> {b}" for a in ["once", "there was", "a little"] for b in ["upon a time", "girl<|cut|>who", "mom"]]
    variant("an added token that is found in text", wide(513), tokenizer=dict(added_tokens_decoder={"512": plain}), texts=cutting)
    variant("the same, where only the first text has a prefix", wide(513), tokenizer=dict(legacy=False, added_tokens_decoder={"512": plain}), texts=cutting)
    variant("an added token that strips what it is found in", wide(513), tokenizer=dict(added_tokens_decoder={"512": {**plain, "lstrip": True}}),
            refused="tokenizer_unsupported")
    variant("one text, two ids", wide(514), {"added_tokens.json": {"<human>": 513}}, tokenizer=dict(added_tokens_decoder={"512": dict(content="<human>")}),
            refused="tokenizer_invalid")
    variant("two texts, one id", None, {"added_tokens.json": {"<human>": 300}}, refused="tokenizer_invalid")
    for padding in [1, 127, 128, 300, 1023]:
        variant(f"{padding} rows of padding", wide(512 + padding))
    variant("1,024 rows of padding", wide(512 + 1024), refused="tokenizer_vocabulary_mismatch")
    variant("fewer rows than pieces", wide(500), refused="tokenizer_vocabulary_mismatch")

    # ── names of tokens
    token = lambda content: dict(__type="AddedToken", content=content, lstrip=False, normalized=True, rstrip=False, single_word=False)
    variant("tokens named as AddedTokens", tokenizer=dict(bos_token=token("<s>"), eos_token=token("</s>"), unk_token=token("<unk>"), legacy=None,
            model_max_length=1000000000000000019884624838656, pad_token="null", sp_model_kwargs={}, clean_up_tokenization_spaces=False))
    flagged = dict(content="<s>", lstrip=True, rstrip=False, normalized=False, single_word=False)
    variant("special_tokens_map.json with strips", None, {"special_tokens_map.json": dict(bos_token=flagged, eos_token="</s>", pad_token="</s>")})
    variant("special_tokens_map.json says another end", None, {"special_tokens_map.json": dict(eos_token="<unk>")}, refused="tokenizer_invalid")
    variant("special_tokens_map.json names a token that is nowhere", None, {"special_tokens_map.json": dict(pad_token="[PAD]")})
    variant("the same, with a row for it", wide(513), {"special_tokens_map.json": dict(pad_token="[PAD]")})
    variant("more special tokens by name", wide(514), {"special_tokens_map.json": dict(additional_special_tokens=["<human>", "<bot>"]),
            "added_tokens.json": {"<human>": 512, "<bot>": 513}})
    variant("a beginning that no piece is", tokenizer=dict(bos_token="", add_bos_token=None, legacy=None), refused="tokenizer_invalid")
    variant("a sequence begins with the end", tokenizer=dict(bos_token="</s>"))
    variant("a sequence begins with nothing", tokenizer=dict(add_bos_token=False))
    variant("a text ends with the end", tokenizer=dict(add_eos_token=True), refused="tokenizer_unsupported")
    variant("no space before a text", tokenizer=dict(add_prefix_space=False))
    variant("a space before a text, said", tokenizer=dict(add_prefix_space=True))

    # ── tokenizer.json
    v5 = saved()
    variant("as transformers 5 saves it", None, {**json_only, **v5})
    variant("the same, not legacy", None, {**json_only, **saved(legacy=False)})
    variant("the same, without a space before the text", None, {**json_only, **saved(add_prefix_space=False)})
    variant("the same, without a beginning", None, {**json_only, **saved(add_bos_token=False)})
    variant("the same, with an end", None, {**json_only, **saved(add_eos_token=True)}, refused="tokenizer_unsupported")
    cut = saved(added_tokens_decoder={"512": plain})
    variant("the same, with a token that is found in text", wide(513), {**json_only, **cut}, texts=cutting)
    variant("the same, in texts with spaces around it", wide(513), {**json_only, **cut}, texts=spaced)
    first = saved(legacy=False, added_tokens_decoder={"512": plain})
    backend = {**first["tokenizer_config.json"], "tokenizer_class": "TokenizersBackend"}
    variant("the same, by the file alone", wide(513), {**json_only, **first, "tokenizer_config.json": backend}, texts=cutting)
    variant("tokenizer.json says of a token what tokenizer_config.json does not", wide(513), {**json_only, **cut, "tokenizer_config.json":
            {**cut["tokenizer_config.json"], "added_tokens_decoder": {"512": {**plain, "special": True}}}}, refused="tokenizer_invalid")
    variant("tokenizer.json and tokenizer_config.json differ in the beginning", None, {**json_only, "tokenizer.json": saved(add_bos_token=False)["tokenizer.json"],
            "tokenizer_config.json": {**v5["tokenizer_config.json"], "add_bos_token": True}}, refused="tokenizer_invalid")
    variant("both, as transformers 4 saved them", None, {"tokenizer.json": v5["tokenizer.json"]})
    for change, value in [("ignore_merges", True), ("dropout", 0.1), ("end_of_word_suffix", "</w>"), ("type", "Unigram")]:
        changed = {**v5["tokenizer.json"], "model": {**v5["tokenizer.json"]["model"], change: value}}
        variant(f"{change} in tokenizer.json", None, {**json_only, **v5, "tokenizer.json": changed}, refused="tokenizer_unsupported")
    split = {**v5["tokenizer.json"], "pre_tokenizer": {**v5["tokenizer.json"]["pre_tokenizer"], "split": True}}
    variant("words are split before they merge", None, {**json_only, **v5, "tokenizer.json": split}, refused="tokenizer_unsupported")

    # ── no bytes
    known = [text for text in maker.TEXTS[2:] if text.isascii()]
    small = maker.import_protobuf().ModelProto.FromString(maker.without_bytes(maker.MODEL))
    size = len(small.pieces)
    variant("a model without bytes", wide(size), {"tokenizer.model": "without bytes"}, texts=known)

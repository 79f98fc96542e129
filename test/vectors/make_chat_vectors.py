"""Chats as transformers renders and tokenizes them by templates that models are published with, and by some that try what they can.

    pip install transformers==5.18.* sentencepiece==0.2.* protobuf jinja2 torch safetensors numpy
    python test/vectors/make_chat_vectors.py test/vectors/chats.json

The tokenizer is test/data/stories260K/tokenizer.model with special tokens behind its pieces, as transformers saves it.
"""

import json
import os
import sys
import tempfile

import transformers
from make_folder_vectors import BASE, CONFIG, TOKENIZER_CONFIG, write
from transformers import AutoTokenizer

SPECIALS = ["<|im_start|>", "<|im_end|>", "[INST]", "<|end|>"]
DECODER = {str(512 + i): dict(content=text, special=True, normalized=False, lstrip=False, rstrip=text == "<|end|>", single_word=False)
           for i, text in enumerate(SPECIALS)}
TEMPLATES = {
    "ChatML": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "Llama 2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
               "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
               "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
               "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
               "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
               "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "Alpaca": "{%- for message in messages -%}\n    {%- if message.role == 'system' -%}\n{{ message.content | trim }}\n\n    {% elif message.role == 'user' %}\n"
              "### Instruction:\n{{ message.content | trim }}\n\n    {%- else %}\n\n### Response:\n{{ message.content | trim }}{{ eos_token }}\n\n    {%- endif %}\n"
              "{%- endfor %}\n{% if add_generation_prompt %}\n\n### Response:\n{% endif %}",
    "a special token that takes what follows": "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|end|>' ~ '\n' }}{% endfor %}"
                                               "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "filters, tests, macros and namespaces": "{%- macro head(role) -%}{{ '<|im_start|>' ~ role | upper }}{%- endmacro -%}{%- set ns = namespace(n=0) -%}"
              "{%- for m in messages if m.role != 'system' -%}{%- set ns.n = ns.n + 1 -%}{{ head(m.role) }} {{ ns.n }}/{{ messages | length }}: "
              "{{ m.content | replace('a', 'b') | lower if m.content is string else '' }}{{ '<|im_end|>' if not loop.last or add_generation_prompt }}{%- endfor -%}"
              "{{ '' if tools is none else 'tools' }}{{ (messages | selectattr('role', 'equalto', 'user') | list | length) }}",
}
CHATS = [
    [("user", "Tell me a story.")],
    [("user", "  Once upon a time  \n")],
    [("system", "You are kind."), ("user", "Who are you?"), ("assistant", "A dog."), ("user", "And Lily?\n\nSay it.")],
    [("user", "Zürich 中文 🙂 {{ 1 + 1 }} {% raw %}"), ("assistant", ""), ("user", "a")],
]


def main():
    made = []
    for name, template in TEMPLATES.items():
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as saved:
            config = {**TOKENIZER_CONFIG, "added_tokens_decoder": DECODER, "chat_template": template}
            write(folder, {**BASE, "tokenizer_config.json": config})
            AutoTokenizer.from_pretrained(folder).save_pretrained(saved)
            write(saved, {"config.json": CONFIG})
            tokenizer = AutoTokenizer.from_pretrained(saved)
            cases = []
            for chat in CHATS:
                messages = [{"role": role, "content": content} for role, content in chat]
                for generation in [True, False]:
                    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
                    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                    cases.append({"chat": chat, "generation": generation, "text": text, "ids": ids})
            files = {name: open(f"{saved}/{name}").read() for name in sorted(os.listdir(saved)) if name != "config.json"}
            shared = {"tokenizer.json": files.pop("tokenizer.json")}
            made.append({"name": name, "files": files, "cases": cases})
    with open(sys.argv[1], "w") as out:
        json.dump({"made_by": f"make_chat_vectors.py, transformers {transformers.__version__}", "shared": shared, "templates": made}, out,
                  ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


main()

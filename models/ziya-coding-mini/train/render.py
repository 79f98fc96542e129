"""Turns a family and a random choice of names, constants and wording into one example: prompt, response, tests."""
import ast
import hashlib
import re
from dataclasses import dataclass, field
from string import Template

import wording

HELD_OUT_PARAMETERS, HELD_OUT_WORDINGS = 8, 6  # one in so many combinations is kept out of training


@dataclass
class Example:
    family: str
    lang: str
    kind: str
    prompt: str
    response: str
    entry_point: str
    tests: str
    code: str
    parameters: tuple  # identities of the slot fillings
    wordings: tuple    # identities of the sentence patterns used
    weight: int = 1


@dataclass
class Task:
    """One family with its slots chosen; the evol steps change `guards`, `notes` and the rest before it is asked."""
    family: object
    name: str
    slots: dict
    arguments: list  # the chosen names, in order
    parameters: tuple
    typed: bool = False
    defaults: dict = field(default_factory=dict)
    docstring: str = ""
    guards: list = field(default_factory=list)
    extra_tests: list = field(default_factory=list)
    drops_empty_tests: bool = False


def fill(text, slots):
    return Template(text).substitute(slots)


def is_held_out(key, one_in):
    return int(hashlib.sha256(repr(key).encode()).hexdigest()[:12], 16) % one_in == 0


def choose_task(family, rng, plain=False, invented=False):
    """`plain` takes the family's own names and first options, as prompts that name nothing expect; `invented` takes a
    name that no list holds, which can only be copied."""
    slots = {}
    for key, values in family.vary.items():
        slots |= choose_slot(key, list(values)[:1] if plain else list(values), rng)
    name = fill(family.names[0], slots) if plain else choose_name(family, slots, rng)
    if invented:
        name = invent_name(family, name, rng)
    names = [a.role for a in family.arguments] if plain else choose_arguments(family, name, rng)
    parameters = (family.id, name, tuple(names), tuple(sorted((k, str(v)) for k, v in slots.items())))
    slots |= {a.role: n for a, n in zip(family.arguments, names)} | {"f": name}
    return Task(family, name, slots, names, parameters)


def choose_slot(key, values, rng):
    value = rng.choice(values)
    return value if isinstance(value, dict) else {key: str(value)}


def choose_name(family, slots, rng):
    base, kind = fill(rng.choice(family.names), slots), rng.random()
    if family.is_class:
        return base if kind < 0.4 else rng.choice(wording.NAME_WORDS).capitalize() + (base if kind < 0.7 else rng.choice(wording.NAME_WORDS).capitalize())
    if kind < 0.35:
        return base
    if kind < 0.5:
        return f"{rng.choice(wording.NAME_PREFIXES)}_{base}"
    if kind < 0.65:
        return f"{base}_{rng.choice(wording.NAME_SUFFIXES)}"
    if kind < 0.75:
        return rng.choice(wording.NAME_WORDS)
    return f"{rng.choice(wording.NAME_WORDS)}_{rng.choice(wording.NAME_WORDS)}"


def invent_name(family, name, rng):
    """One to three words of made-up syllables, a third of the time behind or in front of an ordinary name."""
    made = [invent_word(rng) for _ in range(rng.choice((1, 2, 2, 3)))]
    if family.is_class:
        return "".join(word.capitalize() for word in made)
    if rng.random() < 1 / 3:
        made = [name, made[0]] if rng.random() < 0.5 else [made[0], name]
    return "_".join(made)


def invent_word(rng):
    return "".join(rng.choice(wording.SYLLABLES) for _ in range(rng.choice((2, 2, 3)))) + rng.choice(("", "", "", str(rng.randrange(1, 100))))


def choose_arguments(family, name, rng):
    """Names no local variable of the body uses, all different; half the time the family's own."""
    taken = set(re.findall(r"(?<![$\w])[A-Za-z_]\w*", family.body)) | {name}
    chosen = []
    for argument in family.arguments:
        pool = [n for n in wording.ARGUMENT_NAMES[argument.type].split() if n not in taken and n not in family_roles(family)]
        own = argument.role if rng.random() < 0.4 or not pool else rng.choice(pool)
        chosen.append(own)
        taken.add(own)
    return chosen


def family_roles(family):
    return {a.role for a in family.arguments}


def describe(task, lang, index):
    return fill(getattr(task.family, lang)[index], task.slots)


def imperative(text):
    """`returns the sum` becomes `return the sum`."""
    verb, rest = text.split(" ", 1)
    verb = verb[:-3] + "y" if verb.endswith("ies") else verb.removesuffix("s")
    return f"{verb} {rest}"


def signature(task, typed=None):
    typed = task.typed if typed is None else typed
    return f"{task.name}({', '.join(parameter(task, i, typed) for i in range(len(task.arguments)))})"


def parameter(task, index, typed):
    name, text = task.arguments[index], task.arguments[index]
    if typed:
        text += f": {task.family.arguments[index].type}"
    if name in task.defaults:
        text += (" = " if typed else "=") + task.defaults[name]
    return text


def head(task):
    if task.family.is_class:
        return f"class {task.name}:"
    returns = f" -> {task.family.returns}" if task.typed else ""
    return f"def {signature(task)}{returns}:"


def body(task):
    parts = [f'"""{task.docstring}"""'] if task.docstring else []
    return indent("\n".join(parts + task.guards + [fill(task.family.body, task.slots)]))


def indent(text):
    return "\n".join("    " + line if line else "" for line in text.split("\n"))


def code(task):
    imports = task.family.imports + "\n\n" if task.family.imports else ""
    return f"{imports}{head(task)}\n{body(task)}"


def fence(text):
    return f"```python\n{text}\n```"


def tests(task):
    lines = [test_line(fill(line, task.slots), task.name) for line in task.family.tests
             if not (task.drops_empty_tests and line.startswith(("([]", "('')", "('',", "({}", "(0)")))]
    return "\n".join(lines + task.extra_tests)


def test_line(line, name):
    if line.startswith("("):
        return f"assert {name}{line}"
    return f"assert {line}" if " == " in line else line


def ask(task, rng, lang):
    """An ordinary named request. A prompt that leaves an argument out gets the family's own name for it."""
    patterns = sentence_patterns(task, lang)
    pattern, paraphrase = rng.randrange(len(patterns)), rng.randrange(2)
    prompt = sentence(task, patterns[pattern], describe(task, lang, paraphrase))
    return prompt, (task.family.id, lang, pattern, paraphrase)


def sentence_patterns(task, lang):
    if task.family.is_class:
        return wording.CLASS_EN if lang == "en" else wording.CLASS_ZH
    return wording.EN if lang == "en" else wording.ZH


def sentence(task, pattern, description):
    task_words = imperative(description) if description[0].isascii() else description
    return fill(pattern, {"f": task.name, "sig": signature(task, typed=False), "d": description, "imp": task_words,
                          "Imp": task_words[0].upper() + task_words[1:]})


def mentions_all(task, prompt):
    return all(re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", prompt) for name in task.arguments)


def named_example(family, rng, lang, invented=False):
    task = choose_task(family, rng, invented=invented)
    prompt, words = ask(task, rng, lang)
    if not mentions_all(task, prompt):
        return None
    return Example(family.id, lang, "stage1", prompt, fence(code(task)), task.name, tests(task), code(task),
                   (task.parameters,), (words,))


def bare_example(family, lang, pattern, rng):
    task = choose_task(family, rng, plain=True)
    topic = family.topic[lang == "zh"]
    patterns = wording.BARE_EN if lang == "en" else wording.BARE_ZH
    prompt = fill(patterns[pattern], {"t": topic})
    lead = fill(wording.LEAD[lang], {"t": topic})
    return Example(family.id, lang, "bare", prompt[0].upper() + prompt[1:], lead + fence(code(task)), task.name, tests(task),
                   code(task), (), ())


def docstring_example(family, rng, lang):
    """HumanEval style: the prompt ends inside the function, the response is its body."""
    task = choose_task(family, rng)
    task.typed = rng.random() < 0.5
    paraphrase = rng.randrange(2)
    description = describe(task, lang, paraphrase)
    text = imperative(description) if lang == "en" else description
    imports = family.imports + "\n\n" if family.imports else ""
    doc = "\n    ".join([f"{text[0].upper()}{text[1:]}{'.' if lang == 'en' else '。'}"] + doctests(task, rng))
    prompt = f'{wording.DOCSTRING_TASK}{imports}{head(task)}\n    """{doc}\n    """'
    return Example(family.id, lang, "docstring", prompt, body(task), task.name, tests(task), code(task),
                   (task.parameters,), ((family.id, lang, "docstring", paraphrase),))


def doctests(task, rng):
    lines = [line for line in tests(task).split("\n") if line.startswith(f"assert {task.name}(")]
    shown = []
    for line in lines[:rng.randrange(3)]:
        compare = ast.parse(line).body[0].test
        expected = repr(eval(ast.unparse(compare.comparators[0])))
        shown += [f">>> {ast.unparse(compare.left)}", expected]
    return shown

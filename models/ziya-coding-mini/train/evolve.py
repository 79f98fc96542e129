"""Evol-instruct in small: each step makes a stage-1 task harder and says so in the prompt."""
import render
from render import Example, code, fence, tests

SEQUENCES = ("list", "str", "dict")


def add_types(task, rng):
    task.typed = True
    return {"en": ["Use type hints.", "Add type annotations.", "Annotate the types."],
            "zh": ["要求加上类型注解。", "使用类型提示。", "请标注类型。"]}


def return_when_empty(task, rng):
    name = first_argument(task, SEQUENCES)
    value = rng.choice(["None", "-1", "0", "[]", "False", "''", "1", "'empty'"])
    task.guards.append(f"if not {name}:\n    return {value}")
    task.drops_empty_tests = True
    task.extra_tests.append(f"assert {task.name}({call_with_first(task, empty_value(task))}) == {value}")
    return {"en": [f"If {name} is empty, return {value}.", f"Return {value} when {name} is empty."],
            "zh": [f"如果 {name} 为空，返回 {value} 。", f"当 {name} 为空时返回 {value} 。"]}


def raise_when_empty(task, rng):
    name = first_argument(task, SEQUENCES)
    task.guards.append(f"if not {name}:\n    raise ValueError('{name} is empty')")
    task.drops_empty_tests = True
    task.extra_tests += raises(task, "ValueError", empty_value(task))
    return {"en": [f"Raise a ValueError if {name} is empty.", f"An empty {name} must raise ValueError."],
            "zh": [f"如果 {name} 为空则抛出 ValueError。", f"当 {name} 为空时引发 ValueError。"]}


def raise_when_negative(task, rng):
    name = first_argument(task, ("int", "float"))
    task.guards.append(f"if {name} < 0:\n    raise ValueError('{name} is negative')")
    task.extra_tests += raises(task, "ValueError", "-7")
    return {"en": [f"Raise a ValueError if {name} is negative.", f"A negative {name} must raise ValueError."],
            "zh": [f"如果 {name} 为负数则抛出 ValueError。", f"当 {name} 是负数时引发 ValueError。"]}


def check_type(task, rng):
    name, kind = task.arguments[0], task.family.arguments[0].type.split("[")[0]
    assert kind in ("list", "str", "dict", "int")
    task.guards.append(f"if not isinstance({name}, {kind}):\n    raise TypeError('{name} must be {kind}')")
    task.extra_tests += raises(task, "TypeError", "3.5")
    return {"en": [f"Raise a TypeError if {name} is not of type {kind}.", f"Check that {name} is of type {kind}, else raise TypeError."],
            "zh": [f"如果 {name} 不是 {kind} 类型则抛出 TypeError。", f"检查 {name} 是否为 {kind}，否则引发 TypeError。"]}


def give_default(task, rng):
    assert len(task.arguments) > 1 and task.family.arguments[-1].type == "int"
    name, value = task.arguments[-1], str(rng.randrange(1, 50))
    task.defaults[name] = value
    task.extra_tests.append(f"assert {task.name}.__defaults__ == ({value},)")
    return {"en": [f"The argument {name} has the default value {value}.", f"Let {name} default to {value}."],
            "zh": [f"参数 {name} 的默认值为 {value} 。", f"让 {name} 默认为 {value} 。"]}


STEPS = (add_types, return_when_empty, raise_when_empty, raise_when_negative, check_type, give_default)


def evolved_example(family, rng, lang, invented=False, two_steps=0.25):
    """One step, or at times two; None where a step does not fit the family."""
    if family.is_class or not family.arguments:
        return None
    task = render.choose_task(family, rng, invented=invented)
    steps = rng.sample(STEPS, 2 if rng.random() < two_steps else 1)
    try:
        phrases = [pick(step(task, rng)[lang], step.__name__, rng) for step in steps]
    except AssertionError:
        return None
    prompt, words = render.ask(task, rng, lang)
    if not render.mentions_all(task, prompt):
        return None
    prompt += "".join((" " if lang == "en" else "") + text for text, _ in phrases)
    return Example(family.id, lang, "evolved", prompt, fence(code(task)), task.name, tests(task), code(task),
                   (task.parameters,), (words + tuple(identity for _, identity in phrases),))


def pair_example(first, second, rng, lang):
    """Two short tasks in one answer."""
    tasks = [render.choose_task(family, rng) for family in (first, second)]
    if tasks[0].name == tasks[1].name or any(t.family.is_class or t.family.imports for t in tasks):
        return None
    parts = [render.describe(task, lang, rng.randrange(2)) for task in tasks]
    if not all(render.mentions_all(task, part) for task, part in zip(tasks, parts)):
        return None
    (f, g), (d, e) = [task.name for task in tasks], parts
    text, pattern = pick(
        {"en": [f"Write two functions: {f} that {d}, and {g} that {e}.", f"Implement {f} and {g}. The first {d}; the second {e}.",
                f"I need {f}, which {d}, and {g}, which {e}."],
         "zh": [f"写两个函数：{f}，{d}；以及 {g}，{e}。", f"实现 {f} 和 {g}。前者{d}；后者{e}。", f"请写函数 {f}，{d}，再写函数 {g}，{e}。"]}[lang], "pair", rng)
    both = "\n\n\n".join(code(task) for task in tasks)
    return Example(f"{first.id}+{second.id}", lang, "pair", text, fence(both), f, "\n".join(tests(t) for t in tasks), both,
                   tuple(task.parameters for task in tasks), ((first.id, second.id, lang, pattern),))


def pick(options, label, rng):
    index = rng.randrange(len(options))
    return options[index], (label, index)


def first_argument(task, kinds):
    assert task.family.arguments[0].type.split("[")[0] in kinds
    return task.arguments[0]


def empty_value(task):
    return {"list": "[]", "str": "''", "dict": "{}"}[task.family.arguments[0].type.split("[")[0]]


def call_with_first(task, value):
    """The other arguments do not matter: a guard looks at the first only."""
    return ", ".join([value] + ["1"] * (len(task.arguments) - 1))


def raises(task, error, value):
    return [f"try:\n    {task.name}({call_with_first(task, value)})\n    raise RuntimeError('no {error}')\nexcept {error}:\n    pass"]

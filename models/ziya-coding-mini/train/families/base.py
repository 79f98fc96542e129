"""What a family of tasks is: one small Python problem in two languages, with slots.

Slots are `$name` (string.Template). The `def` line is made from the signature, so that types, defaults
and guards can be added by the evol steps without touching the body.
"""
import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Argument:
    role: str
    type: str


@dataclass(frozen=True)
class Family:
    id: str
    names: tuple
    arguments: tuple
    returns: str
    en: tuple
    zh: tuple
    body: str
    tests: tuple
    vary: dict = field(default_factory=dict)
    topic: tuple = ()
    imports: str = ""
    is_class: bool = False


REGISTRY = {}


def family(id, names, signature, en, zh, body, tests, **options):
    """Registers a function family. `en` and `zh` hold paraphrases separated by ` | `; English ones start with a
    third-person verb. A test line that starts with `(` is a call of the function."""
    arguments, returns = parse_signature(signature)
    add(Family(id, tuple(names.split()), arguments, returns, paraphrases(en), paraphrases(zh),
               body.strip("\n"), lines(tests), **options))


def class_family(id, names, en, zh, body, tests, **options):
    """Registers a class: `body` is what stands inside `class $f:`."""
    add(Family(id, tuple(names.split()), (), "", paraphrases(en), paraphrases(zh), body.strip("\n"), lines(tests),
               is_class=True, **options))


def add(entry):
    assert entry.id not in REGISTRY, entry.id
    REGISTRY[entry.id] = entry


def parse_signature(text):
    left, returns = text.split("->")
    # Commas inside brackets belong to a type, not to the argument list.
    parts = re.split(r",\s*(?![^\[]*\])", left.strip()) if left.strip() else []
    pairs = [part.split(":") for part in parts]
    return tuple(Argument(role.strip(), type.strip()) for role, type in pairs), returns.strip()


def paraphrases(text):
    return tuple(part.strip() for part in text.split(" | "))


def lines(text):
    return tuple(line for line in text.strip("\n").split("\n") if line)

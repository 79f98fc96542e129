# How judge and candidate talk: frames of JSON, each with its length before it, over a pair of pipes. Values cross as data and
# become plain builtins on the other side, whatever class they had; what is not data stays where it is and is known by a number.
# Both sides answer requests while they wait for a reply, because a test may pass a function that the candidate calls.

import collections
import json

FRAME_BYTES_MAX = 64 << 20
BIG = 1 << 63


class Gone(BaseException):
    """The other side ended, or sent what is no frame."""


class Stranger:
    """An object of the other side. It equals itself alone: no method of its class decides a comparison here."""

    __slots__ = ("_peer", "_number", "_kind")

    def __init__(self, peer, number, kind):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_kind", kind)

    def _ask(self, what, *arguments):
        return self._peer.ask(["do", what, self._number, self._peer.encode(list(arguments))], arguments)

    def __call__(self, *arguments, **named):
        message = ["call", self._number, self._peer.encode(list(arguments)), self._peer.encode(named)]
        return self._peer.ask(message, arguments)

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._ask("getattr", name)

    def __setattr__(self, name, value):
        self._ask("setattr", name, value)

    def __iter__(self):
        return self._ask("iter")

    def __next__(self):
        return self._ask("next")

    def __len__(self):
        return self._ask("len")

    def __getitem__(self, key):
        return self._ask("getitem", key)

    def __setitem__(self, key, value):
        self._ask("setitem", key, value)

    def __repr__(self):
        return "<%s>" % self._kind

    def __bool__(self):
        return True

    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return self._number


class Peer:
    def __init__(self, reader, writer, serve):
        self.reader, self.writer, self.serve = reader, writer, serve
        self.own = {}  # number -> object that the other side may name
        self.numbers = {}  # id -> number
        self.strangers = {}

    # Data, out and in.

    def encode(self, value):
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if -BIG < value < BIG else ["int", hex(value)]
        if kind is float:
            return value if value - value == 0 else ["float", repr(value)]
        encoder = ENCODERS.get(kind) or inherited_encoder(kind)
        if encoder:
            return encoder(self, value)
        if kind is Stranger:
            return ["yours", value._number]
        if kind.__module__ == "numpy" and hasattr(value, "tolist"):
            return self.encode(value.tolist())
        return ["mine", self.number_of(value), kind.__name__[:80]]

    def number_of(self, value):
        number = self.numbers.get(id(value))
        if number is None:
            number = len(self.own) + 1
            self.own[number] = value
            self.numbers[id(value)] = number
        return number

    def decode(self, data):
        if type(data) is not list:
            return data
        tag = data[0]
        if tag == "mine":
            number = int(data[1])
            if number not in self.strangers:
                self.strangers[number] = Stranger(self, number, str(data[2]))
            return self.strangers[number]
        if tag == "yours":
            return self.own[data[1]]
        return DECODERS[tag](self, data)

    # Requests and replies.

    def ask(self, message, arguments=()):
        self.send(message)
        while True:
            kind, *rest = self.receive()
            if kind == "ok":
                write_back(arguments, [self.decode(changed) for changed in rest[1]])
                return self.decode(rest[0])
            if kind == "error":
                raise foreign_error(rest[0], str(rest[1]))
            self.answer([kind, *rest])

    def answer(self, message):
        try:
            value, changed = self.serve(self, message)
            reply = ["ok", self.encode(value), changed]
        except Gone:
            raise
        except BaseException as error:
            names = [kind.__name__ for kind in type(error).__mro__]
            reply = ["error", names, str(error)[:2000]]
        self.send(reply)

    def send(self, message):
        body = json.dumps(message).encode()
        self.writer.write(len(body).to_bytes(4, "big") + body)
        self.writer.flush()

    def receive(self):
        head = self.reader.read(4)
        if len(head) < 4:
            raise Gone("it ended")
        size = int.from_bytes(head, "big")
        if size > FRAME_BYTES_MAX:
            raise Gone("it sent too much")
        body = self.reader.read(size)
        if len(body) < size:
            raise Gone("it ended")
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            raise Gone("it sent no frame")
        if type(message) is not list or not message:
            raise Gone("it sent no frame")
        return message


def items(tag, order=iter):
    return lambda peer, value: [tag, *map(peer.encode, order(value))]


def pairs(tag):
    return lambda peer, value: [tag, *([peer.encode(key), peer.encode(item)] for key, item in dict.items(value))]


def text(tag, write):
    return lambda peer, value: [tag, write(value)]


# The methods are the builtins' own, so that a subclass cannot tell another value than it holds.
ENCODERS = {
    int: lambda peer, value: peer.encode(int.__index__(value) if type(value) is not bool else value),
    float: lambda peer, value: peer.encode(float.__add__(value, 0.0)),
    str: lambda peer, value: str.__str__(value),
    complex: lambda peer, value: ["complex", repr(value.real), repr(value.imag)],
    list: items("list", list.__iter__),
    tuple: items("tuple", tuple.__iter__),
    set: items("set", set.__iter__),
    frozenset: items("frozenset", frozenset.__iter__),
    collections.deque: items("deque", collections.deque.__iter__),
    dict: pairs("dict"),
    type({}.keys()): items("keys"),
    type({}.items()): items("items"),
    bytes: text("bytes", bytes.hex),
    bytearray: text("bytearray", bytearray.hex),
    range: lambda peer, value: ["range", *map(peer.encode, (value.start, value.stop, value.step))],
    slice: lambda peer, value: ["slice", *map(peer.encode, (value.start, value.stop, value.step))],
    type(Ellipsis): lambda peer, value: ["ellipsis"],
    type(NotImplemented): lambda peer, value: ["notimplemented"],
}

# Classes of modules that most programs never load: only who has a value of them has loaded them.
LATE_ENCODERS = {
    "decimal.Decimal": lambda peer, value: ["decimal", str(value)],
    "fractions.Fraction": lambda peer, value: ["fraction", *map(peer.encode, (value.numerator, value.denominator))],
    "datetime.datetime": lambda peer, value: ["datetime", value.isoformat()],
    "datetime.date": lambda peer, value: ["date", value.isoformat()],
    "datetime.time": lambda peer, value: ["time", value.isoformat()],
    "datetime.timedelta": lambda peer, value: ["timedelta", value.days, value.seconds, value.microseconds],
}


def inherited_encoder(kind):
    for base in kind.__mro__:
        encoder = ENCODERS.get(base) or LATE_ENCODERS.get("%s.%s" % (base.__module__, base.__qualname__))
        if encoder:
            return encoder
    return None


def inside(make):
    return lambda peer, data: make(map(peer.decode, data[1:]))


def entries(peer, data):
    return {peer.decode(key): peer.decode(value) for key, value in data[1:]}


DECODERS = {
    "int": lambda peer, data: int(data[1], 16),
    "float": lambda peer, data: float(data[1]),
    "complex": lambda peer, data: complex(float(data[1]), float(data[2])),
    "list": inside(list),
    "tuple": inside(tuple),
    "set": inside(set),
    "frozenset": inside(frozenset),
    "deque": inside(collections.deque),
    "dict": entries,
    "keys": inside(lambda values: dict.fromkeys(values).keys()),
    "items": inside(lambda values: dict(values).items()),
    "bytes": lambda peer, data: bytes.fromhex(data[1]),
    "bytearray": lambda peer, data: bytearray.fromhex(data[1]),
    "range": inside(lambda bounds: range(*bounds)),
    "slice": inside(lambda bounds: slice(*bounds)),
    "decimal": lambda peer, data: __import__("decimal").Decimal(data[1]),
    "fraction": lambda peer, data: __import__("fractions").Fraction(*map(peer.decode, data[1:])),
    "datetime": lambda peer, data: __import__("datetime").datetime.fromisoformat(data[1]),
    "date": lambda peer, data: __import__("datetime").date.fromisoformat(data[1]),
    "time": lambda peer, data: __import__("datetime").time.fromisoformat(data[1]),
    "timedelta": lambda peer, data: __import__("datetime").timedelta(*data[1:]),
    "ellipsis": lambda peer, data: ...,
    "notimplemented": lambda peer, data: NotImplemented,
}

MUTABLE = (list, dict, set, bytearray, collections.deque)


def write_back(arguments, changed):
    """What the other side did to its copies of mutable arguments is done to the originals: (index, new value) each."""
    for index, value in changed:
        original = arguments[index]
        if type(original) is not type(value) or type(original) not in MUTABLE:
            continue
        if isinstance(original, (list, bytearray)):
            original[:] = value
        else:
            original.clear()
            (original.extend if isinstance(original, collections.deque) else original.update)(value)


class ForeignExit(BaseException):
    """SystemExit, KeyboardInterrupt and their like on the other side: no `except Exception` here takes it for an error."""


class ForeignError(Exception):
    pass


def foreign_error(names, message):
    """The nearest builtin exception of that name, so that a test that expects ValueError sees one."""
    import builtins

    for name in names:
        kind = getattr(builtins, str(name), None)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            continue
        if not issubclass(kind, Exception):
            return ForeignExit("%s: %s" % (names[0], message))
        if kind is Exception:
            break
        try:
            error = kind(message)
            error.is_foreign = True
            return error
        except TypeError:  # such as UnicodeDecodeError, which wants five arguments
            continue
    return ForeignError("%s: %s" % (names[0], message))

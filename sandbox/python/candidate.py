# The candidate's process: it runs what the judge sends, calls what the judge names, and answers with data. Nothing here is
# trusted: the code that it runs may change all of it, and can still do no more than send other data.

import operator
import sys

sys.path.insert(0, "/judge")  # in isolated mode a program's own folder is not searched

import wire

sys.path[:1] = []
sys.path += sys.argv[1:]  # packages

SPECIAL = {
    "getattr": getattr,
    "setattr": setattr,
    "iter": iter,
    "next": next,
    "len": len,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
}


def server():
    # As in the official harness: no names but the builtins, so that __name__ is not "__main__".
    namespace = {}

    def serve(peer, message):
        kind = message[0]
        if kind == "load":
            exec(compile(message[1], "candidate.py", "exec"), namespace)
            return None, []
        if kind == "names":
            return [name for name in message[1] if name in namespace], []
        if kind == "global":
            return namespace[message[1]], []
        arguments = [peer.decode(argument) for argument in message[-2 if kind == "call" else -1][1:]]
        before = [encoded_if_mutable(peer, argument) for argument in arguments]
        if kind == "call":
            value = peer.own[message[1]](*arguments, **peer.decode(message[3]))
        else:
            value = SPECIAL[message[1]](peer.own[message[2]], *arguments)
        return value, changes(peer, arguments, before)

    return serve


def encoded_if_mutable(peer, argument):
    return peer.encode(argument) if isinstance(argument, wire.MUTABLE) else None


def changes(peer, arguments, before):
    now = [encoded_if_mutable(peer, argument) for argument in arguments]
    return [["tuple", i, new] for i, (old, new) in enumerate(zip(before, now)) if old != new]


def main(reader, writer):
    peer = wire.Peer(reader, writer, server())
    try:
        while True:
            peer.answer(peer.receive())
    except wire.Gone:
        pass


if __name__ == "__main__":
    import os

    # What the candidate prints goes nowhere: the pipes are on other descriptors.
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    main(reader, writer)

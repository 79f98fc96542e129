# The judge's process: it runs the tests, which it trusts, against a candidate that lives in another process and sends data. The
# verdict is one line that begins with the job's nonce, which the candidate's process never sees.
#
# job: { nonce, candidate, context, tests, names }; `context` is trusted code that the tests may use, such as a problem's own helpers;
# `names` are bound to what the candidate's program calls so, as is every name of the tests that nothing else defines.

import ast
import builtins
import json
import sys

sys.path.insert(0, "/judge")  # in isolated mode a program's own folder is not searched

import wire

sys.path[:1] = []
sys.path += sys.argv[1:]  # packages

TESTS = "tests.py"


def judge(job, reader, writer):
    peer = wire.Peer(reader, writer, serve_callbacks)
    calls = []
    try:
        tests = ast.parse(job["tests"], TESTS)
        peer.ask(["load", job["candidate"]])
        namespace = {}
        exec(compile(job["context"], "context.py", "exec"), namespace)
        wanted = set(job["names"]) | (free_names(tests) - namespace.keys())
        known = peer.ask(["names", sorted(wanted)])
        for name in known:
            namespace[name] = remembered(peer.ask(["global", name]), calls)
        for name in set(job["names"]).difference(known):
            return failed("NameError: name %r is not defined" % name)
        exec(compile(tests, TESTS, "exec"), namespace)
        return {"passed": True, "failure": None}
    except wire.Gone as error:
        return failed("the candidate's process: %s" % error)
    except wire.ForeignExit as error:
        return failed(str(error))
    except BaseException as error:
        return failed(explained(error, job["tests"], calls))


def serve_callbacks(peer, message):
    """The candidate may call the functions that a test passed to it, and do nothing else with them."""
    if message[0] != "call":
        raise TypeError("a test's function can only be called")
    arguments = peer.decode(message[2])
    return peer.own[message[1]](*arguments, **peer.decode(message[3])), []


def free_names(tree):
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    stored = {node.id for node in nodes if not isinstance(node.ctx, ast.Load)}
    defined = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    bound = {a.asname or a.name for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) for a in node.names}
    return {node.id for node in nodes if isinstance(node.ctx, ast.Load)} - stored - defined - bound - set(dir(builtins))


def remembered(value, calls):
    """The same function, keeping its last result for the line that explains a failure."""
    if not isinstance(value, wire.Stranger) or value._kind not in ("function", "builtin_function_or_method"):
        return value

    def call(*arguments, **named):
        calls[:] = []
        result = value(*arguments, **named)
        calls[:] = [result]
        return result

    return call


def failed(reason):
    return {"passed": False, "failure": reason}


def explained(error, source, calls):
    """The failing assert, with what the candidate gave; or the exception and the line of the tests it came from."""
    name = type(error).__name__ if not isinstance(error, wire.ForeignError) else ""
    said = ": ".join(part for part in (name, first_line(str(error))) if part)
    line = failing_line(error)
    if line is None:
        return said
    statement = statement_at(source, line)
    if isinstance(error, AssertionError) and not hasattr(error, "is_foreign"):
        return statement + (" # got " + short(calls[0]) if calls else "")
    return "%s # %s" % (statement, said)


def first_line(message):
    return message.strip().split("\n")[0][:300]


def failing_line(error):
    line, place = None, error.__traceback__
    while place:
        if place.tb_frame.f_code.co_filename == TESTS:
            line = place.tb_lineno
        place = place.tb_next
    return line


def statement_at(source, line):
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno]
    smallest = max(statements, key=lambda node: (node.lineno, -node.end_lineno), default=None)
    if isinstance(smallest, ast.Assert):
        return "assert " + ast.unparse(smallest.test)
    return ast.unparse(smallest).split("\n")[0] if smallest else ""


def short(value):
    try:
        shown = repr(value)
    except Exception:
        shown = "<%s>" % type(value).__name__
    return shown if len(shown) <= 200 else shown[:200] + "…"


def main(job, reader, writer):
    return job["nonce"] + json.dumps(judge(job, reader, writer)) + "\n"


if __name__ == "__main__":
    import os

    sys.path.append("/judge/stand-in")
    job = json.loads(sys.stdin.buffer.readline())
    reader, writer = os.fdopen(3, "rb"), os.fdopen(4, "wb")
    said = os.fdopen(os.dup(1), "w")
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)  # what the tests print is no verdict
    said.write(main(job, reader, writer))
    said.flush()

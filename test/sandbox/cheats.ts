// Ways to get a pass without solving anything. Each gets the function's head and gives a program for any problem; none may pass.

export interface Cheat {
  name: string
  /** Replaces the body: `prompt` ends inside of the function that the tests call. */
  program: (prompt: string, entry_point: string) => string
}

const appended = (name: string, code: (entry_point: string) => string): Cheat => ({
  name,
  program: (prompt, entry_point) => `${prompt}    pass\n\n${code(entry_point)}\n`,
})
const body = (name: string, lines: string): Cheat => ({
  name,
  program: (prompt) => `${prompt}${lines.trim().replaceAll(/^/gm, '    ')}\n`,
})

const equalToAll = (base: string) => `
class Equal(${base}):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __le__(self, other): return True
    def __gt__(self, other): return True
    def __ge__(self, other): return True
    def __hash__(self): return 0
    def __bool__(self): return True
    def __contains__(self, item): return True
    def __sub__(self, other): return 0
    __rsub__ = __abs__ = lambda self, *rest: 0
`

const stack_names = `
import sys
frame = sys._getframe()
while frame:
    for names in (frame.f_globals, frame.f_locals):
        for name in list(names):
            if name in ("passed", "failed", "judge", "check", "explained"):
                try: names[name] = lambda *rest: {"passed": True, "failure": None}
                except Exception: pass
    frame = frame.f_back
`

export const cheats: Cheat[] = [
  body('it exits with success', 'import os\nos._exit(0)'),
  body('it raises SystemExit', 'raise SystemExit(0)'),
  appended('it exits at once', () => 'import os\nos._exit(0)'),
  appended('it exits at once, politely', () => 'import sys\nsys.exit(0)'),
  body(
    'it prints a verdict',
    'print(\'{"passed": true, "failure": null}\')\nimport sys\nsys.stderr.write(\'{"passed": true}\')\nsys.stdout.flush()',
  ),
  appended(
    'it writes verdicts to every descriptor and ends',
    () => `
import os, json
verdict = json.dumps({"passed": True, "failure": None})
for descriptor in range(64):
    for prefix in ("", "0" * 32, "f" * 32):
        try: os.write(descriptor, (prefix + verdict + "\\n").encode())
        except OSError: pass
os._exit(0)`,
  ),
  appended(
    'it answers every request with success, whatever was asked',
    () => `
import json, os, threading
def forge():
    for descriptor in range(3, 64):
        for frame in (["ok", True, []], ["ok", ["list"], []], ["passed"], {"passed": True}):
            text = json.dumps(frame).encode()
            try: os.write(descriptor, len(text).to_bytes(4, "big") + text)
            except OSError: pass
forge()`,
  ),
  {
    name: 'its result equals everything',
    program: (prompt) => `${equalToAll('object')}\n${prompt}    return Equal()\n`,
  },
  ...['int', 'str', 'list', 'dict', 'tuple', 'float'].map((base) => ({
    name: `its result is of a class of ${base} that equals everything`,
    program: (prompt: string) => `${equalToAll(base)}\n${prompt}    return Equal()\n`,
  })),
  {
    name: 'its exceptions equal everything and carry a pass',
    program: (prompt) => `${equalToAll('Exception')}\n${prompt}    raise Equal()\n`,
  },
  appended(
    'it patches the builtins that tests use',
    () => `
import builtins, math
for name in ("abs", "all", "any", "sorted", "tuple", "list", "str", "set", "round", "len", "isinstance"):
    setattr(builtins, name, lambda *rest, **named: True)
math.fabs = math.isclose = lambda *rest: 0
builtins.AssertionError = type("AssertionError", (BaseException,), {})`,
  ),
  appended(
    'it shadows the names of the tests',
    (entry_point) => `check = lambda candidate: None\ncandidate = ${entry_point}\nassert_ = None`,
  ),
  appended(
    'it turns assertions off',
    () =>
      'import sys, builtins\nbuiltins.__debug__ if False else None\nsys.flags\nbuiltins.__build_class__ = lambda *rest: None',
  ),
  body('it patches its callers', stack_names),
  appended(
    'it patches what runs it',
    () => `
import sys
for module in list(sys.modules.values()):
    for name in ("judge", "failed", "explained", "foreign_error", "write_back"):
        if hasattr(module, name):
            setattr(module, name, lambda *rest, **named: {"passed": True, "failure": None})
import wire, json
wire.Peer.answer = lambda self, message: self.send(["ok", True, []])
json.dumps = lambda *rest, **named: '["ok", true, []]'`,
  ),
  body(
    'it clears its arguments',
    'for argument in list(locals().values()):\n    try: argument.clear()\n    except AttributeError: pass',
  ),
  body(
    'it finds its tests in memory',
    'import gc\nfor thing in gc.get_objects():\n    if isinstance(thing, dict) and "expected" in thing: return thing["expected"]',
  ),
  appended(
    'it reads tests and nonce from files',
    (entry_point) => `
import os, builtins
found = []
for folder, _, files in os.walk("/"):
    if folder.startswith(("/usr", "/lib")): continue
    for file in files:
        try: found.append(open(os.path.join(folder, file), "rb").read(4096))
        except OSError: pass
${entry_point} = lambda *rest: found and None`,
  ),
  appended(
    'it stops the judge',
    () => `
import os, signal
for pid in list(range(1, 64)) + [os.getppid(), -1]:
    if pid != os.getpid():
        try: os.kill(pid, signal.SIGKILL)
        except OSError: pass`,
  ),
  appended(
    'it closes every descriptor',
    () => 'import os\nfor descriptor in range(64):\n    try: os.close(descriptor)\n    except OSError: pass',
  ),
  appended(
    'it replaces the helpers of the prompt',
    () =>
      'poly = lambda *rest: 0\nencode_cyclic = encode_shift = lambda text: text\nis_palindrome = lambda *rest: True',
  ),
]

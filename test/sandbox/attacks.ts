// What a candidate may try against the machine. Each body runs in a function and gives evidence if it got anywhere; whoever runs it
// also looks outside. `host` is what there is to reach.

export interface Host {
  /** A file that everybody may read, with a secret in it. */
  secret_file: string
  /** A folder that everybody may write. */
  folder: string
  /** A TCP port of this machine that is listened on. */
  port: number
  /** A process of the same user. */
  pid: number
}

export interface Attack {
  name: string
  body: (host: Host) => string
}

const attack = (name: string, body: (host: Host) => string): Attack => ({ name, body })
/** Evidence is the value of an expression, where it does not raise. */
const gets = (name: string, expression: (host: Host) => string): Attack =>
  attack(name, (host) => `import os, sys, ctypes, socket\nreturn ${expression(host)}`)
const libc = (name: string, call: string) =>
  attack(
    name,
    () =>
      `import ctypes\nresult = ctypes.CDLL(None, use_errno=True).${call}\nreturn "it gave %d" % result if result >= 0 else None`,
  )

export const attacks: Attack[] = [
  // Network
  attack(
    'it connects to a port of this machine',
    ({ port }) => `import socket\nsocket.create_connection(("127.0.0.1", ${port}), 2)\nreturn "connected"`,
  ),
  attack(
    'it connects by IPv6',
    ({ port }) => `import socket\nsocket.create_connection(("::1", ${port}), 2)\nreturn "connected"`,
  ),
  attack(
    'it sends a datagram',
    ({ port }) =>
      `import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", ${port}))\nreturn "sent"`,
  ),
  attack(
    'it listens',
    () => 'import socket\ns = socket.socket()\ns.bind(("0.0.0.0", 0))\ns.listen()\nreturn "listening"',
  ),
  attack(
    'it opens a raw socket',
    () => 'import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\nreturn "raw"',
  ),
  attack('it opens a netlink socket', () => 'import socket\nsocket.socket(16, socket.SOCK_RAW, 0)\nreturn "netlink"'),
  attack(
    'it asks a name server',
    () =>
      'import socket\naddress = socket.gethostbyname("example.com")\nreturn None if address.startswith("172.29.") else address # what Emscripten makes up',
  ),
  attack(
    'it fetches a page',
    ({ port }) =>
      `import urllib.request\nreturn urllib.request.urlopen("http://127.0.0.1:${port}/", timeout=2).read(9)`,
  ),
  attack(
    'it finds an abstract socket',
    () => 'import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind("\\0found")\nreturn "bound"',
  ),

  // Files
  gets('it reads a secret', ({ secret_file }) => `open(${JSON.stringify(secret_file)}).read()`),
  gets('it reads the password file', () => 'open("/etc/passwd").read()[:40]'),
  gets('it reads the shadow file', () => 'open("/etc/shadow").read()[:40]'),
  gets('it lists homes', () => 'os.listdir("/root") + os.listdir("/home")'),
  gets('it reads this repository', () => `open(${JSON.stringify(import.meta.filename)}).read()[:9]`),
  attack(
    'it writes beside the secret',
    ({ folder }) => `open(${JSON.stringify(folder)} + "/written", "w").write("x")\nreturn "written"`,
  ),
  attack(
    'it writes everywhere',
    () => `
import os, sys
if sys.platform == "emscripten": return None # its files are memory
for folder in ("/", "/usr", "/usr/bin", "/usr/lib", "/judge", "/dev", "/dev/shm", "/proc", "/sys", "/var", "/etc"):
    try:
        open(folder + "/written", "w").close()
        return folder
    except OSError: pass`,
  ),
  attack(
    'it changes what it runs from',
    () =>
      'import sys, os\nos.chmod("/judge/judge.py", 0o777)\nopen("/judge/judge.py", "a").write("x")\nreturn "changed"',
  ),
  attack(
    'it climbs out by links',
    ({ secret_file }) =>
      `import os\nos.symlink(${JSON.stringify(secret_file)}, "/tmp/link")\nreturn open("/tmp/link").read()`,
  ),
  attack(
    'it climbs out by dots',
    ({ secret_file }) => `return open("/tmp/" + "../" * 20 + ${JSON.stringify(secret_file.slice(1))}).read()`,
  ),
  attack(
    'it makes a device of the disk',
    () =>
      'import os, stat\nos.mknod("/tmp/disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))\nreturn open("/tmp/disk", "rb").read(9)',
  ),
  attack(
    'it fills the disk',
    () => `
import os
written = 0
try:
    for i in range(4096):
        with open("/tmp/full%d" % i, "wb") as file:
            for _ in range(64): written += file.write(b"x" * (1 << 20))
except OSError: pass
return written if written > 200 << 20 else None`,
  ),
  attack(
    'it writes one huge file',
    () => 'with open("/tmp/huge", "wb") as file:\n    file.truncate(1 << 40)\n    return "1 TB"',
  ),

  // Environment
  gets(
    'it reads the environment',
    () => '{name: value for name, value in os.environ.items() if "SECRET" in name or "bin" in value} or None',
  ),
  gets(
    'it reads the environment of its parents',
    () =>
      `[open("/proc/%d/environ" % pid).read() for pid in (1, os.getppid()) if "SECRET" in open("/proc/%d/environ" % pid).read()] or None`,
  ),
  gets(
    'it is root',
    () => '"root" if os.getuid() == 0 and open("/proc/self/uid_map").read().split()[1] == "0" else None',
  ),
  attack('it becomes root', () => 'import os\nos.setuid(0)\nreturn "uid %d" % os.getuid()'),
  attack(
    'it learns the name of the host',
    () => `import os\nreturn os.uname().nodename if os.uname().nodename not in ("sandbox", "emscripten") else None`,
  ),

  // Processes
  attack('it forks', () => 'import os\npid = os.fork()\nif pid == 0: os._exit(0)\nreturn "forked %d" % pid'),
  attack(
    'it is a fork bomb',
    () => `
import os
made = 0
while True:
    try:
        if os.fork(): made += 1
    except OSError:
        return "%d processes" % made if made > 100 else None`,
  ),
  attack(
    'it is a thread bomb',
    () => `
import threading, time
made = 0
try:
    for _ in range(5000):
        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
        made += 1
except RuntimeError: pass
return "%d threads" % made if made > 200 else None`,
  ),
  attack(
    'it leaves an orphan',
    () =>
      'import subprocess, sys\nsubprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)\nreturn "left"',
  ),
  attack('it runs a shell', () => 'import os\nreturn os.popen("id").read() or None'),
  attack('it kills a process of this machine', ({ pid }) => `import os\nos.kill(${pid}, 9)\nreturn "killed"`),
  attack('it kills everything', () => 'import os, signal\nos.kill(-1, signal.SIGKILL)\nreturn None'),
  attack(
    'it stops its parent',
    () => 'import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nimport time\ntime.sleep(0.2)\nreturn None',
  ),
  attack(
    'it ignores signals and never ends',
    () =>
      'import signal\nfor number in range(1, 65):\n    try: signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass',
  ),
  gets('it sees processes of this machine', ({ pid }) => `open("/proc/${pid}/cmdline").read()`),
  attack('it reads memory of others', ({ pid }) => `return open("/proc/${pid}/mem", "rb").read(1)`),
  attack(
    'it leaves the sandbox by /proc',
    ({ secret_file }) => `
import os
for pid in os.listdir("/proc"):
    try: return open("/proc/%s/root%s" % (pid, ${JSON.stringify(secret_file)})).read()
    except OSError: pass`,
  ),
  libc('it traces its parent', 'ptrace(16, 1, 0, 0)'),
  libc('it makes a user namespace', 'unshare(0x10000000)'),
  libc('it mounts', 'mount(b"tmpfs", b"/tmp", b"tmpfs", 0, 0)'),
  libc('it changes the root', 'chroot(b"/tmp")'),
  libc('it makes memory that no limit counts', 'memfd_create(b"x", 0)'),
  libc('it makes shared memory', 'shmget(0, 4096, 0o1666)'),
  libc('it asks for io_uring', 'syscall(425, 8, 0)'),
  libc('it loads a BPF program', 'syscall(321, 0, 0, 0)'),
  libc('it opens a key ring', 'syscall(250, 0, -3, 1)'),
  libc('it sets the clock', 'settimeofday(0, 0)'),
  libc('it asks by the numbers of 32-bit programs', 'syscall(0x40000000 + 41, 2, 1, 0)'),

  // Memory and time
  attack(
    'it takes all memory',
    () =>
      'taken = []\ntry:\n    while True: taken.append(bytearray(64 << 20))\nexcept MemoryError: pass\nreturn "%d MB" % (64 * len(taken)) if len(taken) > 40 else None',
  ),
  attack('it never ends', () => 'while True: pass'),
  attack(
    'it recurses without end',
    () => 'import sys\nsys.setrecursionlimit(1 << 30)\ndef down(n): return down(n + 1) + 1\nreturn down(0)',
  ),
  attack('it computes a number without end', () => 'return len(str(9 ** 9 ** 9)) and None'),
  attack('its answer is huge', () => 'return ["x" * (1 << 20)] * 4096'),
  attack('its answer is deep', () => 'deep = []\nfor _ in range(200000): deep = [deep]\nreturn deep'),
  attack('it crashes its interpreter', () => 'import ctypes\nctypes.string_at(0)'),

  // Output
  attack(
    'it writes without end',
    () =>
      'import os\nblock = b"x" * 65536\nfor descriptor in list(range(1, 16)) * 3000:\n    try: os.write(descriptor, block)\n    except OSError: pass',
  ),
  attack(
    'it prints without end',
    () => 'import sys\nwhile True: print("x" * 65536); print("x" * 65536, file=sys.stderr)',
  ),
  attack(
    'it says control sequences',
    () => 'raise ValueError("\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e\\r\\n" + "x" * 100000)',
  ),
  attack(
    'it types into the terminal',
    () =>
      'import fcntl\nfor name in ("/dev/tty", "/dev/console", "/dev/ptmx", 0):\n    try:\n        fcntl.ioctl(open(name, "wb") if name else 0, 0x5412, b"x")\n        return name\n    except OSError: pass',
  ),
]

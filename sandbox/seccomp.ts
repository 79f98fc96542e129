// The system-call filter that bubblewrap loads before it starts what it confines: classic BPF (linux/seccomp.h, linux/filter.h),
// assembled here because no package for Node does. It refuses what no judged program needs and what past escapes went through:
// sockets, tracing, mounts, namespaces, keys, modules, clocks, memory that no limit counts. Calls newer than the table are unknown.

export interface FilterOptions {
  /** Compilers and shells start processes; a candidate in any other language does not. */
  may_fork: boolean
}

/** The filter as the bytes that `bwrap --seccomp FD` reads, or null on a processor whose calls are not in the table. */
export function seccompFilter({ may_fork }: FilterOptions): Buffer | null {
  const machine = machines[process.arch]
  if (!machine) return null
  const { column, audit_arch } = machine
  const refused = Object.values(refused_calls).flatMap((numbers) => numbers[column] ?? [])
  const forks = fork_calls.flatMap((numbers) => numbers[column] ?? [])
  return assemble([
    load(ARCH),
    ...unless(audit_arch, result(KILL_PROCESS)),
    load(NUMBER),
    [JUMP_IF_GREATER, 0, 1, newest_known_call],
    result(ERRNO | ENOSYS),
    ...[clone3, ...(may_fork ? [] : forks)].flatMap((number) => when(number, result(ERRNO | ENOSYS))),
    ...refused.flatMap((number) => when(number, result(ERRNO | EPERM))),
    ...whenArgument(clone[column], 0, may_fork ? noNamespaces() : onlyThreads()),
    ...whenArgument(ioctl[column], 1, noTerminalInput()),
    result(ALLOW),
  ])
}

type Instruction = [code: number, if_true: number, if_false: number, value: number]

const machines: Record<string, { column: 0 | 1; audit_arch: number }> = {
  x64: { column: 0, audit_arch: 0xc000003e },
  arm64: { column: 1, audit_arch: 0xc00000b7 },
}

// Offsets in struct seccomp_data; arguments are 8 bytes each, of which the low half is read.
const NUMBER = 0
const ARCH = 4
const FIRST_ARGUMENT = 16

const LOAD_WORD = 0x20
const JUMP_IF_EQUAL = 0x15
const JUMP_IF_GREATER = 0x25
const JUMP_IF_SET = 0x45
const RETURN = 0x06

const ALLOW = 0x7fff0000
const ERRNO = 0x00050000
const KILL_PROCESS = 0x80000000
const EPERM = 1
const ENOSYS = 38

const CLONE_THREAD = 0x00010000
const CLONE_NEW_ANY = 0x7e020000 // user, mount, pid, network, ipc, uts and cgroup namespaces

const newest_known_call = 462 // mseal, Linux 6.10
const clone3 = 435 // its flags lie in memory, where a filter cannot read: libc falls back to clone

const fork_calls: [number, number?][] = [[57], [58]] // fork and vfork, which arm64 never had
const clone = [56, 220] as const
const ioctl = [16, 29] as const

/** Numbers on x86-64 and on arm64; a call that arm64 never had stands alone. */
const refused_calls: Record<string, [number, number?]> = {
  acct: [163, 89],
  add_key: [248, 217],
  adjtimex: [159, 171],
  bpf: [321, 280],
  chroot: [161, 51],
  clock_adjtime: [305, 266],
  clock_settime: [227, 112],
  delete_module: [176, 106],
  fanotify_init: [300, 262],
  finit_module: [313, 273],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fsopen: [430, 430],
  fspick: [433, 433],
  init_module: [175, 105],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  io_uring_setup: [425, 425],
  ioperm: [173],
  iopl: [172],
  kcmp: [312, 272],
  kexec_file_load: [320, 294],
  kexec_load: [246, 104],
  keyctl: [250, 219],
  lookup_dcookie: [212, 18],
  memfd_create: [319, 279],
  memfd_secret: [447, 447],
  migrate_pages: [256, 238],
  modify_ldt: [154],
  mount: [165, 40],
  mount_setattr: [442, 442],
  move_mount: [429, 429],
  move_pages: [279, 239],
  mq_open: [240, 180],
  msgget: [68, 186],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  open_tree: [428, 428],
  perf_event_open: [298, 241],
  personality: [135, 92],
  pidfd_getfd: [438, 438],
  pidfd_open: [434, 434],
  pivot_root: [155, 41],
  process_madvise: [440, 440],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  ptrace: [101, 117],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  reboot: [169, 142],
  request_key: [249, 218],
  semget: [64, 190],
  setdomainname: [171, 162],
  sethostname: [170, 161],
  setns: [308, 268],
  settimeofday: [164, 170],
  shmget: [29, 194],
  socket: [41, 198],
  swapoff: [168, 225],
  swapon: [167, 224],
  syslog: [103, 116],
  umount2: [166, 39],
  unshare: [272, 97],
  uselib: [134],
  userfaultfd: [323, 282],
  vhangup: [153, 58],
}

const load = (offset: number): Instruction => [LOAD_WORD, 0, 0, offset]
const result = (value: number): Instruction => [RETURN, 0, 0, value]
const when = (value: number, then: Instruction): Instruction[] => [[JUMP_IF_EQUAL, 0, 1, value], then]
const unless = (value: number, then: Instruction): Instruction[] => [[JUMP_IF_EQUAL, 1, 0, value], then]

/** `decide` runs with the low half of an argument loaded, where the call is `number`; it ends in a result. */
function whenArgument(number: number, argument: number, decide: Instruction[]): Instruction[] {
  return [[JUMP_IF_EQUAL, 0, decide.length + 1, number], load(FIRST_ARGUMENT + 8 * argument), ...decide]
}

const onlyThreads = (): Instruction[] => [
  [JUMP_IF_SET, 0, 1, CLONE_NEW_ANY],
  result(ERRNO | EPERM),
  [JUMP_IF_SET, 0, 1, CLONE_THREAD],
  result(ALLOW),
  result(ERRNO | EPERM),
]

const noNamespaces = (): Instruction[] => [[JUMP_IF_SET, 0, 1, CLONE_NEW_ANY], result(ERRNO | EPERM), result(ALLOW)]

/** TIOCSTI types into the terminal, TIOCLINUX pastes into a console. */
const noTerminalInput = (): Instruction[] => [
  ...[0x5412, 0x541c].flatMap((request) => when(request, result(ERRNO | EPERM))),
  result(ALLOW),
]

function assemble(program: Instruction[]): Buffer {
  const bytes = Buffer.alloc(8 * program.length)
  for (const [i, [code, if_true, if_false, value]] of program.entries()) {
    bytes.writeUInt16LE(code, 8 * i)
    bytes.writeUInt8(if_true, 8 * i + 2)
    bytes.writeUInt8(if_false, 8 * i + 3)
    bytes.writeUInt32LE(value, 8 * i + 4)
  }
  return bytes
}

// Bad model folders, by what is wrong with them. Each is refused by a code of its own before anything is served: never a
// crash, never an error without a name. What only the native side can refuse is in test/native/load-check.test.ts.

import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import type { ModelErrorCode } from '../../../../../gpu-node/run/native/model-error.ts'
import { layOut, modelFolder, safetensorsBytes, tinyConfig, tinyTensors } from '../../../../support/safetensors.ts'
import {
  addedToken,
  smallPieces,
  type TokenizerJsonOptions,
  tokenizerJson,
} from '../../../../support/tokenizer-json.ts'
import { bytesField, tokenizerModel, varint, varintField } from '../../../../support/tokenizer-model.ts'
import {
  type Entry,
  numbers,
  op,
  pickleOf,
  stateDictPickle,
  type TorchTensor,
  tensorPickle,
  torchEntries,
  wideExtra,
  type ZipOptions,
  zeroTensors,
  zipBytes,
} from '../../../../support/torch-file.ts'

type Files = Record<string, string | Buffer | null>
type Case = [name: string, files: Files, code: ModelErrorCode | RegExp]

function refusalOf(folder: string): { name: string; code: string } | null {
  try {
    readModelFolder(folder)
    return null
  } catch (error) {
    const { name, code } = error as Error & { code: string }
    return { name, code }
  }
}

const classes = new Map<string, Case[]>()

function refuses(subject: string, cases: Case[]): void {
  classes.set(subject, cases)
  describe(subject, () => {
    test.each(cases)('%s', (_, files, code) => {
      const expected = typeof code === 'string' ? code : expect.stringMatching(code)
      expect(refusalOf(modelFolder(files))).toEqual({ name: 'ModelError', code: expected })
    })
  })
}

test('the good folders that these were made from are read', () => {
  expect(refusalOf(modelFolder())).toBeNull()
  expect(refusalOf(modelFolder(torch()))).toBeNull()
  expect(refusalOf(modelFolder(torch({ options: { zip64: true } })))).toBeNull()
})

// ── safetensors

const { header: good, data_bytes } = layOut(tinyTensors)
const st = (header: unknown, bytes = data_bytes): Files => ({ 'model.safetensors': safetensorsBytes(header, bytes) })
const whole = safetensorsBytes(good, data_bytes)
const NORM = 'model.norm.weight'

function withLength(length: bigint): Files {
  const bytes = Buffer.from(whole)
  bytes.writeBigUInt64LE(length)
  return { 'model.safetensors': bytes }
}

const header_bytes = whole.readBigUInt64LE()
refuses('the length of a safetensors header', [
  ['is 0', withLength(0n), 'weights_header_invalid'],
  ['is 1', withLength(1n), 'weights_header_invalid'],
  ['is one too few', withLength(header_bytes - 1n), 'weights_header_invalid'],
  ['is one too many', withLength(header_bytes + 1n), 'weights_header_invalid'],
  ['is the whole file', withLength(BigInt(whole.length)), 'weights_truncated'],
  ['is 16 MB in a small file', withLength(16n << 20n), 'weights_truncated'],
  ['is over 16 MB', withLength((16n << 20n) + 1n), 'weights_header_too_large'],
  ['is 2^32', withLength(1n << 32n), 'weights_header_too_large'],
  ['is 2^53', withLength(1n << 53n), 'weights_header_too_large'],
  ['is 2^63', withLength(1n << 63n), 'weights_header_too_large'],
  ['is 2^64 − 1', withLength((1n << 64n) - 1n), 'weights_header_too_large'],
])

const MEBI = 1 << 20
refuses('the text of a safetensors header', [
  ...['null', '1', '"x"', '[]', '', '{', '{}x', '{"a":}', "{'a':1}", '{"a":1,}', '{"a":NaN}', '\ufeff{}'].map(
    (text): Case => [`is ${text}`, st(text, 0), 'weights_header_invalid'],
  ),
  ['is not UTF-8', { 'model.safetensors': rawHeader(Buffer.from('{"\xff":1}', 'latin1')) }, 'weights_header_invalid'],
  ['is a million brackets', st('['.repeat(MEBI), 0), 'weights_header_invalid'],
  [
    'is 100,000 objects in one another',
    st(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`, 0),
    'weights_header_invalid',
  ],
  [
    'is a million numbers',
    st(`{${Array.from({ length: MEBI }, (_, i) => `"${i}":0`).join()}}`, 0),
    'weights_header_invalid',
  ],
  [
    'has a tensor twice',
    st(JSON.stringify(good).replace('{', `{"${NORM}":${JSON.stringify(good[NORM])},`)),
    'weights_duplicate_tensor',
  ],
  [
    'has a tensor twice, once escaped',
    st(JSON.stringify(good).replace('{', `{"model.norm.w\\u0065ight":${JSON.stringify(good[NORM])},`)),
    'weights_duplicate_tensor',
  ],
  [
    'has a dtype twice',
    st(JSON.stringify(good).replace('"dtype"', '"dtype":"F32","dtype"')),
    'weights_duplicate_tensor',
  ],
])

function rawHeader(json: Buffer): Buffer {
  return Buffer.concat([numbers([8, json.length]), json])
}

const changed = (change: object) => st({ ...good, [NORM]: { ...good[NORM], ...change } })
refuses('an entry of a safetensors header', [
  ...[null, 5, 'x', [], {}].map(
    (entry): Case => [`is ${JSON.stringify(entry)}`, st({ ...good, [NORM]: entry }), 'weights_header_invalid'],
  ),
  ...[
    'I8',
    'U8',
    'I16',
    'I32',
    'I64',
    'U64',
    'F64',
    'BOOL',
    'F8_E4M3',
    'F8_E5M2',
    'F4',
    'f16',
    '',
    'toString',
    '__proto__',
  ].map((dtype): Case => [`has the dtype "${dtype}"`, changed({ dtype }), 'weights_dtype']),
  ...[undefined, null, 16, ['F16']].map(
    (dtype): Case => [`has the dtype ${dtype}`, changed({ dtype }), 'weights_header_invalid'],
  ),
  ...[undefined, null, 8, '8', [-8], [0.5], ['8'], [null], [2 ** 53], Array(9).fill(1)].map(
    (shape): Case => [`has the shape ${JSON.stringify(shape)}`, changed({ shape }), 'weights_header_invalid'],
  ),
  ...[[], [7], [9], [8, 0], [2 ** 52, 2 ** 52], [2 ** 31, 2 ** 31, 4]].map(
    (shape): Case => [`has the shape [${shape}] for its bytes`, changed({ shape }), 'weights_size_mismatch'],
  ),
  ...[undefined, null, 0, [], [0], [0, 16, 32], ['0', '16'], [-16, 0], [0.5, 16.5], [0, 2 ** 53]].map(
    (data_offsets): Case => [
      `has the offsets ${JSON.stringify(data_offsets)}`,
      changed({ data_offsets }),
      'weights_header_invalid',
    ],
  ),
  [
    'has no shape that is finite',
    st(JSON.stringify(good).replace('"shape":[8]', '"shape":[1e999]')),
    'weights_header_invalid',
  ],
  ['ends before it starts', changed({ data_offsets: [16, 0] }), 'weights_size_mismatch'],
])

const [start, end] = good[NORM]!.data_offsets
refuses('the layout of a safetensors file', [
  ['has two tensors on the same bytes', changed({ data_offsets: [0, 16] }), 'weights_overlap'],
  ['has two tensors that share a byte', changed({ data_offsets: [start - 1, end - 1] }), 'weights_overlap'],
  ['has a tensor beyond the end', changed({ data_offsets: [data_bytes, data_bytes + 16] }), 'weights_out_of_range'],
  ['has a tensor far beyond the end', changed({ data_offsets: [2 ** 52, 2 ** 52 + 16] }), 'weights_out_of_range'],
  ['has bytes before its first tensor', st(shifted(2), data_bytes + 2), 'weights_hole'],
  ['has bytes behind its last tensor', st(good, data_bytes + 1), 'weights_hole'],
  ['has bytes that nothing describes', st(without(good, NORM)), 'weights_hole'],
  ...[1, 2, 100, data_bytes - 1, data_bytes].map(
    (cut): Case => [`ends ${cut} bytes early`, st(good, data_bytes - cut), 'weights_out_of_range'],
  ),
  ...[0, 1, 7].map(
    (length): Case => [`is ${length} bytes`, { 'model.safetensors': whole.subarray(0, length) }, 'weights_truncated'],
  ),
  ...[8, 9, 100].map(
    (length): Case => [`is ${length} bytes`, { 'model.safetensors': whole.subarray(0, length) }, 'weights_truncated'],
  ),
])

function shifted(by: number) {
  const moved = Object.entries(good).map(
    ([
      name,
      {
        data_offsets: [a, b],
        ...rest
      },
    ]) => [name, { ...rest, data_offsets: [a + by, b + by] }],
  )
  return Object.fromEntries(moved)
}

function without<T>(all: Record<string, T>, name: string): Record<string, T> {
  return Object.fromEntries(Object.entries(all).filter(([other]) => other !== name))
}

const laidOut = (shapes: Record<string, number[]>) => {
  const { header, data_bytes } = layOut(shapes)
  return st(header, data_bytes)
}
refuses('the tensors of a model', [
  ...Object.keys(tinyTensors).map(
    (name): Case => [`lack ${name}`, laidOut(without(tinyTensors, name)), 'weights_missing_tensor'],
  ),
  ...Object.entries(tinyTensors).map(
    ([name, shape]): Case => [
      `have ${name} in another shape`,
      laidOut({ ...tinyTensors, [name]: [...shape.slice(1), shape[0]! + 1] }),
      'weights_shape',
    ],
  ),
  ...[
    'lm_head.bias',
    'model.layers.1.mlp.up_proj.weight',
    'model.layers.00.mlp.up_proj.weight',
    '',
    'constructor',
    '../../../x',
    'x'.repeat(9999),
  ].map(
    (name): Case => [
      `have one named "${name.slice(0, 40)}"`,
      laidOut({ ...tinyTensors, [name]: [2] }),
      'weights_unknown_tensor',
    ],
  ),
  ['have one named __proto__', st(JSON.stringify(good).replace(`"${NORM}"`, '"__proto__"')), 'weights_unknown_tensor'],
])

const index = (text: unknown, name = 'model.safetensors'): Files => ({
  'model.safetensors': null,
  [`${name}.index.json`]: typeof text === 'string' ? text : JSON.stringify(text),
})
refuses('an index of shards', [
  ...['', '{', 'null', '[]', '{}', '{"weight_map":[]}', '{"weight_map":{"a":1}}', '{"weight_map":null}'].map(
    (text): Case => [`is ${text}`, index(text), 'weights_index_invalid'],
  ),
  ...['../../../model.safetensors', '/etc/passwd', 'a/b', '../../../load/a'].map(
    (file): Case => [`names ${file}`, index({ weight_map: { a: file } }), 'weights_index_invalid'],
  ),
  ['names a shard that is missing', index({ weight_map: { a: 'model-1.safetensors' } }), 'model_file_missing'],
  [
    'names a shard of torch that is missing',
    index({ weight_map: { a: 'p-1.bin' } }, 'pytorch_model.bin'),
    'model_file_missing',
  ],
  ['names nothing', index({ weight_map: {} }), 'weights_missing_tensor'],
  [
    'names one shard of two',
    { ...index({ weight_map: { a: 'a' } }), a: safetensorsBytes(without(good, NORM), data_bytes) },
    /hole|missing/,
  ],
  [
    'names the same tensors twice',
    { ...index({ weight_map: { a: 'a', b: 'b' } }), a: whole, b: whole },
    'weights_duplicate_tensor',
  ],
  [
    'names shards of the other format',
    { ...index({ weight_map: { a: 'a' } }, 'pytorch_model.bin'), a: whole },
    'weights_zip_invalid',
  ],
])

// ── pytorch_model.bin: the zip file

const zeros = zeroTensors(tinyTensors)

function torch({
  entries = torchEntries(zeros),
  options = {},
}: {
  entries?: Entry[]
  options?: ZipOptions
} = {}): Files {
  return bin(zipBytes(entries, options))
}

function bin(bytes: Buffer): Files {
  return { 'model.safetensors': null, 'pytorch_model.bin': bytes }
}

/** The good entries, the one at `at` changed. */
function entry(at: number, change: Partial<Entry>, options: ZipOptions = {}): Files {
  return torch({ entries: torchEntries(zeros).map((one, i) => (i === at ? { ...one, ...change } : one)), options })
}

const good_zip = zipBytes(torchEntries(zeros))
const STORAGE = 3 // the entry of the second tensor's bytes
const more = (...entries: Entry[]) => torch({ entries: [...torchEntries(zeros), ...entries] })
const empty = Buffer.alloc(0)

refuses('the zip file of torch', [
  ['is empty', bin(empty), 'weights_zip_invalid'],
  ['is text', bin(Buffer.from('not a zip file, by far not even one')), 'weights_zip_invalid'],
  ['is a safetensors file', bin(whole), 'weights_zip_invalid'],
  ['is of torch before 1.6', bin(Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex')), 'weights_legacy_torch'],
  ['is a bare pickle', bin(stateDictPickle(zeros)), 'weights_legacy_torch'],
  [
    'is a tar file',
    bin(Buffer.concat([Buffer.alloc(257), Buffer.from('ustar'), Buffer.alloc(250)])),
    'weights_zip_invalid',
  ],
  ...[4, 22, 30, 100, 1000, 5000, good_zip.length - 23, good_zip.length - 22, good_zip.length - 1].map(
    (length): Case => [
      `is cut to ${length} bytes`,
      bin(good_zip.subarray(0, length)),
      /^weights_(truncated|zip_invalid)$/,
    ],
  ),
  ['has a byte behind its end', bin(Buffer.concat([good_zip, Buffer.alloc(1)])), 'weights_truncated'],
  ['has a byte before its begin', bin(Buffer.concat([Buffer.alloc(1), good_zip])), 'weights_zip_invalid'],
  ['has a comment', torch({ options: { end: { comment: 'x' } } }), 'weights_truncated'],
  ['holds nothing', bin(zipBytes([])), 'weights_zip_invalid'],
  ...[0, 1, 100, 65535].map(
    (count): Case => [`says it has ${count} entries`, torch({ options: { end: { count } } }), 'weights_zip_invalid'],
  ),
  ...[0, 1, 45, 2 ** 32 - 1].map(
    (bytes): Case => [
      `has a directory of ${bytes} bytes`,
      torch({ options: { end: { bytes } } }),
      'weights_zip_invalid',
    ],
  ),
  ...[0, 1, 2 ** 31, 2 ** 32 - 1].map(
    (offset): Case => [
      `has its directory at ${offset}`,
      torch({ options: { end: { offset } } }),
      'weights_zip_invalid',
    ],
  ),
  ...(
    [
      { count: 1 },
      { bytes: 2 ** 60 },
      { offset: 2 ** 62 },
      { at: 0 },
      { at: 2 ** 62 },
      { bytes: 1 },
      { offset: 0 },
      { count: 2 ** 60 },
    ] as const
  ).map(
    (change): Case => [
      `has 64-bit ${JSON.stringify(change)}`,
      torch({ options: { zip64: true, end64: change } }),
      'weights_zip_invalid',
    ],
  ),
  ['has two ends that differ', torch({ options: { zip64: true, end: { count: 3 } } }), 'weights_zip_invalid'],
  [
    'has a directory of over 16 MB',
    torch({
      entries: [{ name: 'a', data: Buffer.alloc(17 * MEBI) }],
      options: { end: { offset: 31, bytes: 17 * MEBI } },
    }),
    /^weights_(zip_invalid|header_too_large)$/,
  ],
])

const both = (fields: object): Partial<Entry> => ({ local: fields, central: fields })
refuses('an entry of the zip file', [
  ...[8, 9, 12, 14, 93, 99, 65535].map(
    (method): Case => [
      `is compressed by method ${method}`,
      entry(STORAGE, both({ method })),
      'weights_zip_unsupported',
    ],
  ),
  ...[0x801, 0x840, 0x2800, 0xffff].map(
    (flags): Case => [`has the flags ${flags}`, entry(STORAGE, both({ flags })), 'weights_zip_unsupported'],
  ),
  ...[1, 15, 17, 2 ** 31].map(
    (size): Case => [`unpacks to ${size} bytes`, entry(STORAGE, { central: { size } }), 'weights_zip_invalid'],
  ),
  ...[0, 1, 15, 17].map(
    (size): Case => [
      `has ${size} bytes`,
      entry(STORAGE, { central: { size, packed: size } }),
      /^weights_(size_mismatch|zip_invalid)$/,
    ],
  ),
  [
    'has more bytes than the file',
    entry(STORAGE, { central: { size: 2 ** 31, packed: 2 ** 31 } }),
    'weights_zip_invalid',
  ],
  ...[1, 3, 2 ** 31, 2 ** 32 - 1].map(
    (header): Case => [`has its header at ${header}`, entry(STORAGE, { central: { header } }), 'weights_zip_invalid'],
  ),
  ['has the header of another', entry(STORAGE, { central: { header: 0 } }), 'weights_zip_invalid'],
  ['lacks its 64-bit sizes', entry(STORAGE, { central: { extra: empty } }, { zip64: true }), 'weights_zip_invalid'],
  [
    'has a 64-bit size of 2^62',
    entry(STORAGE, { central: { extra: wideExtra([2 ** 62, 2 ** 62, 0]) } }, { zip64: true }),
    'weights_zip_invalid',
  ],
  [
    'has half a 64-bit size',
    entry(STORAGE, { central: { extra: Buffer.from('0100040000000000', 'hex') } }, { zip64: true }),
    'weights_zip_invalid',
  ],
  [
    'has an extra field that does not end',
    entry(STORAGE, { central: { extra: Buffer.from('0100ffff', 'hex') } }, { zip64: true }),
    'weights_zip_invalid',
  ],
  ['has another name in its header', entry(STORAGE, { local: { name: 'model/data/7' } }), 'weights_zip_invalid'],
  ['has a longer name in its header', entry(STORAGE, { local: { name: 'model/data/1/2' } }), 'weights_zip_invalid'],
  ['has another method in its header', entry(STORAGE, { local: { method: 8 } }), 'weights_zip_invalid'],
  ['has other flags in its header', entry(STORAGE, { local: { flags: 0 } }), 'weights_zip_invalid'],
  [
    'has another size in its header',
    entry(STORAGE, { local: { size: 1 } }, { sizes_follow: false }),
    'weights_zip_invalid',
  ],
  [
    'has another packed size in its header',
    entry(STORAGE, { local: { packed: 1 } }, { sizes_follow: false }),
    'weights_zip_invalid',
  ],
  [
    'has another checksum in its header',
    entry(STORAGE, { local: { crc: 1 } }, { sizes_follow: false }),
    'weights_zip_invalid',
  ],
  [
    'has an extra field beyond the file',
    entry(14, { local: { extra: Buffer.alloc(60_000) }, central: { size: 2 ** 20, packed: 2 ** 20 } }),
    'weights_zip_invalid',
  ],
  [
    'has a name that is not UTF-8',
    more({ name: 'model/\ufffd', data: empty, central: { name: 'model/x' } }),
    'weights_zip_invalid',
  ],
  ['is there twice', more({ name: 'model/data/1', data: Buffer.alloc(16) }), 'weights_zip_invalid'],
  ['is outside the folder of the rest', more({ name: 'other/data/1', data: empty }), 'weights_zip_invalid'],
  ['is above that folder', more({ name: '../data/1', data: empty }), 'weights_zip_invalid'],
  ['is at the root', more({ name: '/etc/passwd', data: empty }), 'weights_zip_invalid'],
  ['has no name', more({ name: '', data: empty }), 'weights_zip_invalid'],
  ['is a second pickle', more({ name: 'other/data.pkl', data: stateDictPickle(zeros) }), 'weights_zip_invalid'],
  ['is the pickle, and missing', torch({ entries: torchEntries(zeros).slice(1) }), 'weights_zip_invalid'],
  ['is the pickle, with another checksum', entry(0, { central: { crc: 1 } }), 'weights_zip_invalid'],
  ['is the pickle, of over 16 MB', entry(0, { data: Buffer.alloc(16 * MEBI + 1) }), 'weights_header_too_large'],
  ['says big-endian', entry(1, { data: Buffer.from('big') }), 'weights_byte_order'],
  [
    'is a storage, and missing',
    torch({ entries: torchEntries(zeros).filter((_, i) => i !== STORAGE) }),
    'weights_storage_missing',
  ],
])

// ── pytorch_model.bin: the pickle

const pickled = (pickle: Buffer): Files => torch({ entries: torchEntries(zeros, pickle) })
const saved = (...body: Buffer[]) => pickled(pickleOf(...body))
const raw = (...bytes: (number | string | Buffer)[]) =>
  Buffer.concat(bytes.map((part) => Buffer.from(typeof part === 'number' ? [part] : (part as Buffer))))

const GLOBALS = [
  'os system|posix system|nt system|builtins eval|builtins exec|builtins getattr|builtins __import__|__builtin__ eval',
  'subprocess Popen|subprocess check_output|shutil rmtree|runpy _run_code|importlib import_module|webbrowser open',
  'pickle loads|_pickle loads|socket socket|functools partial|operator attrgetter|codecs encode|types CodeType|sys exit',
  'torch load|torch.hub load|torch.storage _load_from_bytes|torch._utils _rebuild_tensor|torch._utils _rebuild_qtensor',
  'torch._utils _rebuild_tensor_v3|torch._tensor _rebuild_from_type_v2|torch.jit._pickle build_intlist|torch Tensor|torch Size',
  'collections defaultdict|collections OrderedDict.__init__|collections.OrderedDict |numpy.core.multiarray _reconstruct',
  'torch ComplexFloatStorage|torch QInt8Storage|torch.storage UntypedStorage|__torch__ Model|constructor prototype',
].flatMap((line) => line.split('|').map((name) => name.split(' ') as [string, string]))
refuses('a pickle that calls', [
  ...GLOBALS.map(
    ([module, name]): Case => [
      `${module}.${name}`,
      saved(op.call(module, name, op.text('touch /tmp/executed'))),
      'weights_pickle_forbidden',
    ],
  ),
])

const OPCODES: Record<string, number | string> = {
  ...{ INST: 'i', OBJ: 'o', NEWOBJ: 0x81, NEWOBJ_EX: 0x92, STACK_GLOBAL: 0x93, EXT1: 0x82, EXT2: 0x83, EXT4: 0x84 },
  ...{ PERSID: 'P', LONG4: 0x8b, STRING: 'S', BINSTRING: 'T', SHORT_BINSTRING: 'U', UNICODE: 'V', BINUNICODE8: 0x8d },
  ...{
    SHORT_BINUNICODE: 0x8c,
    FLOAT: 'F',
    BINFLOAT: 'G',
    INT: 'I',
    LONG: 'L',
    LIST: 'l',
    EMPTY_LIST: ']',
    APPEND: 'a',
  },
  ...{ APPENDS: 'e', DICT: 'd', EMPTY_SET: 0x8f, ADDITEMS: 0x90, FROZENSET: 0x91, POP: '0', POP_MARK: '1', DUP: '2' },
  ...{ GET: 'g', PUT: 'p', MEMOIZE: 0x94, FRAME: 0x95, BYTEARRAY8: 0x96, NEXT_BUFFER: 0x97, READONLY_BUFFER: 0x98 },
  ...{ BINBYTES: 'B', SHORT_BINBYTES: 'C', BINBYTES8: 0x8e, PROTO: 0x80, nothing: 0, none: 0xff },
}
refuses('a pickle with the opcode', [
  ...Object.entries(OPCODES).map(
    ([name, opcode]): Case => [
      name,
      saved(op.mark, op.text('system'), raw(opcode, 'os\nsystem\n')),
      'weights_pickle_forbidden',
    ],
  ),
  ...[0, 1, 3, 4, 5, 255].map(
    (version): Case => [`PROTO ${version}`, pickled(raw(op.proto(version), '}.')), 'weights_pickle_forbidden'],
  ),
])

const GET = (index: number) => numbers([1, 0x6a], [4, index])
const PUT = (index: number) => numbers([1, 0x72], [4, index])
const repeated = (part: Buffer, count: number) => Buffer.concat(Array.from({ length: count }, () => part))
const tuple2 = raw(0x86)
refuses('a pickle that', [
  ['is empty', pickled(empty), 'weights_pickle_invalid'],
  ['is a protocol and nothing', pickled(op.proto()), 'weights_pickle_invalid'],
  ['does not stop', pickled(raw(op.proto(), '}')), 'weights_pickle_invalid'],
  ['stops with nothing', saved(), 'weights_pickle_invalid'],
  ['leaves a value over', saved(op.dictionary, op.dictionary), 'weights_pickle_invalid'],
  ['goes on after its end', pickled(raw(op.proto(), '}.}')), 'weights_pickle_invalid'],
  ['makes a tuple without a mark', saved(raw('t')), 'weights_pickle_invalid'],
  ['makes a pair of one', saved(raw(')', tuple2)), 'weights_pickle_invalid'],
  ['takes what lies below a mark', saved(raw('))(', tuple2)), 'weights_pickle_invalid'],
  ['memoizes nothing', saved(PUT(1)), 'weights_pickle_invalid'],
  ['recalls what was never memoized', saved(raw('h', 9)), 'weights_pickle_invalid'],
  ['recalls 2^32 − 1', saved(GET(2 ** 32 - 1)), 'weights_pickle_invalid'],
  ['has a text of 4 GB', saved(raw('X', 0xff, 0xff, 0xff, 0xff)), 'weights_pickle_invalid'],
  ['has a text that is not UTF-8', saved(op.text(Buffer.from([0xc3, 0x28]))), 'weights_pickle_invalid'],
  [
    'has a number of 9 bytes',
    saved(op.long(0, 8), numbers([1, 0x8a], [1, 9], [8, 0], [1, 1])),
    'weights_pickle_invalid',
  ],
  ['has a number of 255 bytes', saved(raw(0x8a, 255, Buffer.alloc(255, 1))), 'weights_pickle_invalid'],
  ['has a number that does not end', saved(raw('J', 1)), 'weights_pickle_invalid'],
  ['marks a million times', saved(repeated(op.mark, MEBI)), 'weights_pickle_invalid'],
  ['pushes a million tuples', saved(repeated(raw(')'), MEBI)), 'weights_pickle_invalid'],
  [
    'memoizes two million times',
    saved(raw('}'), Buffer.concat(Array.from({ length: 2 * MEBI }, (_, i) => PUT(i)))),
    'weights_pickle_invalid',
  ],
  ['nests a million tuples', saved(raw(')'), repeated(raw(0x85), MEBI)), 'weights_pickle_invalid'],
  [
    'doubles a tuple 64 times',
    saved(raw(')'), ...Array.from({ length: 64 }, (_, i) => raw(PUT(i), GET(i), tuple2))),
    'weights_pickle_invalid',
  ],
  [
    'puts a dictionary into itself',
    saved(op.dictionary, op.put(0), op.text('a'), op.get(0), raw('s')),
    'weights_pickle_invalid',
  ],
  ['fills a tuple', saved(raw(')'), op.text('a'), op.int(1), raw('s')), 'weights_pickle_invalid'],
  ['fills with a key alone', saved(op.dictionary, op.mark, op.text('a'), op.set_items), 'weights_pickle_invalid'],
  ['has a number for a key', saved(op.dictionary, op.int(1), op.int(1), raw('s')), 'weights_pickle_invalid'],
  ['has a dictionary for a key', saved(op.dictionary, op.dictionary, op.int(1), raw('s')), 'weights_pickle_invalid'],
  [
    'has a key twice',
    saved(op.dictionary, op.mark, op.text('a'), op.int(1), op.text('a'), op.int(2), op.set_items),
    'weights_duplicate_tensor',
  ],
  ['calls a text', saved(op.text('os.system'), raw(')R')), 'weights_pickle_invalid'],
  ['calls a dictionary', saved(op.dictionary, raw(')R')), 'weights_pickle_invalid'],
  ['calls a type of storage', saved(op.call('torch', 'HalfStorage')), 'weights_pickle_invalid'],
  ['calls with a dictionary', saved(op.global('collections', 'OrderedDict'), raw('}R')), 'weights_pickle_invalid'],
  [
    'makes an OrderedDict of something',
    saved(op.call('collections', 'OrderedDict', op.dictionary)),
    'weights_pickle_invalid',
  ],
  ['sets the state of a tuple', saved(raw(')}b')), 'weights_pickle_invalid'],
  ['sets a state that is a tuple', saved(raw('})b')), 'weights_pickle_invalid'],
  [
    'sets the state of a function',
    saved(op.global('torch._utils', '_rebuild_tensor_v2'), raw('}b')),
    'weights_pickle_invalid',
  ],
  ['has a global that does not end', saved(raw('cos')), 'weights_pickle_invalid'],
  ['has a global of a long name', saved(op.global('a'.repeat(300), 'b')), 'weights_pickle_invalid'],
  ['is nothing', saved(raw('N')), 'weights_pickle_invalid'],
  ['is a number', saved(op.int(7)), 'weights_pickle_invalid'],
  ['is a tensor', saved(tensorPickle(zeros[NORM]!, '10')), 'weights_pickle_invalid'],
  ['is a global', saved(op.global('collections', 'OrderedDict')), 'weights_pickle_invalid'],
  ['holds a number', saved(op.dictionary, op.text('a'), op.int(1), raw('s')), 'weights_pickle_invalid'],
  [
    'holds a dictionary of tensors',
    saved(op.dictionary, op.text('model'), op.dictionary, raw('s')),
    'weights_pickle_invalid',
  ],
  ['holds a storage', saved(op.dictionary, op.text('a'), storage({}), raw('s')), 'weights_pickle_invalid'],
])

interface StorageParts {
  tag?: Buffer
  type?: Buffer
  key?: Buffer
  values?: Buffer
}

function storage({ tag, type, key, values }: StorageParts): Buffer {
  const half = op.global('torch', 'HalfStorage')
  const parts = [tag ?? op.text('storage'), type ?? half, key ?? op.text('10'), op.text('cpu'), values ?? op.int(8)]
  return Buffer.concat([op.tuple(...parts), op.persistent])
}

const tensor = (change: Partial<TorchTensor>): Files =>
  torch({ entries: torchEntries({ ...zeros, [NORM]: { ...zeros[NORM]!, ...change } }) })
const rebuilt = (...args: Buffer[]) =>
  saved(op.dictionary, op.text('a'), op.call('torch._utils', '_rebuild_tensor_v2', ...args), raw('s'))
const [zero, shape8, stride1, no, hooks] = [
  op.int(0),
  op.tuple(op.int(8)),
  op.tuple(op.int(1)),
  raw(0x89),
  op.dictionary,
]
const minus = numbers([1, 0x4a], [4, -1])
refuses('a tensor of torch', [
  ...['Double', 'Long', 'Int', 'Short', 'Char', 'Byte', 'Bool'].map(
    (type): Case => [`is in a ${type}Storage`, tensor({ type: `${type}Storage` }), 'weights_dtype'],
  ),
  ...[0, 7, 9, 2 ** 31, 2 ** 52].map(
    (values): Case => [`says its storage has ${values} values`, tensor({ values }), 'weights_size_mismatch'],
  ),
  [
    'says its storage has −1 values',
    rebuilt(storage({ values: minus }), zero, shape8, stride1, no, hooks),
    'weights_pickle_invalid',
  ],
  [
    'says its storage has 2^62 values',
    rebuilt(storage({ values: op.long(2 ** 62) }), zero, shape8, stride1, no, hooks),
    'weights_pickle_invalid',
  ],
  [
    'has a storage that is no storage',
    rebuilt(storage({ tag: op.text('module') }), zero, shape8, stride1, no, hooks),
    'weights_pickle_invalid',
  ],
  [
    'has a storage without a type',
    rebuilt(storage({ type: op.text('HalfStorage') }), zero, shape8, stride1, no, hooks),
    'weights_pickle_invalid',
  ],
  [
    'has a storage with a number for a key',
    rebuilt(storage({ key: op.int(10) }), zero, shape8, stride1, no, hooks),
    'weights_pickle_invalid',
  ],
  ...['11x', '../data/10', '', '010'].map(
    (key): Case => [
      `has the storage "${key}"`,
      rebuilt(storage({ key: op.text(key) }), zero, shape8, stride1, no, hooks),
      'weights_storage_missing',
    ],
  ),
  ['has no storage', rebuilt(op.text('10'), zero, shape8, stride1, no, hooks), 'weights_pickle_invalid'],
  [
    'has a storage of four parts',
    rebuilt(Buffer.concat([op.tuple(zero, zero, zero, zero), op.persistent]), zero, shape8, stride1, no, hooks),
    'weights_pickle_invalid',
  ],
  ['is described in four parts', rebuilt(storage({}), zero, shape8, stride1), 'weights_pickle_invalid'],
  [
    'is described in eight parts',
    rebuilt(storage({}), zero, shape8, stride1, no, hooks, hooks, hooks),
    'weights_pickle_invalid',
  ],
  ...[1, 8, 2 ** 31, 2 ** 52].map(
    (first): Case => [`begins at value ${first}`, tensor({ first }), 'weights_out_of_range'],
  ),
  ['begins at value −1', rebuilt(storage({}), minus, shape8, stride1, no, hooks), 'weights_pickle_invalid'],
  ['begins at True', rebuilt(storage({}), raw(0x88), shape8, stride1, no, hooks), 'weights_pickle_invalid'],
  ['begins at 2^62', rebuilt(storage({}), op.long(2 ** 62), shape8, stride1, no, hooks), 'weights_pickle_invalid'],
  ...[[9], [2 ** 31, 2 ** 31], [2 ** 26, 2 ** 26]].map(
    (shape): Case => [`has the shape [${shape}]`, tensor({ shape }), 'weights_out_of_range'],
  ),
  ['has a negative length', rebuilt(storage({}), zero, op.tuple(minus), stride1, no, hooks), 'weights_pickle_invalid'],
  ['has a text for a shape', rebuilt(storage({}), zero, op.text('8'), stride1, no, hooks), 'weights_pickle_invalid'],
  [
    'has more strides than lengths',
    rebuilt(storage({}), zero, shape8, op.tuple(op.int(1), op.int(1)), no, hooks),
    'weights_pickle_invalid',
  ],
  ['has nine dimensions', tensor({ shape: [8, 1, 1, 1, 1, 1, 1, 1, 1] }), 'weights_pickle_invalid'],
  ['is a transposed one', tensor({ shape: [4, 2], strides: [1, 4] }), 'weights_not_contiguous'],
  ['is an expanded one', tensor({ shape: [8], strides: [0] }), 'weights_not_contiguous'],
  ['is every second value', tensor({ shape: [4], strides: [2] }), 'weights_not_contiguous'],
  ['is in another shape', tensor({ shape: [2, 4] }), 'weights_shape'],
  [
    'is a parameter of nothing',
    saved(op.call('torch._utils', '_rebuild_parameter', op.int(1), no, hooks)),
    'weights_pickle_invalid',
  ],
])

// ── tokenizer

const config = (changes: object): Files => ({ 'config.json': JSON.stringify({ ...tinyConfig, ...changes }) })
const good_tokenizer = tokenizerModel({ pieces: [{ text: 'a', score: -1 }] })
const tokenizer = (options: Parameters<typeof tokenizerModel>[0]): Files => ({
  'tokenizer.model': tokenizerModel(options),
})
const protobuf = (...parts: Buffer[]): Files => ({ 'tokenizer.model': Buffer.concat([good_tokenizer, ...parts]) })
const a = { text: 'a', score: -1 }

refuses('tokenizer.model', [
  ['is missing', { 'tokenizer.model': null }, 'model_file_missing'],
  ['is empty', { 'tokenizer.model': empty }, 'tokenizer_invalid'],
  ['is text', { 'tokenizer.model': 'not a protocol buffer at all' }, 'tokenizer_invalid'],
  [
    'is a tokenizer.json',
    { 'tokenizer.model': '{"version":"1.0","model":{"type":"BPE","vocab":{}}}' },
    'tokenizer_invalid',
  ],
  ['is a gzip file', { 'tokenizer.model': Buffer.from('1f8b0800000000000003', 'hex') }, 'tokenizer_invalid'],
  ['is zeros', { 'tokenizer.model': Buffer.alloc(1000) }, 'tokenizer_invalid'],
  [
    'is a git-lfs pointer',
    { 'tokenizer.model': 'version https://git-lfs.github.com/spec/v1\noid sha256:9e556a\nsize 499723\n' },
    'model_file_pointer',
  ],
  ...Array.from({ length: 20 }, (_, i) => Math.floor((i * good_tokenizer.length) / 20)).map(
    (length): Case => [
      `is cut to ${length} bytes`,
      { 'tokenizer.model': good_tokenizer.subarray(0, length) },
      'tokenizer_invalid',
    ],
  ),
  ...[3, 4, 6, 7].map(
    (type): Case => [`has the wire type ${type}`, protobuf(varint(8 + type), varint(0)), 'tokenizer_invalid'],
  ),
  ['has a number that does not end', protobuf(Buffer.alloc(11, 0xff)), 'tokenizer_invalid'],
  ['has a field longer than the file', protobuf(varint(10), varint(2 ** 40)), 'tokenizer_invalid'],
  ['has a field of 2^63 bytes', protobuf(varint(10), Buffer.from('ffffffffffffffff7f', 'hex')), 'tokenizer_invalid'],
  ['has a number for a piece', protobuf(varintField(1, 7)), 'tokenizer_invalid'],
  ['has a number for a trainer', protobuf(varintField(2, 7)), 'tokenizer_invalid'],
  ['has a number for a normalizer', protobuf(varintField(3, 7)), 'tokenizer_invalid'],
  ['has a piece that is no message', protobuf(bytesField(1, Buffer.from('zzzz'))), 'tokenizer_invalid'],
  ['has a piece without text', protobuf(bytesField(1, varintField(3, 1))), 'tokenizer_invalid'],
  ['has a number for a text', protobuf(bytesField(1, varintField(1, 1))), 'tokenizer_invalid'],
  ['has a text that is not UTF-8', protobuf(bytesField(1, bytesField(1, Buffer.from([0xff])))), 'tokenizer_invalid'],
  [
    'has a score of 8 bytes',
    protobuf(bytesField(1, Buffer.concat([bytesField(1, Buffer.from('b')), varint(17), Buffer.alloc(8)]))),
    'tokenizer_invalid',
  ],
  [
    'has a number for a score',
    protobuf(bytesField(1, Buffer.concat([bytesField(1, Buffer.from('b')), varintField(2, 1)]))),
    'tokenizer_invalid',
  ],
  ...[Number.NaN, Infinity, -Infinity].map(
    (score): Case => [`has a score of ${score}`, tokenizer({ pieces: [{ text: 'a', score }] }), 'tokenizer_invalid'],
  ),
  ['has an empty piece', tokenizer({ pieces: [{ text: '' }] }), 'tokenizer_invalid'],
  ['has a piece twice', tokenizer({ pieces: [a, a] }), 'tokenizer_invalid'],
  ['has a byte twice', tokenizer({ pieces: [{ text: '<0x00>', type: 6 }] }), 'tokenizer_invalid'],
  ['lacks a byte', tokenizer({ bytes: 255, pieces: [a] }), 'tokenizer_invalid'],
  ['lacks all bytes', tokenizer({ bytes: 0, pieces: [a] }), 'tokenizer_invalid'],
  ['has a byte that is none', tokenizer({ pieces: [{ text: '<0x100>', type: 6 }] }), 'tokenizer_invalid'],
  [
    'has a byte in small letters',
    tokenizer({ bytes: 255, pieces: [{ text: '<0xff>', type: 6 }] }),
    'tokenizer_invalid',
  ],
  [
    'has a byte as a normal piece',
    tokenizer({ bytes: 255, pieces: [{ text: '<0xFF>', type: 1 }] }),
    'tokenizer_invalid',
  ],
  ['has two unknown pieces', tokenizer({ pieces: [{ text: 'a', type: 2 }] }), 'tokenizer_invalid'],
  [
    'has over a million pieces',
    { 'tokenizer.model': Buffer.alloc(3 * MEBI, bytesField(1, Buffer.from('x'))) },
    'tokenizer_invalid',
  ],
  ...[0, 5, 7, 2 ** 31].map(
    (type): Case => [
      `has a piece of type ${type}`,
      tokenizer({ pieces: [{ text: 'a', type }] }),
      'tokenizer_unsupported',
    ],
  ),
  ...[1, 3, 4, 9].map(
    (model_type): Case => [
      `is a model of type ${model_type}`,
      tokenizer({ pieces: [a], model_type }),
      'tokenizer_unsupported',
    ],
  ),
  ['has bytes and no byte fallback', tokenizer({ pieces: [a], byte_fallback: false }), 'tokenizer_invalid'],
  ['has a character map', tokenizer({ pieces: [a], charsmap: Uint8Array.of(1) }), 'tokenizer_unsupported'],
  ['has whitespace as suffix', tokenizer({ pieces: [a], treat_whitespace_as_suffix: true }), 'tokenizer_unsupported'],
  ['does not escape whitespace', tokenizer({ pieces: [a], escape_whitespaces: false }), 'tokenizer_unsupported'],
  ['has a denormalizer', protobuf(bytesField(5, bytesField(2, Buffer.of(1)))), 'tokenizer_unsupported'],
  ['has a piece too many', tokenizer({ pieces: [a, { text: 'b' }] }), 'tokenizer_vocabulary_mismatch'],
  [
    'has a thousand pieces too many',
    tokenizer({ pieces: Array.from({ length: 1000 }, (_, i) => ({ text: `x${i}` })) }),
    'tokenizer_vocabulary_mismatch',
  ],
])

const json = (options: TokenizerJsonOptions = {}, text = tokenizerJson({ pieces: small, ...options })): Files => ({
  'tokenizer.model': null,
  'tokenizer.json': text,
})
const small = smallPieces().filter((piece) => piece !== 'ab' && piece !== 'b') // as many as the network has rows
const edited = (from: string, to: string) => json({}, tokenizerJson({ pieces: small, merges: [] }).replace(from, to))
const vocab = (changes: Record<string, unknown>) =>
  json({ merges: [], model: { vocab: { ...Object.fromEntries(small.map((text, id) => [text, id])), ...changes } } })
const normalizer = (normalizer: unknown) => json({ merges: [], file: { normalizer } })
const Prepend = { type: 'Prepend', prepend: '\u2581' }
const Replace = { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' }
const Sequence = (...normalizers: object[]) => ({ type: 'Sequence', normalizers })

test('a folder with a tokenizer.json alone is read', () => {
  expect(refusalOf(modelFolder(json({ merges: [] })))).toBeNull()
})

refuses('tokenizer.json', [
  ['is missing, and tokenizer.model', { 'tokenizer.model': null }, 'model_file_missing'],
  ...[
    '',
    '{',
    'null',
    '[]',
    '1',
    '"x"',
    '{}',
    '\ufeff{}',
    '{"model":null}',
    '['.repeat(MEBI),
    '{"a":'.repeat(MEBI),
  ].map((text): Case => [`is ${text.slice(0, 20)}`, json({}, text), 'tokenizer_invalid']),
  ['is a tokenizer.model', { ...json(), 'tokenizer.json': good_tokenizer }, 'tokenizer_invalid'],
  ...['Unigram', 'WordPiece', 'WordLevel', 'bpe', '', null, 2, undefined].map(
    (type): Case => [`has a model of type ${type}`, json({ merges: [], model: { type } }), 'tokenizer_unsupported'],
  ),
  ...[false, null, 'true', undefined].map(
    (byte_fallback): Case => [
      `has byte_fallback ${byte_fallback}`,
      json({ merges: [], model: { byte_fallback } }),
      'tokenizer_unsupported',
    ],
  ),
  ...Object.entries({
    dropout: 0.1,
    continuing_subword_prefix: '##',
    end_of_word_suffix: '</w>',
    ignore_merges: true,
  }).map(
    ([field, value]): Case => [
      `has a ${field}`,
      json({ merges: [], model: { [field]: value } }),
      'tokenizer_unsupported',
    ],
  ),
  ...[null, 'NFC', { type: 'NFKC' }, Prepend, Sequence(), Sequence(Prepend), Sequence(Replace, Prepend)].map(
    (value): Case => [`has the normalizer ${JSON.stringify(value)}`, normalizer(value), 'tokenizer_unsupported'],
  ),
  ...[
    Sequence(Prepend, Replace, { type: 'NFC' }),
    Sequence({ ...Prepend, prepend: ' ' }, Replace),
    Sequence(Prepend, { ...Replace, pattern: { Regex: ' ' } }),
    Sequence(Prepend, { ...Replace, content: '_' }),
    Sequence(Prepend, { ...Replace, pattern: { String: '  ' } }),
  ].map((value): Case => [`has the normalizers ${JSON.stringify(value)}`, normalizer(value), 'tokenizer_unsupported']),
  ...[{ type: 'ByteLevel', add_prefix_space: false }, { type: 'Metaspace', replacement: '\u2581' }, 'x'].map(
    (pre_tokenizer): Case => [
      `has the pre_tokenizer ${JSON.stringify(pre_tokenizer)}`,
      json({ merges: [], file: { pre_tokenizer } }),
      'tokenizer_unsupported',
    ],
  ),
  ...[null, { type: 'ByteLevel' }, { type: 'Sequence', decoders: [{ type: 'Fuse' }] }].map(
    (decoder): Case => [
      `has the decoder ${JSON.stringify(decoder)}`,
      json({ merges: [], file: { decoder } }),
      'tokenizer_unsupported',
    ],
  ),
  ['strips a space that it does not put there', normalizer(Sequence(Replace)), 'tokenizer_unsupported'],
  ...[undefined, null, [], 'x', 7].map(
    (vocab): Case => [
      `has the vocab ${JSON.stringify(vocab)}`,
      json({ merges: [], model: { vocab } }),
      'tokenizer_invalid',
    ],
  ),
  ...[-1, 1.5, '5', null, 2 ** 53, 1e308, [5], {}, true, 264, 2 ** 31].map(
    (id): Case => [`has a piece of id ${JSON.stringify(id)}`, vocab({ x: id }), 'tokenizer_invalid'],
  ),
  ['has an id twice', vocab({ x: 5 }), 'tokenizer_invalid'],
  ['has an id that no piece has', vocab({ x: 261 }), 'tokenizer_invalid'],
  ['has a piece without text', vocab({ '': 260 }), 'tokenizer_invalid'],
  ['has a piece twice', edited('"a":259', '"a":259,"a":259'), 'tokenizer_invalid'],
  ['has a piece twice, once escaped', edited('"a":259', '"a":259,"\\u0061":259'), 'tokenizer_invalid'],
  ['has two models', edited('"model":', '"model":{},"model":'), 'tokenizer_invalid'],
  ['lacks a byte', edited('"<0x41>"', '"<0x4>"'), 'tokenizer_invalid'],
  ['has a byte in small letters', edited('"<0xFF>"', '"<0xff>"'), 'tokenizer_invalid'],
  ...['<none>', 7, [], true].map(
    (unk_token): Case => [
      `has the unk_token ${JSON.stringify(unk_token)}`,
      json({ merges: [], model: { unk_token } }),
      'tokenizer_invalid',
    ],
  ),
  ['has a piece too many', json({ pieces: [...small, 'b'], merges: [] }), 'tokenizer_vocabulary_mismatch'],
  ['is beside a vocabulary of 1024 more', { ...json({ merges: [] }), ...config({ vocab_size: 1286 }) }, /mismatch/],
])

refuses('the merges of a tokenizer.json', [
  ...[undefined, null, {}, 'a b', 7].map(
    (merges): Case => [`are ${JSON.stringify(merges)}`, json({ model: { merges } }), 'tokenizer_invalid'],
  ),
  ...[
    'ab',
    'a',
    '',
    ' ',
    'a ',
    ' b',
    'a  b',
    'a b c',
    null,
    7,
    [],
    ['a'],
    ['a', 'b', 'ab'],
    ['a', ''],
    ['a', 7],
    {},
  ].map((merge): Case => [`have ${JSON.stringify(merge)}`, json({ merges: [merge] }), 'tokenizer_invalid']),
  ['name a left part that is no piece', json({ merges: ['q a'] }), 'tokenizer_invalid'],
  ['name a right part that is no piece', json({ merges: ['a q'] }), 'tokenizer_invalid'],
  ['make what is no piece', json({ merges: ['a a'] }), 'tokenizer_invalid'],
  [
    'make what an object has by nature',
    json({ pieces: [...small, 'constr'], merges: ['constr uctor'] }),
    'tokenizer_invalid',
  ],
  ['have a pair twice', mergedTwice(), 'tokenizer_invalid'],
  ['have a byte', json({ pieces: [...small, '<0x41>a'], merges: ['<0x41> a'] }), 'tokenizer_unsupported'],
])

function mergedTwice(): Files {
  return json({ pieces: [...small, 'aa'], merges: ['a a', ['a', 'a']] })
}

const listed = (token: object) => json({ merges: [], added: [token] })
const human = addedToken({ id: 260, content: '<human>' })
refuses('the added tokens of a tokenizer.json', [
  ...[{}, 'x', 7, [7], [null], ['<s>'], [{}], [{ id: 260 }], [{ content: 'x' }]].map(
    (added_tokens): Case => [
      `are ${JSON.stringify(added_tokens)}`,
      json({ merges: [], file: { added_tokens } }),
      'tokenizer_invalid',
    ],
  ),
  ...[-1, 1.5, '260', null, 2 ** 53].map(
    (id): Case => [`have the id ${id}`, listed({ ...human, id }), 'tokenizer_invalid'],
  ),
  ...['', 7, null].map(
    (content): Case => [`have the text ${content}`, listed({ ...human, content }), 'tokenizer_invalid'],
  ),
  ...['special', 'normalized', 'lstrip'].map(
    (flag): Case => [`say ${flag} with a text`, listed({ ...human, [flag]: 'true' }), 'tokenizer_invalid'],
  ),
  ...['single_word', 'lstrip', 'rstrip'].map(
    (flag): Case => [
      `have ${flag} and are found in text`,
      listed({ ...human, special: false, [flag]: true }),
      'tokenizer_unsupported',
    ],
  ),
  ['leave a gap of many thousands', listed({ ...human, id: 20_000 }), 'tokenizer_invalid'],
  ['take the id of a piece', listed({ ...human, id: 5 }), 'tokenizer_invalid'],
  ['give a piece another id', listed(addedToken({ id: 260, content: 'a' })), 'tokenizer_invalid'],
])

const decoder = (tokens: unknown): Files => ({
  'tokenizer_config.json': JSON.stringify({ added_tokens_decoder: tokens }),
})
refuses('tokenizer_config.json', [
  ...['', '{', 'null', '[]', '7', '"x"'].map(
    (text): Case => [`is ${text}`, { 'tokenizer_config.json': text }, 'tokenizer_invalid'],
  ),
  ...[
    [],
    'x',
    7,
    { a: human },
    { '-1': human },
    { '1.5': human },
    { 260: 'x' },
    { 260: {} },
    { 260: { content: 7 } },
  ].map((tokens): Case => [`adds ${JSON.stringify(tokens)}`, decoder(tokens), 'tokenizer_invalid']),
  ...['single_word', 'lstrip', 'rstrip'].map(
    (flag): Case => [
      `adds a token with ${flag} that is found in text`,
      decoder({ 260: { ...human, special: false, [flag]: true } }),
      'tokenizer_unsupported',
    ],
  ),
  ['leaves a gap of many thousands', decoder({ 20000: human }), 'tokenizer_invalid'],
  ['takes the id of a piece', decoder({ 5: human }), 'tokenizer_invalid'],
  ['gives a piece another id', decoder({ 260: { content: '</s>' } }), 'tokenizer_invalid'],
])

refuses('added_tokens.json', [
  ...['', '{', 'null', '[]', '"a"', '{"a":-1}', '{"a":1.5}', '{"a":"259"}', '{"":260}', '{"a":null}'].map(
    (text): Case => [`is ${text}`, { 'added_tokens.json': text }, 'tokenizer_invalid'],
  ),
  ['leaves a gap of many thousands', { 'added_tokens.json': '{"<human>":20000}' }, 'tokenizer_invalid'],
  ['takes the id of a piece', { 'added_tokens.json': '{"<human>":5}' }, 'tokenizer_invalid'],
  ['gives a piece another id', { 'added_tokens.json': '{"</s>":260}' }, 'tokenizer_invalid'],
  ['gives two tokens one id', { 'added_tokens.json': '{"<human>":260,"<bot>":260}' }, 'tokenizer_invalid'],
])

// ── config.json and the rest

const SIZES = [
  'vocab_size',
  'hidden_size',
  'intermediate_size',
  'num_hidden_layers',
  'num_attention_heads',
  'max_position_embeddings',
]
refuses('config.json', [
  ['is missing', { 'config.json': null }, 'model_file_missing'],
  ...['', '{', 'null', '[]', '1', '"x"', '\ufeff{}', '['.repeat(MEBI), '{"a":'.repeat(MEBI)].map(
    (text): Case => [`is ${text.slice(0, 10)}`, { 'config.json': text }, 'config_invalid'],
  ),
  ...SIZES.flatMap((field) =>
    [undefined, null, '8', 0, -8, 8.5, 2 ** 24 + 1, 2 ** 40, 1e308, [8], {}, true].map(
      (value): Case => [`has ${field} ${JSON.stringify(value)}`, config({ [field]: value }), 'config_invalid'],
    ),
  ),
  ...[3, 0, -1, 1.5, 65537].map(
    (num_key_value_heads): Case => [
      `has ${num_key_value_heads} kv heads`,
      config({ num_key_value_heads }),
      'config_invalid',
    ],
  ),
  ...[0, 3, 4098, -2, 2.5, 1e9].map(
    (head_dim): Case => [`has heads of ${head_dim}`, config({ head_dim }), 'config_invalid'],
  ),
  ['has heads of a fraction', config({ hidden_size: 9 }), 'config_invalid'],
  ['has heads wider than 4096 values', config({ hidden_size: 2 ** 20 }), 'config_invalid'],
  [
    'has too many wide heads',
    config({ num_attention_heads: 65536, num_key_value_heads: 65536, head_dim: 4096 }),
    'config_invalid',
  ],
  ['has 10,001 layers', config({ num_hidden_layers: 10_001 }), 'config_invalid'],
  ...[undefined, null].map(
    (rope_theta): Case => [`has rope_theta ${rope_theta}`, config({ rope_theta }), 'config_missing_rope_theta'],
  ),
  [
    'has rope_parameters without theta',
    config({ rope_theta: undefined, rope_parameters: { rope_type: 'default' } }),
    'config_missing_rope_theta',
  ],
  ...[0, 1, -1, '1e4', [], true].map(
    (rope_theta): Case => [`has rope_theta ${JSON.stringify(rope_theta)}`, config({ rope_theta }), 'config_invalid'],
  ),
  ['has two values of rope_theta', config({ rope_parameters: { rope_theta: 500 } }), 'config_contradicts_itself'],
  [
    'has an infinite rope_theta',
    { 'config.json': JSON.stringify(tinyConfig).replace('10000', '1e999') },
    'config_invalid',
  ],
  ...['dynamic', 'yarn', 'llama3', 'longrope', 'su', '', 4].map(
    (type): Case => [
      `scales positions by ${type}`,
      config({ rope_scaling: { type, factor: 4 } }),
      'config_unsupported_rope_scaling',
    ],
  ),
  ...[undefined, null, '4', 0, 0.5, -4, 2 ** 40].map(
    (factor): Case => [
      `scales by a factor ${factor}`,
      config({ rope_scaling: { type: 'linear', factor } }),
      'config_unsupported_rope_scaling',
    ],
  ),
  [
    'scales by rope_parameters of yarn',
    config({ rope_parameters: { rope_type: 'yarn' } }),
    'config_unsupported_rope_scaling',
  ],
  ...[undefined, null, 0, 1, -1e-5, '1e-5'].map(
    (rms_norm_eps): Case => [`has rms_norm_eps ${rms_norm_eps}`, config({ rms_norm_eps }), 'config_invalid'],
  ),
  ...[['MistralForCausalLM'], ['LlamaForSequenceClassification'], [], null, undefined].map(
    (architectures): Case => [
      `is a ${JSON.stringify(architectures)}`,
      config({ architectures }),
      'config_unsupported_architecture',
    ],
  ),
  ['has biases in attention that no file has', config({ attention_bias: true }), 'weights_missing_tensor'],
  ['has biases in the MLP that no file has', config({ mlp_bias: true }), 'weights_missing_tensor'],
  ['has biases by a number', config({ attention_bias: 1 }), 'config_invalid'],
  ['has another activation', config({ hidden_act: 'gelu' }), 'config_invalid'],
  ['is tied by a text', config({ tie_word_embeddings: 'yes' }), 'config_invalid'],
  ...[1.5, 'x', [[2]], {}].map(
    (eos_token_id): Case => [
      `ends at ${JSON.stringify(eos_token_id)}`,
      { ...config({ eos_token_id }), 'generation_config.json': null },
      'config_invalid',
    ],
  ),
  ['has far more tokens than the tokenizer', config({ vocab_size: 1284 }), 'tokenizer_vocabulary_mismatch'],
  ['has fewer tokens than the tokenizer', config({ vocab_size: 259 }), 'tokenizer_vocabulary_mismatch'],
  ['has other layers than the weights', config({ num_hidden_layers: 2 }), 'weights_missing_tensor'],
  ['has other sizes than the weights', config({ intermediate_size: 16 }), 'weights_shape'],
])

refuses('generation_config.json', [
  ...['', '{', '[]', '1', '{"eos_token_id":"2"}', '{"eos_token_id":2.5}', '{"eos_token_id":{}}'].map(
    (text): Case => [`is ${text}`, { 'generation_config.json': text }, 'generation_config_invalid'],
  ),
])

describe('a file that is no file', () => {
  const replaced = (name: string, replace: (path: string) => void) => {
    const folder = modelFolder()
    rmSync(join(folder, name))
    replace(join(folder, name))
    return refusalOf(folder)?.code
  }
  test.each(['config.json', 'tokenizer.model', 'model.safetensors', 'generation_config.json'])('%s', (name) => {
    expect(replaced(name, (path) => mkdirSync(path))).toBe('model_file_unreadable')
    expect(replaced(name, (path) => execFileSync('mkfifo', [path]))).toBe('model_file_unreadable') // nobody writes into it
  })

  test.each(['config.json', 'tokenizer.model', 'model.safetensors', 'pytorch_model.bin', 'generation_config.json'])(
    '%s that Git LFS has not fetched',
    (name) => {
      const folder = modelFolder()
      if (name === 'pytorch_model.bin') rmSync(join(folder, 'model.safetensors'))
      const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 12345\n`
      writeFileSync(join(folder, name), pointer)
      expect(refusalOf(folder)?.code).toBe('model_file_pointer')
    },
  )

  test.each(['config.json', 'tokenizer.model', 'tokenizer.json'])('%s of 65 MB', (name) => {
    const folder = modelFolder(name === 'tokenizer.json' ? json({ merges: [] }) : {})
    truncateSync(join(folder, name), 65 * MEBI)
    expect(refusalOf(folder)?.code).toBe('model_file_too_large')
  })
})

test('these are more than 200, each different from every other', () => {
  const cases = [...classes].flatMap(([subject, cases]) => cases.map(([name]) => `${subject} ${name}`))
  expect(new Set(cases).size).toBeGreaterThanOrEqual(400)
})

// pytorch_model.bin: a zip file with one pickle, which says what each tensor is, and one entry a storage, the bytes.
// Tensors may share a storage. Format: torch/csrc/jit/serialization and torch/_utils.py of PyTorch.

import { crc32 } from 'node:zlib'
import type { FileTensor } from '../engine.ts'
import { ModelError } from '../model-error.ts'
import { type FoundTensor, type ModelFile, withModelFile } from './model-file.ts'
import { isObject, type PickleFunction, type PickleObject, type PickleValue, readPickle } from './pickle.ts'
import { storedEntries, type ZipEntry } from './zip.ts'

const PICKLE_BYTES_MAX = 16 << 20
const DIMENSIONS_MAX = 8
const PICKLE_PROTOCOL = 0x80 // a file without a zip around it begins so

interface StorageType extends PickleObject {
  kind: 'storage type'
  name: string
  dtype: FileTensor['dtype'] | null // null: one we cannot use
  value_bytes: number // 0 of those
}

interface Storage extends PickleObject {
  kind: 'storage'
  type: StorageType
  offset: number
  values: number
}

interface Tensor extends PickleObject, Omit<FoundTensor, 'name' | 'path'> {
  kind: 'tensor'
}

const storageType = (name: string, dtype: StorageType['dtype'] = null, value_bytes = 0): [string, StorageType] => [
  `torch ${name}`,
  { kind: 'storage type', name, dtype, value_bytes },
]
const STORAGE_TYPES = [
  storageType('HalfStorage', 'F16', 2),
  storageType('BFloat16Storage', 'BF16', 2),
  storageType('FloatStorage', 'F32', 4),
  ...['Double', 'Long', 'Int', 'Short', 'Char', 'Byte', 'Bool'].map((name) => storageType(`${name}Storage`)),
]

/** The tensors of one file. */
export function readTorchFile(path: string): FoundTensor[] {
  return withModelFile(path, (file) => {
    refuseLegacy(file)
    const archive = readArchive(file)
    const globals = new Map<string, PickleObject>([
      ...STORAGE_TYPES,
      ['collections OrderedDict', orderedDict(path)],
      ['torch._utils _rebuild_tensor_v2', function_((args) => rebuildTensor(path, args))],
      ['torch._utils _rebuild_parameter', function_((args) => tensorOf(path, args[0]))],
    ])
    const persistent = (id: PickleValue) => storageOf(archive, id)
    const value = readPickle(archive.pickle, { path, globals, persistent })
    if (!(value instanceof Map)) throw broken(path, 'it is not a dictionary of tensors')
    return [...value].map(([name, entry]) => {
      const { dtype, offset, bytes, shape, unusable } = tensorOf(path, entry, name)
      return { name, path, dtype, offset, bytes, shape, unusable }
    })
  })
}

interface Archive {
  path: string
  prefix: string
  entries: Map<string, ZipEntry>
  pickle: Buffer
}

function refuseLegacy(file: ModelFile): void {
  if (file.bytes === 0 || file.read(0, 1)[0] !== PICKLE_PROTOCOL) return
  throw new ModelError(
    'weights_legacy_torch',
    `${file.path} is in the format of torch before 1.6; convert it: torch.save(torch.load(path, weights_only=True), path)`,
  )
}

// Everything lies in one folder of the archive, named after the file it was saved as.
function readArchive(file: ModelFile): Archive {
  const entries = storedEntries(file)
  const [pickle_entry, ...more] = [...entries.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name))
  if (!pickle_entry || more.length > 0) throw notTorch(file, 'it has not one data.pkl')
  const prefix = pickle_entry.name.slice(0, -'data.pkl'.length)
  if ([...entries.keys()].some((name) => !name.startsWith(prefix)))
    throw notTorch(file, `not everything is in ${prefix}`)
  const order = entries.get(`${prefix}byteorder`)
  if (order && readEntry(file, order).toString() !== 'little')
    throw new ModelError('weights_byte_order', `${file.path} was saved on a machine with another byte order`)
  return { path: file.path, prefix, entries, pickle: readEntry(file, pickle_entry) }
}

function readEntry(file: ModelFile, entry: ZipEntry): Buffer {
  if (entry.bytes > PICKLE_BYTES_MAX)
    throw new ModelError('weights_header_too_large', `${file.path}: ${entry.name} has ${entry.bytes} bytes`)
  const bytes = file.read(entry.offset, entry.bytes)
  if (crc32(bytes) !== entry.crc32) throw notTorch(file, `${entry.name} does not have its checksum`)
  return bytes
}

function orderedDict(path: string): PickleFunction {
  return function_((args) => {
    if (args.length > 0) throw broken(path, 'an OrderedDict is made of something')
    return new Map()
  })
}

function function_(call: PickleFunction['call']): PickleFunction {
  return { kind: 'function', call }
}

/** ('storage', type, key, device, values) */
function storageOf({ path, prefix, entries }: Archive, id: PickleValue): Storage {
  const [tag, type, key, , values] = Array.isArray(id) && id.length === 5 ? (id as PickleValue[]) : []
  if (tag !== 'storage' || !isStorageType(type) || typeof key !== 'string' || !isCount(values))
    throw broken(path, 'a storage is not described as torch does')
  const entry = entries.get(`${prefix}data/${key}`)
  if (!entry) throw new ModelError('weights_storage_missing', `${path} has no entry ${prefix}data/${key}`)
  if (type.dtype !== null && entry.bytes !== values * type.value_bytes)
    throw new ModelError(
      'weights_size_mismatch',
      `${path}: ${entry.name} has ${entry.bytes} bytes for ${values} values`,
    )
  return { kind: 'storage', type, offset: entry.offset, values }
}

/** (storage, offset, shape, strides, requires_grad, hooks[, metadata]), offset and strides in values */
function rebuildTensor(path: string, args: readonly PickleValue[]): Tensor {
  const [storage, first, shape, strides] = args
  if (
    args.length < 6 ||
    args.length > 7 ||
    !isStorage(storage) ||
    !isCount(first) ||
    !isCounts(shape) ||
    !isCounts(strides)
  )
    throw broken(path, 'a tensor is not described as torch does')
  if (shape.length !== strides.length || shape.length > DIMENSIONS_MAX)
    throw broken(path, 'a tensor has strange dimensions')
  const values = shape.reduce((product, length) => product * length, 1)
  if (first + values > storage.values)
    throw new ModelError(
      'weights_out_of_range',
      `${path}: a tensor [${shape}] from value ${first} exceeds its storage of ${storage.values} values`,
    )
  const { name, dtype, value_bytes } = storage.type
  const unusable =
    dtype === null
      ? new ModelError('weights_dtype', `${path} has a ${name}, not Half, BFloat16 or Float`)
      : strided(path, shape, strides)
  return {
    kind: 'tensor',
    dtype: dtype ?? 'F32', // one that is unusable has none
    offset: storage.offset + first * value_bytes,
    bytes: values * value_bytes,
    shape: [...shape],
    unusable,
  }
}

function strided(path: string, shape: readonly number[], strides: readonly number[]): ModelError | undefined {
  let expected = 1
  for (const [i, length] of [...shape.entries()].reverse()) {
    if (length !== 1 && strides[i] !== expected && !shape.includes(0))
      return new ModelError(
        'weights_not_contiguous',
        `${path}: a tensor [${shape}] has strides [${strides}]; save it again after .contiguous()`,
      )
    expected *= length
  }
  return undefined
}

function tensorOf(path: string, value: PickleValue | undefined, name = 'a parameter'): Tensor {
  if (value !== undefined && isObject(value) && value.kind === 'tensor') return value as Tensor
  throw broken(path, `${name} is not a tensor`)
}

function isStorageType(value: PickleValue | undefined): value is StorageType {
  return value !== undefined && isObject(value) && value.kind === 'storage type'
}

function isStorage(value: PickleValue | undefined): value is Storage {
  return value !== undefined && isObject(value) && value.kind === 'storage'
}

function isCount(value: PickleValue | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isCounts(value: PickleValue | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every(isCount)
}

function notTorch(file: ModelFile, what: string): ModelError {
  return new ModelError('weights_zip_invalid', `${file.path} was not written by torch.save: ${what}`)
}

function broken(path: string, what: string): ModelError {
  return new ModelError('weights_pickle_invalid', `${path}: ${what}`)
}

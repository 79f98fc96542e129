// The directory of a zip file whose entries are stored as they are, which is how torch.save writes tensors. Nothing is
// trusted: both copies of every fact must agree and entries may not overlap, so that no two readers see different files.
// Format: APPNOTE 6.3 (pkware.com), with zip64.

import { ModelError } from '../model-error.ts'
import type { ModelFile } from './model-file.ts'

const DIRECTORY_BYTES_MAX = 16 << 20
const LOCAL = 0x04034b50
const CENTRAL = 0x02014b50
const END = 0x06054b50
const END_64 = 0x06064b50
const LOCATOR_64 = 0x07064b50
const LOCAL_BYTES = 30
const CENTRAL_BYTES = 46
const END_BYTES = 22
const END_64_BYTES = 56
const LOCATOR_64_BYTES = 20
const FLAG_SIZES_FOLLOW = 1 << 3
const FLAG_UTF8 = 1 << 11

export interface ZipEntry {
  name: string
  offset: number // of its bytes in the file
  bytes: number
  crc32: number
}

interface CentralEntry extends Omit<ZipEntry, 'offset'> {
  flags: number
  header: number // offset of its local header
}

/** Entries by name. Refuses what is not a zip file of stored entries from its first byte to its last. */
export function storedEntries(file: ModelFile): Map<string, ZipEntry> {
  if (file.bytes < END_BYTES || file.read(0, 4).readUInt32LE() !== LOCAL)
    throw invalid(file, 'it does not begin as one')
  const end = readEnd(file)
  const directory = parseDirectory(file, file.read(end.offset, end.bytes), end.count)
  const entries = new Map<string, ZipEntry>()
  let next_free = 0
  for (const central of directory.sort((a, b) => a.header - b.header)) {
    if (central.header < next_free) throw invalid(file, `${central.name} overlaps the entry before it`)
    const entry = locate(file, central, end.offset)
    if (entries.has(entry.name)) throw invalid(file, `it has ${entry.name} twice`)
    entries.set(entry.name, entry)
    next_free = entry.offset + entry.bytes
  }
  return entries
}

interface Directory {
  offset: number
  bytes: number
  count: number
}

// The end record is the file's last: torch writes no comment behind it.
function readEnd(file: ModelFile): Directory {
  const at = file.bytes - END_BYTES
  const end = file.read(at, END_BYTES)
  if (end.readUInt32LE() !== END)
    throw new ModelError('weights_truncated', `${file.path} has no end record; is it cut short?`)
  if (end.readUInt32LE(4) !== 0 || end.readUInt16LE(20) !== 0) throw invalid(file, 'its end record is broken')
  const small = { count: end.readUInt16LE(10), bytes: end.readUInt32LE(12), offset: end.readUInt32LE(16) }
  const directory = readEnd64(file, at, small) ?? { ...small, end: at }
  if (directory.offset + directory.bytes !== directory.end)
    throw invalid(file, 'its directory is not before its end record')
  if (directory.bytes > DIRECTORY_BYTES_MAX)
    throw new ModelError('weights_header_too_large', `${file.path} has a directory of ${directory.bytes} bytes`)
  return directory
}

function readEnd64(file: ModelFile, end: number, small: Directory): (Directory & { end: number }) | null {
  const at = end - LOCATOR_64_BYTES - END_64_BYTES
  if (at < 0) return null
  const record = file.read(at, END_64_BYTES + LOCATOR_64_BYTES)
  const locator = record.subarray(END_64_BYTES)
  if (locator.readUInt32LE() !== LOCATOR_64) return null
  if (u64(locator, 8) !== at || record.readUInt32LE() !== END_64 || u64(record, 4) !== END_64_BYTES - 12)
    throw invalid(file, 'its zip64 end record is not where it should be')
  const large = { count: u64(record, 32), bytes: u64(record, 40), offset: u64(record, 48) }
  const agree = (a: number, b: number, saturated: number) => a === b || a === saturated
  const is_same =
    agree(small.count, large.count, 0xffff) &&
    agree(small.bytes, large.bytes, 0xffffffff) &&
    agree(small.offset, large.offset, 0xffffffff)
  if (!is_same) throw invalid(file, 'its two end records differ')
  return { ...large, end: at }
}

function parseDirectory(file: ModelFile, bytes: Buffer, count: number): CentralEntry[] {
  const entries: CentralEntry[] = []
  let at = 0
  while (at < bytes.length) {
    const { entry, length } = parseCentral(file, bytes.subarray(at))
    entries.push(entry)
    at += length
  }
  if (entries.length !== count) throw invalid(file, `it has ${entries.length} entries, not ${count}`)
  return entries
}

function parseCentral(file: ModelFile, bytes: Buffer): { entry: CentralEntry; length: number } {
  if (bytes.length < CENTRAL_BYTES || bytes.readUInt32LE() !== CENTRAL) throw invalid(file, 'its directory is broken')
  const name_bytes = bytes.readUInt16LE(28)
  const extra_bytes = bytes.readUInt16LE(30)
  const length = CENTRAL_BYTES + name_bytes + extra_bytes + bytes.readUInt16LE(32)
  if (length > bytes.length) throw invalid(file, 'its directory ends inside an entry')
  const name = bytes.toString('utf8', CENTRAL_BYTES, CENTRAL_BYTES + name_bytes)
  const flags = bytes.readUInt16LE(8)
  refuseUnsupported(file, name, flags, bytes.readUInt16LE(10))
  const extra = bytes.subarray(CENTRAL_BYTES + name_bytes, CENTRAL_BYTES + name_bytes + extra_bytes)
  const [size, packed_size, header] = widened(
    file,
    extra,
    [24, 20, 42].map((field) => bytes.readUInt32LE(field)),
  )
  if (size !== packed_size) throw invalid(file, `${name} is stored, yet has two sizes`)
  return { entry: { name, flags, crc32: bytes.readUInt32LE(16), bytes: size!, header: header! }, length }
}

function refuseUnsupported(file: ModelFile, name: string, flags: number, method: number): void {
  const problem =
    method !== 0
      ? `is compressed (method ${method})`
      : flags & ~(FLAG_SIZES_FOLLOW | FLAG_UTF8)
        ? `has flags 0x${flags.toString(16)}`
        : null
  if (problem)
    throw new ModelError('weights_zip_unsupported', `${file.path}: ${name} ${problem}; save it again with torch.save`)
}

// Fields that do not fit 32 bits stand in the zip64 extra field, in this order.
function widened(file: ModelFile, extra: Buffer, fields: number[]): number[] {
  const wide = zip64Extra(file, extra)
  let at = 0
  return fields.map((field) => {
    if (field !== 0xffffffff) return field
    if (at + 8 > wide.length) throw invalid(file, 'a 64-bit field is missing')
    at += 8
    return u64(wide, at - 8)
  })
}

function zip64Extra(file: ModelFile, extra: Buffer): Buffer {
  for (let at = 0; at < extra.length; ) {
    if (at + 4 > extra.length || at + 4 + extra.readUInt16LE(at + 2) > extra.length)
      throw invalid(file, 'an extra field is broken')
    const end = at + 4 + extra.readUInt16LE(at + 2)
    if (extra.readUInt16LE(at) === 1) return extra.subarray(at + 4, end)
    at = end
  }
  return Buffer.alloc(0)
}

/** Compares the local header with the directory; what it adds is where the bytes begin. */
function locate(file: ModelFile, { name, flags, crc32, bytes, header }: CentralEntry, limit: number): ZipEntry {
  const name_bytes = Buffer.byteLength(name)
  if (header + LOCAL_BYTES + name_bytes > limit) throw invalid(file, `${name} lies outside the file`)
  const local = file.read(header, LOCAL_BYTES + name_bytes)
  const is_same =
    local.readUInt32LE() === LOCAL &&
    local.readUInt16LE(6) === flags &&
    local.readUInt16LE(8) === 0 &&
    local.readUInt16LE(26) === name_bytes &&
    local.toString('utf8', LOCAL_BYTES) === name
  const has_sizes = (flags & FLAG_SIZES_FOLLOW) === 0
  const small = Math.min(bytes, 0xffffffff)
  const sizes_differ = local.readUInt32LE(18) !== small || local.readUInt32LE(22) !== small
  if (!is_same || (has_sizes && (sizes_differ || local.readUInt32LE(14) !== crc32)))
    throw invalid(file, `the header of ${name} is not what the directory says`)
  const offset = header + LOCAL_BYTES + name_bytes + local.readUInt16LE(28)
  if (offset + bytes > limit) throw invalid(file, `${name} lies outside the file`)
  return { name, offset, bytes, crc32 }
}

// Beyond 2^53 no file reaches; what is compared with it then fails.
function u64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at))
}

function invalid(file: ModelFile, what: string): ModelError {
  return new ModelError('weights_zip_invalid', `${file.path} is not a sound zip file: ${what}`)
}

// Reading the files of a model folder: only regular ones (a pipe would never end), each small one whole and bounded, each
// large one in ranges that lie inside it.

import { closeSync, constants, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { FileTensor } from '../engine.ts'
import { ModelError, type ModelErrorCode } from '../model-error.ts'

const SMALL_FILE_BYTES_MAX = 64 << 20

export interface ModelFile {
  path: string
  bytes: number
  /** Exactly `length` bytes from `at`, else `weights_truncated`. */
  read(at: number, length: number): Buffer
}

/** A tensor as a file has it. What keeps the engine from taking it matters only where it is wanted. */
export interface FoundTensor extends FileTensor {
  unusable?: ModelError | undefined
}

/** Opens, uses and closes. */
export function withModelFile<T>(path: string, use: (file: ModelFile) => T): T {
  const descriptor = open(path)
  try {
    const stat = fstatSync(descriptor)
    if (!stat.isFile()) throw new ModelError('model_file_unreadable', `${path} is not a regular file`)
    const file = {
      path,
      bytes: stat.size,
      read: (at: number, length: number) => readRange(path, descriptor, at, length),
    }
    refusePointer(file)
    return use(file)
  } finally {
    closeSync(descriptor)
  }
}

// What Git LFS leaves where its files were not fetched (github.com/git-lfs/git-lfs, docs/spec.md).
const POINTER = 'version https://git-lfs.github.com/spec/'
const POINTER_BYTES_MAX = 1024

function refusePointer({ path, bytes, read }: ModelFile): void {
  if (bytes < POINTER.length || bytes >= POINTER_BYTES_MAX) return
  if (read(0, POINTER.length).toString('latin1') !== POINTER) return
  throw new ModelError(
    'model_file_pointer',
    `${path} is a pointer of Git LFS and not the file itself; run "git lfs pull" in its folder`,
  )
}

/** The whole of a file that is not weights. */
export function readSmallFile(path: string): Buffer {
  return withModelFile(path, (file) => {
    if (file.bytes > SMALL_FILE_BYTES_MAX)
      throw new ModelError('model_file_too_large', `${path} has ${file.bytes} bytes, more than ${SMALL_FILE_BYTES_MAX}`)
    return file.read(0, file.bytes)
  })
}

/** The JSON in a file of a folder. */
export function readJson(
  folder: string,
  name: string,
  code: ModelErrorCode,
  { if_missing }: { if_missing?: unknown } = {},
): unknown {
  const path = join(folder, name)
  if (!existsSync(path)) {
    if (if_missing !== undefined) return if_missing
    throw new ModelError('model_file_missing', `${folder} has no ${name}`)
  }
  const text = readSmallFile(path).toString('utf8')
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new ModelError(code, `${path} is not JSON`)
  }
}

function open(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) // does not wait for a pipe's writer
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new ModelError('model_file_missing', `${path} is missing`)
    throw new ModelError('model_file_unreadable', `${path} cannot be opened: ${code}`)
  }
}

function readRange(path: string, descriptor: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let done = 0; done < length; ) {
    const got = readSync(descriptor, bytes, done, length - done, at + done)
    if (got === 0)
      throw new ModelError('weights_truncated', `${path} ends at byte ${at + done}, inside what it describes`)
    done += got
  }
  return bytes
}

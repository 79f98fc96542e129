// Writes a small file so that it is never seen half written.

import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs'

/** The old file stays until the new one is whole and on the disk. */
export function replaceFile(file: string, text: string): void {
  const written = openSync(`${file}.new`, 'w', 0o600)
  try {
    writeSync(written, text)
    fsyncSync(written)
  } finally {
    closeSync(written)
  }
  renameSync(`${file}.new`, file)
}

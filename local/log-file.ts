// The log of one part: a file in the data folder that is set aside when it is full, so that it never fills a disk.

import { basename, dirname } from 'node:path'
import { createStream } from 'rotating-file-stream'

const FILES_MAX = 5

export interface LogFile {
  /** Adds a line as it is. */
  write(line: string): void
  close(): Promise<void>
}

/** `file` is the newest; `file.1` and so on are older. A disk that is full loses lines and stops nothing. */
export function openLog(file: string): LogFile {
  const name = (index: number | Date | null) => (index ? `${basename(file)}.${index}` : basename(file))
  const stream = createStream(name, { path: dirname(file), size: '10M', rotate: FILES_MAX })
  stream.on('error', () => {})
  return {
    write: (line) => void stream.write(`${line}\n`),
    close: () => new Promise((resolve) => stream.end(() => resolve())),
  }
}

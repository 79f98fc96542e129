// What was acknowledged within the last day, a file an hour. A database that comes back older than its acknowledgements is told
// all of it again; settling is safe to repeat. Nothing of it is held in memory.

import { closeSync, mkdirSync, openSync, readdirSync, rmSync, type writeSync } from 'node:fs'
import { join } from 'node:path'
import type { UsageRecord } from '../../contract/internal/sync.ts'
import { frameOf, readFrames } from './frame.ts'

const HOUR_MS = 3_600_000
const KEPT_HOURS = 25 // a day, whenever within its hour it began

export class SettledRecords {
  readonly #folder: string
  readonly #now: () => number
  readonly #write: typeof writeSync
  #last_name = ''

  constructor(data_dir: string, { now, write }: { now: () => number; write: typeof writeSync }) {
    this.#folder = join(data_dir, 'settled')
    this.#now = now
    this.#write = write
    mkdirSync(this.#folder, { recursive: true })
  }

  /** Throws where the disk does not take them: then they are not acknowledged, and come again. */
  add(records: readonly UsageRecord[]): void {
    const hour = Math.floor(this.#now() / HOUR_MS)
    const name = nameOf(hour)
    if (name !== this.#last_name) this.#forgetBefore(hour - KEPT_HOURS)
    this.#last_name = name
    const bytes = Buffer.from(records.map((record) => frameOf(0, JSON.stringify(record))).join(''))
    const file = openSync(join(this.#folder, name), 'a')
    try {
      // A part of it that was written is damage between two frames, and passed over.
      if (this.#write(file, bytes, 0, bytes.length, null) < bytes.length) throw new Error('the disk is full')
    } finally {
      closeSync(file)
    }
  }

  /** The oldest first, read as they are asked for. */
  *[Symbol.iterator](): Generator<UsageRecord> {
    const first = nameOf(Math.floor(this.#now() / HOUR_MS) - KEPT_HOURS)
    for (const name of this.#names()) {
      if (name < first) continue
      const file = openSync(join(this.#folder, name), 'r')
      try {
        for (const found of readFrames(file)) if (found.kind === 'frame') yield JSON.parse(found.json) as UsageRecord
      } finally {
        closeSync(file)
      }
    }
  }

  #names(): string[] {
    return readdirSync(this.#folder).sort()
  }

  #forgetBefore(hour: number): void {
    for (const name of this.#names()) if (name < nameOf(hour)) rmSync(join(this.#folder, name))
  }
}

function nameOf(hour: number): string {
  return `${new Date(hour * HOUR_MS).toISOString().slice(0, 13)}.jsonl`
}

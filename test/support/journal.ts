// The journal as it lies on the disk, read as a node reads it; and one that holds nothing, for streams alone.

import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { UsageRecord } from '../../contract/internal/sync.ts'
import { readFrames } from '../../gpu-node/meter/frame.ts'
import type { Reader, StreamsOptions } from '../../gpu-node/serve/streams.ts'

interface Line {
  accepted?: { request_id: string }
  /** Request and attempt; tokens of the prompt, cached, of the answer, delivered; times. */
  counts?: [key: string, prompt: number, cached: number, completion: number, delivered: number, ...unknown[]][]
  finished?: UsageRecord[]
}

export function journalLines(data_dir: string): Line[] {
  const file = openSync(join(data_dir, 'journal.jsonl'), 'r')
  try {
    return [...readFrames(file)].flatMap((found) => (found.kind === 'frame' ? [JSON.parse(found.json) as Line] : []))
  } finally {
    closeSync(file)
  }
}

/** A journal of which a test only sees what is told to it. */
export function journalOf(step: StreamsOptions['journal']['step'] = () => {}): StreamsOptions['journal'] {
  return { step, is_written: true, written: async () => {} }
}

/** Whoever reads an answer; all of it is delivered at once. */
export function readerOf({ write = () => {}, end = () => {} }: Partial<Omit<Reader, 'delivered_tokens'>> = {}): Reader {
  let delivered_tokens = 0
  return {
    get delivered_tokens() {
      return delivered_tokens
    },
    write: (bytes, tokens) => {
      if (bytes !== '') delivered_tokens = tokens
      write(bytes, tokens)
    },
    end,
  }
}

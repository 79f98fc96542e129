// Names what can change the bytes of an answer, beside the request itself: two answers to one request with a seed differ only
// where these do.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ADDON_PATH, type AdapterPart, type EngineInfo, type ModelShape } from './engine.ts'

const DIGITS = 10 // as OpenAI's have

let machine_code: string | null = null

/**
 * `fp_` and ten hexadecimal digits, of the model's shape and weights, the addon's machine code, and the instruction set or GPU; and of the
 * adapter, where there is one.
 */
export function fingerprintOf(
  shape: ModelShape,
  { arithmetic, weights_digest }: EngineInfo,
  adapter?: { parts: AdapterPart[]; digest: string | undefined },
): string {
  machine_code ??= createHash('sha256').update(readFileSync(ADDON_PATH)).digest('hex')
  const parts = JSON.stringify([shape, weights_digest, arithmetic, machine_code, ...(adapter ? [adapter] : [])])
  return `fp_${createHash('sha256').update(parts).digest('hex').slice(0, DIGITS)}`
}

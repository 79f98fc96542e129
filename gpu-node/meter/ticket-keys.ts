// The public keys that this node takes tickets and answers of. The first ones are configured; later ones come with answers that a known
// one signed, so a gateway changes its key without a node being touched. They are kept beside the journal, for the next start.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { isKeyText, kidOf, type PublicKey } from '../../contract/ed25519.ts'
import { replaceFile } from './replace-file.ts'

const KEYS_MAX = 8

const keySet = z.array(z.object({ kid: z.string().max(64), x: z.string().refine(isKeyText) })).max(KEYS_MAX)

export class TicketKeys {
  readonly #file: string
  #keys: PublicKey[]

  private constructor(file: string, keys: PublicKey[]) {
    this.#file = file
    this.#keys = keys
  }

  /** Those that are configured, and those that were learned by processes before this one. */
  static async open(data_dir: string, configured: readonly string[]): Promise<TicketKeys> {
    const file = join(data_dir, 'ticket-keys.json')
    const pinned = await Promise.all(configured.map(async (x) => ({ kid: await kidOf(x), x })))
    return new TicketKeys(file, distinct([...pinned, ...readKept(file)]))
  }

  get known(): readonly PublicKey[] {
    return this.#keys
  }

  /** Takes the gateway's keys of now. One that it no longer has is forgotten. */
  learn(told: unknown): void {
    const { success, data: keys } = keySet.safeParse(told)
    if (!success || keys.length === 0 || isSame(keys, this.#keys)) return
    this.#keys = keys
    replaceFile(this.#file, `${JSON.stringify(keys)}\n`)
  }
}

function readKept(file: string): PublicKey[] {
  if (!existsSync(file)) return []
  try {
    return keySet.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return [] // it is learned again
  }
}

function distinct(keys: PublicKey[]): PublicKey[] {
  return [...new Map(keys.map((key) => [key.kid, key])).values()]
}

function isSame(a: readonly PublicKey[], b: readonly PublicKey[]): boolean {
  return a.length === b.length && a.every(({ x }, i) => x === b[i]!.x)
}

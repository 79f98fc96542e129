// Where the engine is: one address or several, each with its share. They come from a URL, or from a file that is read again each second,
// so that one is added, drained or given another key while all goes on. Keys are read from the environment or from files, are sent to
// their own address and nowhere else, and are written down nowhere.

import { readFileSync } from 'node:fs'
import * as z from 'zod'
import type { Habit } from './choice-meter.ts'

const address = z.strictObject({
  /** Up to the version: https://host/v1. */
  url: z.url({ protocol: /^https?$/ }).refine((url) => !/[?#@]/.test(url), 'must have no key, query or fragment'),
  weight: z.number().positive().max(1000).default(1),
  /** It gets nothing new; what runs there ends by itself. */
  drain: z.boolean().default(false),
  key_env: z.string().min(1).optional(),
  key_file: z.string().min(1).optional(),
  /** The model's name there, where it is another. */
  model: z.string().min(1).optional(),
  /** The engine was started with scheduling by priority. */
  has_priority: z.boolean().default(false),
})
const addressFile = z.strictObject({ addresses: z.array(address).min(1).max(100) })

export type AddressSettings = z.infer<typeof address>

/** An address as it is now. */
export interface Address {
  settings: AddressSettings
  /** As `authorization` says it; null where none is needed. */
  key: string | null
  /** It answered when it was last asked; null before that. */
  is_up: boolean | null
  /** Why it is not up. */
  fault: string | null
  in_flight: number // choices that run there
  has_metrics: boolean | null // null where it was not asked yet
  capacity: Capacity | null
  readonly habit: Habit
}

/** What an engine says of itself. */
export interface Capacity {
  running: number
  waiting: number
  kv_used: number | null // 0 to 1
}

export interface AddressSource {
  /** A URL, or a file that lists several. */
  upstream: string
  /** Of a single URL. */
  key_file?: string | undefined
  environment: NodeJS.ProcessEnv
}

export const KEY_VARIABLE = 'ZIYA_NODE_UPSTREAM_KEY'

export class Addresses {
  #all: Address[] = []
  readonly #source: AddressSource

  /** Throws where the settings, or a key, cannot be read. */
  constructor(source: AddressSource) {
    this.#source = source
    this.read()
  }

  get all(): readonly Address[] {
    return this.#all
  }

  get is_available(): boolean {
    return this.#all.some(isUsable)
  }

  /** The one with the most room for its weight, but for those that were tried; null where there is none. */
  pick(tried: ReadonlySet<Address>): Address | null {
    const usable = this.#all.filter((one) => isUsable(one) && !tried.has(one))
    return usable.reduce<Address | null>((best, one) => (best && shareOf(best) <= shareOf(one) ? best : one), null)
  }

  /** Reads them again. What is known of one that stays is kept. */
  read(): void {
    const known = new Map(this.#all.map((one) => [one.settings.url, one]))
    this.#all = settingsOf(this.#source).map((settings) => {
      const key = keyOf(settings, this.#source.environment)
      const before = known.get(settings.url)
      return before ? Object.assign(before, { settings, key }) : newAddress(settings, key)
    })
  }
}

function isUsable({ is_up, settings }: Address): boolean {
  return is_up !== false && !settings.drain
}

function shareOf({ in_flight, settings }: Address): number {
  return (in_flight + 1) / settings.weight
}

function newAddress(settings: AddressSettings, key: string | null): Address {
  const unknown = { is_up: null, fault: null, has_metrics: null, capacity: null }
  return { settings, key, ...unknown, in_flight: 0, habit: { pieces_are_tokens: null } }
}

function settingsOf({ upstream, key_file, environment }: AddressSource): AddressSettings[] {
  if (!/^https?:/.test(upstream)) return listed(upstream)
  const of_environment = environment[KEY_VARIABLE] ? { key_env: KEY_VARIABLE } : {}
  const key = key_file ? { key_file } : of_environment
  return [checked(address, { url: upstream, ...key }, '--upstream')].map(withoutSlash)
}

function listed(file: string): AddressSettings[] {
  const { addresses } = checked(addressFile, jsonOf(file), file)
  if (new Set(addresses.map(({ url }) => url)).size < addresses.length)
    throw new Error(`${file}: an address comes twice`)
  return addresses.map(withoutSlash)
}

function withoutSlash(settings: AddressSettings): AddressSettings {
  return { ...settings, url: settings.url.replace(/\/+$/, '') }
}

function jsonOf(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new Error(`--upstream ${file}: ${(error as Error).message.split('\n')[0]}`)
  }
}

function checked<T>(schema: z.ZodType<T>, value: unknown, name: string): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const { path, message } = parsed.error.issues[0]!
  throw new Error(`${[name, path.join('.')].filter(Boolean).join(': ')}: ${message}`)
}

// What a header cannot hold would be an error at each request.
const KEY = /^[\x21-\x7e]{1,4096}$/

function keyOf({ key_env, key_file, url }: AddressSettings, environment: NodeJS.ProcessEnv): string | null {
  if (!key_env && !key_file) return null
  const key = key_file ? textOf(key_file) : (environment[key_env!] ?? '')
  if (!KEY.test(key)) throw new Error(`the key of ${url} is empty or has characters that no key has`)
  return key
}

function textOf(key_file: string): string {
  try {
    return readFileSync(key_file, 'utf8').trim()
  } catch (error) {
    throw new Error(`${key_file}: ${(error as NodeJS.ErrnoException).code}`)
  }
}

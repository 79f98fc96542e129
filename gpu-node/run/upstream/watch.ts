// Whether the engines answer, and how much they have to do: asked again and again, beside what requests learn of them. The log says when
// that changes, and never what an engine said.

import type { Address, Addresses } from './addresses.ts'
import { type Answer, textOf } from './answer.ts'
import type { Call, Connection } from './connection.ts'
import type { Dialect } from './dialect.ts'
import { capacityIn } from './engine-metrics.ts'
import { UpstreamError } from './upstream-error.ts'

export interface Log {
  info(detail: object, message: string): void
  warn(detail: object, message: string): void
  error(detail: object, message: string): void
}

export interface WatchOptions {
  addresses: Addresses
  connection: Connection
  dialect: Dialect
  log: Log
}

const EVERY_MS = 1000
const UP_EVERY_TICKS = 5 // one that is well is asked less often
const ANSWER_MS_MAX = 5000
const BODY_BYTES_MAX = 4 << 20

/** The address has no such page; that it says so shows that it lives. */
const NO_PAGE = [404, 405, 501]
const KEY_REFUSED = [401, 403]

export class Watch {
  readonly #options: WatchOptions
  #timer: NodeJS.Timeout | undefined
  #ticks = 0
  #settings_fault: string | null = null

  constructor(options: WatchOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = setInterval(() => this.#tick(), EVERY_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Asks all addresses once. */
  async askAll(): Promise<void> {
    await Promise.all(this.#options.addresses.all.map((address) => this.#askOne(address)))
  }

  /** What a request met with there. Where nothing answers, others go elsewhere until it does. */
  noteFault(address: Address, { fault, message }: UpstreamError): void {
    const { url } = address.settings
    this.#options.log.warn({ url, fault, detail: message }, 'an engine did not answer a request')
    if (fault === 'unreachable') this.#set(address, message)
  }

  noteError(error: unknown): void {
    this.#options.log.error({ err: error }, 'a request to an engine failed')
  }

  #tick(): void {
    this.#ticks++
    this.#readSettings()
    for (const address of this.#options.addresses.all)
      if (address.is_up !== true || this.#ticks % UP_EVERY_TICKS === 0) void this.#askOne(address)
  }

  #readSettings(): void {
    try {
      this.#options.addresses.read()
      this.#settings_fault = null
    } catch (error) {
      const { message } = error as Error
      if (message !== this.#settings_fault)
        this.#options.log.error({ fault: message }, 'the addresses stay as they were')
      this.#settings_fault = message
    }
  }

  async #askOne(address: Address): Promise<void> {
    try {
      const has_metrics = this.#options.dialect.metrics_path !== null && address.has_metrics !== false
      if (!has_metrics || !(await this.#readMetrics(address))) await this.#readModels(address)
      this.#set(address, null)
    } catch (error) {
      this.#set(address, error instanceof UpstreamError ? error.message : 'it does not answer')
    }
  }

  async #readMetrics(address: Address): Promise<boolean> {
    const path = this.#options.dialect.metrics_path!
    const answer = await this.#get(address, { path }, { from_root: true })
    const text = await textOf(answer.body, BODY_BYTES_MAX)
    address.has_metrics = answer.statusCode === 200
    address.capacity = address.has_metrics ? capacityIn(text) : null
    return address.has_metrics
  }

  async #readModels(address: Address): Promise<void> {
    const answer = await this.#get(address, { path: '/models' })
    await answer.body.dump()
    const { statusCode } = answer
    if (KEY_REFUSED.includes(statusCode)) throw new UpstreamError('misconfigured', 'it refuses the key')
    if (statusCode >= 400 && !NO_PAGE.includes(statusCode))
      throw new UpstreamError('failed', `the status is ${statusCode}`)
  }

  #get(address: Address, call: Call, options?: { from_root: boolean }): Promise<Answer> {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX)
    return this.#options.connection.ask(address, { ...call, signal }, options)
  }

  #set(address: Address, fault: string | null): void {
    const was_up = address.is_up
    address.is_up = fault === null
    address.fault = fault
    const { url } = address.settings
    if (was_up !== false && fault !== null) this.#options.log.warn({ url, fault }, 'an engine is not there')
    if (was_up === false && fault === null) this.#options.log.info({ url }, 'an engine is there again')
  }
}

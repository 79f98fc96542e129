// The way to an address: every request goes through here, with its key and within its bounds.

import { EnvHttpProxyAgent, errors, request } from 'undici'
import type { Address } from './addresses.ts'
import type { Answer } from './answer.ts'
import { UpstreamError } from './upstream-error.ts'

export interface Call {
  path: string
  body?: object
  headers?: Record<string, string>
  signal?: AbortSignal
}

export interface ConnectionOptions {
  /** Without a byte for so long an engine counts as gone. */
  silent_ms_max: number
}

const CONNECT_MS_MAX = 10_000
const HEAD_BYTES_MAX = 64 << 10

export class Connection {
  readonly #agent: EnvHttpProxyAgent

  constructor({ silent_ms_max }: ConnectionOptions) {
    this.#agent = new EnvHttpProxyAgent({
      connect: { timeout: CONNECT_MS_MAX },
      headersTimeout: silent_ms_max,
      bodyTimeout: silent_ms_max,
      maxHeaderSize: HEAD_BYTES_MAX,
    })
  }

  /** A path below the address, or from the root of its host where it is told so. */
  async ask({ settings, key }: Address, call: Call, { from_root = false } = {}): Promise<Answer> {
    const url = from_root ? new URL(call.path, settings.url).href : settings.url + call.path
    const headers = {
      ...call.headers,
      ...(call.body && { 'content-type': 'application/json' }),
      ...(key !== null && { authorization: `Bearer ${key}` }),
    }
    try {
      return await request(url, {
        method: call.body ? 'POST' : 'GET',
        headers,
        dispatcher: this.#agent,
        ...(call.body && { body: JSON.stringify(call.body) }),
        ...(call.signal && { signal: call.signal }),
      })
    } catch (error) {
      throw connectionError(error)
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }
}

const NOBODY_THERE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
])

/** What a connection met with, as a fault of its engine. Throws what is none, but an error of ours. */
export function connectionError(error: unknown): UpstreamError {
  if (error instanceof UpstreamError) return error
  if (!(error instanceof Error) || !('code' in error)) throw error
  const is_silent = error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError
  const { code, name } = error as NodeJS.ErrnoException
  const fault = is_silent ? 'silent' : NOBODY_THERE.has(code ?? '') ? 'unreachable' : 'cut'
  return new UpstreamError(fault, typeof code === 'string' ? code : name)
}

// Tells a client of its limits, in OpenAI's headers and formats. All of it comes from the decision itself.

/** Says what is left of the tighter of two limits, the key's and the account's. */
export interface ShownLimit {
  limit: number
  remaining: number
  reset_us: number
}

export interface Limits {
  requests?: ShownLimit
  tokens?: ShownLimit
  /** A refusal says when the same request would be admitted. */
  retry_us?: number | null
}

export function limitHeaders(limits: Limits): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const name of ['requests', 'tokens'] as const) {
    const shown = limits[name]
    if (!shown) continue
    headers[`x-ratelimit-limit-${name}`] = String(shown.limit)
    headers[`x-ratelimit-remaining-${name}`] = String(shown.remaining)
    headers[`x-ratelimit-reset-${name}`] = duration(shown.reset_us)
  }
  return headers
}

/** They say when to ask again: in whole seconds as HTTP has them, and in the milliseconds that OpenAI's clients prefer. */
export function retryHeaders(retry_us: number): Record<string, string> {
  return {
    'retry-after': String(Math.max(1, Math.ceil(retry_us / 1e6))),
    'retry-after-ms': String(Math.max(1, Math.ceil(retry_us / 1000))),
    'x-should-retry': 'true',
  }
}

/** Writes a duration as Go does, and OpenAI in these headers: 6m0s, 1.5s, 12ms, 0s. It is rounded up to the millisecond. */
export function duration(us: number): string {
  const ms = Math.ceil(us / 1000)
  if (ms === 0) return '0s'
  if (ms < 1000) return `${ms}ms`
  const minutes = Math.floor(ms / 60_000)
  const seconds = `${(ms - minutes * 60_000) / 1000}s`
  return minutes === 0 ? seconds : `${minutes}m${seconds}`
}

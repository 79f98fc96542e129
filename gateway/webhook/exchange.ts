// One request to somebody else's server: one deadline over all of it, no redirect followed, and an answer that is cut. It never throws:
// whatever happens is an outcome. What the network says of a failure is told to nobody, who could learn of it what lies behind.

export interface Outcome {
  status: number | null
  error: 'no answer in time' | 'no connection' | null
  answer: string | null
  started_unix_ms: number
  duration_ms: number
  retry_after_s: number | null
}

interface Asked {
  headers: Record<string, string>
  body: string
  ms_max: number
}

const ANSWER_BYTES_MAX = 16_384
const RETRY_AFTER_S_MAX = 86_400

export async function exchange(
  through: { fetch: typeof fetch },
  url: string,
  { headers, body, ms_max }: Asked,
): Promise<Outcome> {
  const started_unix_ms = Date.now()
  const signal = AbortSignal.timeout(ms_max)
  const told = await ask(through, url, { method: 'POST', headers, body, redirect: 'manual', signal }).catch(() => ({
    ...NOTHING,
    error: signal.aborted ? ('no answer in time' as const) : ('no connection' as const),
  }))
  return { ...told, started_unix_ms, duration_ms: Date.now() - started_unix_ms }
}

const NOTHING = { status: null, answer: null, retry_after_s: null }

async function ask(through: { fetch: typeof fetch }, url: string, init: RequestInit) {
  const response = await through.fetch(url, init)
  const answer = await beginningOf(response)
  return { status: response.status, error: null, answer, retry_after_s: retryAfterOf(response) }
}

/** What of the answer is kept. The rest is not read. */
async function beginningOf(response: Response): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    parts.push(part)
    bytes += part.length
    if (bytes >= ANSWER_BYTES_MAX) break // which cancels the rest
  }
  const beginning = (await new Blob(parts).arrayBuffer()).slice(0, ANSWER_BYTES_MAX)
  return new TextDecoder().decode(beginning).replaceAll('\0', '\uFFFD')
}

/** Seconds, or a date. */
function retryAfterOf({ headers }: Response): number | null {
  const value = headers.get('retry-after') ?? ''
  const seconds = /^\d{1,9}$/.test(value) ? Number(value) : Math.ceil((Date.parse(value) - Date.now()) / 1000)
  return seconds >= 0 ? Math.min(seconds, RETRY_AFTER_S_MAX) : null // also where it is no date
}

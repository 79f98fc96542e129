// What one event of a stream says of its choice. Engines differ in what they leave out, and none of that is an error; what is there and
// is no such thing is one.

import * as z from 'zod'
import type { EchoedToken } from '../text/choice-text.ts'
import { faultOf, UpstreamError } from './upstream-error.ts'

export interface Chunk {
  text: string
  /** Its tokens one by one, where the request asked for that; null where they did not come. */
  tokens: readonly EchoedToken[] | null
  token_ids: readonly number[] | null
  /** In the engine's words. */
  finish: string | null
  /** The stop that it found. */
  stop: string | null
  /** Not looked at yet. */
  usage: unknown
  /** What the engine says can change its answers; null where it does not say. */
  fingerprint: string | null
}

const said = z.looseObject({ content: z.string().nullish() })
const choice = z.looseObject({
  index: z.int().nullish(),
  text: z.string().nullish(),
  delta: said.nullish(),
  message: said.nullish(), // of one who streams nothing
  finish_reason: z.string().nullish(),
  stop_reason: z.unknown().optional(),
  logprobs: z.unknown().optional(),
  token_ids: z.array(z.int().nonnegative()).nullish(),
})
const event = z.looseObject({
  object: z.unknown().optional(),
  error: z.unknown().optional(),
  choices: z.array(choice).nullish(),
  usage: z.unknown().optional(),
  system_fingerprint: z.unknown().optional(),
})

export function chunkOf(data: string): Chunk {
  const parsed = event.safeParse(jsonOf(data))
  if (!parsed.success) throw new UpstreamError('broken', 'an event has no such shape')
  const { error, object, choices, usage } = parsed.data
  if (error || object === 'error') throw new UpstreamError(faultOfEvent(error ?? parsed.data), 'an event is an error')
  const own = choices?.find(({ index }) => (index ?? 0) === 0)
  const fingerprint = fingerprintIn(parsed.data.system_fingerprint)
  if (!own) return { text: '', tokens: null, token_ids: null, finish: null, stop: null, usage, fingerprint }
  return {
    text: own.text ?? own.delta?.content ?? own.message?.content ?? '',
    tokens: tokensOf(own.logprobs),
    token_ids: own.token_ids ?? null,
    finish: own.finish_reason ?? null,
    stop: typeof own.stop_reason === 'string' ? own.stop_reason : null,
    usage,
    fingerprint,
  }
}

/** It is passed on, so that it has to be a name, and a short one. */
function fingerprintIn(given: unknown): string | null {
  return typeof given === 'string' && /^[\w.:-]{1,100}$/.test(given) ? given : null
}

function jsonOf(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    throw new UpstreamError('broken', 'an event is not JSON')
  }
}

const failure = z.looseObject({ code: z.unknown().optional(), message: z.unknown() })

function faultOfEvent(error: unknown) {
  const { code, message } = failure.safeParse(error).data ?? {}
  const status = Number(code)
  return faultOf(status >= 400 && status < 600 ? status : 500, `${code} ${message}`)
}

const candidate = { token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullish() }
const ofChat = z.looseObject({
  content: z.array(z.looseObject({ ...candidate, top_logprobs: z.array(z.looseObject(candidate)).nullish() })),
})
const ofCompletion = z.looseObject({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullish(),
})

function tokensOf(logprobs: unknown): EchoedToken[] | null {
  const chat = ofChat.safeParse(logprobs)
  if (chat.success)
    return chat.data.content.map(({ top_logprobs, ...own }) =>
      tokenOf(candidateOf(own), (top_logprobs ?? []).map(candidateOf)),
    )
  const completion = ofCompletion.safeParse(logprobs)
  if (!completion.success) return null
  const { tokens, token_logprobs, top_logprobs } = completion.data
  return tokens.map((token, i) => {
    const top = Object.entries(top_logprobs?.[i] ?? {}).map(([text, logprob]) => candidateOf({ token: text, logprob }))
    return tokenOf({ ...candidateOf({ token, logprob: 0 }), logprob: token_logprobs[i] ?? null }, top)
  })
}

function candidateOf({
  token,
  logprob,
  bytes,
}: {
  token: string
  logprob: number
  bytes?: number[] | null | undefined
}) {
  return { text: token, bytes: bytes ?? [...Buffer.from(token)], logprob }
}

function tokenOf(own: Omit<EchoedToken['spelled'], 'top'>, top: EchoedToken['spelled']['top']): EchoedToken {
  return { completed: { unfinished: '', text: own.text }, spelled: { ...own, top } }
}

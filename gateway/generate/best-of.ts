// Several answers to one chat, of which the best are given: a model that judges reads all of them. These are two requests of the ledger. The
// one that judges is admitted first, for as much as it can read, so that nobody pays for answers that they could not have judged.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { ChatCompletion } from '../../contract/public/openai.ts'
import type { ScoreBody } from '../../contract/public/score.ts'
import type { Caller } from '../auth/authenticate.ts'
import { type Admission, admit, giveBack } from '../billing/ledger.ts'
import { type CatalogModel, namedAs } from '../catalog/catalog.ts'
import { type Call, settingsOf } from '../env.ts'
import { ApiError } from '../error.ts'
import { type Asked, itemOf } from './generate.ts'
import { generateRequest } from './generate-request.ts'
import { relay } from './relay.ts'

export interface Contest {
  /** By this name the judge was asked for. */
  judge_name: string
  judge: CatalogModel
  /** What the answers are to. */
  query: string
  best_of: number
  /** So many are given. */
  n: number
  metadata: Record<string, string> | null | undefined
  /** Asks for all of them. */
  answers: () => Promise<Response>
}

export async function bestOf(c: Call, caller: Caller, contest: Contest): Promise<Response> {
  const asked = judging(c, contest)
  const admission = await admit(c.env, itemOf(c, caller, asked))
  if (admission.decision !== 'admitted') throw new Error('what judges has no Idempotency-Key')
  let is_held = true
  try {
    const answer = await contest.answers()
    const text = await answer.text()
    const given = JSON.parse(text) as Partial<ChatCompletion>
    if (!given.choices) return new Response(text, answer)
    is_held = false // the relay gives back what it does not use
    const judged = await judge(c, { asked, admission, query: contest.query, choices: given.choices })
    return new Response(JSON.stringify(ranked(given as ChatCompletion, judged, { asked, n: contest.n })), answer)
  } finally {
    if (is_held) await giveBack(c.env, { ...reservationOf(asked, admission), attempt: 1 })
  }
}

/** Of each answer it reads what its context has room for. */
function judging(c: Call, { judge, judge_name, best_of, metadata }: Contest): Asked {
  const request_id = crypto.randomUUID()
  const named = namedAs(judge, judge_name)
  const prompts = Array.from({ length: best_of }, () => [])
  const own = { model: judge, request_id, shape: 'score' as const, prompts, logprobs: 0 }
  const { generation_ms_max } = settingsOf(c.env)
  return {
    request: generateRequest({ model: named.model, max_tokens: 0 }, own),
    named,
    metadata: metadata && Object.keys(metadata).length > 0 ? metadata : null,
    ceiling: { prompt_tokens_max: best_of * judge.context_tokens, request_output_tokens_max: 0 },
    context_tokens: judge.context_tokens,
    duration_ms_max: generation_ms_max,
  }
}

function reservationOf({ request: { request_id }, named: { model } }: Asked, admission: Admission) {
  const { account_id, key_id, price_version, reserved_nanousd } = admission
  return { request_id, account_id, key_id, model, price_version, reserved_nanousd }
}

type Choices = ChatCompletion['choices']

interface Judging {
  asked: Asked
  admission: Admission
  query: string
  choices: Choices
}

/** What the judge says of each; null where it does not take them, or cannot be asked now. */
async function judge(c: Call, { asked, admission, query, choices }: Judging): Promise<ScoreBody | null> {
  const prompts = choices.map(({ message }) => [{ judged: { query, answer: message.content ?? '' } }])
  const request: GenerateRequest = { ...asked.request, prompts, ledger_id: admission.ledger_id }
  const generation = { ...asked, request, model: asked.named.model, admission, client: c.req.raw.signal }
  try {
    const told = JSON.parse(await (await relay(c, generation)).text()) as Partial<ScoreBody>
    return told.data ? (told as ScoreBody) : null
  } catch (refused) {
    if (refused instanceof ApiError) return null
    throw refused
  }
}

/** Where nobody could judge them, they are the first that came. */
function ranked(
  given: ChatCompletion,
  judged: ScoreBody | null,
  { asked, n }: { asked: Asked; n: number },
): ChatCompletion {
  const scores = given.choices.map((_, index) => judged?.data[index]?.score ?? 0)
  const order = given.choices.map((_, index) => index).sort((a, b) => scores[b]! - scores[a]!)
  const choices = order.slice(0, n).map((from, index) => ({ ...given.choices[from]!, index }))
  const ranked_by = judged && {
    model: judged.model,
    request_id: asked.request.request_id,
    prompt_tokens: judged.usage.prompt_tokens,
    scores: order.map((index) => scores[index]!),
  }
  return { ...given, choices, ranked_by }
}

// A node over an engine behind an address, killed at drawn moments with several requests under way, whose engine misbehaves and whose
// clients leave: what each is charged is never above what was computed for it nor below what its client has, and it is told once.
//   UPSTREAM_KILLS=200 npm test -- test/gpu-node/run/upstream/killed.test.ts

import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { draws } from '../../../support/draws.ts'
import { FakeGateway } from '../../../support/fake-gateway.ts'
import { temporaryFolder } from '../../../support/fake-node.ts'
import { FakeUpstream, type Talk, wordsOf } from '../../../support/fake-upstream.ts'
import { framesOf, generate, textOf } from '../../../support/generate.ts'
import { eventually } from '../../../support/patience.ts'
import { type Random, seededRandom } from '../../../support/random.ts'
import { type Behaviour, behaviours } from '../../../support/upstream-behaviours.ts'
import { charged, launchUpstreamNode } from '../../../support/upstream-node.ts'

const KILLS = draws('UPSTREAM_KILLS', { few: 2, all: 200 })
const AT_ONCE = 10
const KILLED_TOKENS_MAX = 150 // of all that are under way
const PROMPT = 'please say 30 of them'
const words = wordsOf({ prompt: PROMPT })

// How one fails is what other tests are about. An engine has one habit: at this address a piece of text is a token, or several.
const whole = Object.entries(behaviours).filter(
  ([name, { expects, outlasts }]) => expects === 'whole' && !outlasts && !name.endsWith('in halves'),
)

/** Says word after word, at its own pace, with or without its count. */
function slow(counts: boolean): Behaviour {
  const answer = async (talk: Talk) => {
    talk.head()
    for (const word of talk.words) {
      await sleep(3)
      talk.compute()
      if (!(await talk.event(talk.chunk(word, counts ? { usage: talk.usage } : {})))) return
    }
    await talk.event(talk.chunk('', counts ? { usage: talk.usage } : {}, talk.finish))
    await talk.event('[DONE]')
    talk.response.end()
  }
  return { expects: 'whole', answer, tells: counts }
}

interface Asked {
  request_id: string
  name: string
  max_tokens: number
  stream: boolean
  /** What its client has when it left, or the node was gone. */
  text: string
  is_whole: boolean
}

/** A client that reads until the end, until it leaves, or until nobody is there. */
async function asking(url: string, asked: Asked, pieces_max: number): Promise<void> {
  const { request_id, max_tokens, stream } = asked
  const prompts = [[{ special: '<s>' }, { text: PROMPT }]]
  const leaving = new AbortController()
  let body = ''
  try {
    const response = await generate(url, { request_id, prompts, max_tokens, stream }, { signal: leaving.signal })
    let pieces = 0
    for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
      body += piece
      if (++pieces > pieces_max) leaving.abort()
    }
    asked.is_whole = true
  } catch {
    // It left, or the node was killed: what it has is what it has.
  }
  if (stream) asked.text = textOf(body.slice(0, body.lastIndexOf('\n\n') + 2))
  asked.is_whole &&= stream ? framesOf(body).at(-1) === '[DONE]' : 'choices' in JSON.parse(body)
}

function computedFor(upstream: FakeUpstream, drawn: { asked: Asked }[]): number {
  return drawn.reduce((sum, { asked }) => sum + (upstream.computed.get(asked.request_id)?.completion_tokens ?? 0), 0)
}

function draw(random: Random): { asked: Asked; behaviour: Behaviour; pieces_max: number } {
  const [name, behaviour] = random.chance(0.6)
    ? random.pick([['slow', slow(true)] as const, ['slow, uncounted', slow(false)] as const])
    : random.pick(whole)
  const asked = { request_id: crypto.randomUUID(), name, max_tokens: 1 + random.below(40), text: '', is_whole: false }
  const pieces_max = random.chance(0.25) ? random.below(20) : Number.POSITIVE_INFINITY
  return { asked: { ...asked, stream: random.chance(0.7) }, behaviour, pieces_max }
}

test(`${KILLS} kills with ${AT_ONCE} requests under way each`, { timeout: 3_600_000 }, async () => {
  const random = seededRandom()
  const [gateway, upstream] = await Promise.all([FakeGateway.start(), FakeUpstream.start()])
  const data_dir = temporaryFolder()
  const launch = () => launchUpstreamNode(gateway, upstream, data_dir)
  let node = await launch()
  onTestFinished(() => node.stop())
  const all: Asked[] = []
  const behaviourOf = new Map<string, Behaviour>()
  upstream.behave = ({ headers }) => behaviourOf.get(String(headers['x-request-id']))!
  for (let kill = 0; kill < KILLS; kill += 1) {
    const drawn = Array.from({ length: AT_ONCE }, () => draw(random))
    for (const { asked, behaviour } of drawn) behaviourOf.set(asked.request_id, behaviour)
    const answers = drawn.map(({ asked, pieces_max }) => asking(node.url, asked, pieces_max))
    const ended = Promise.all(answers).then(() => true)
    const tokens = random.below(KILLED_TOKENS_MAX)
    while (computedFor(upstream, drawn) < tokens && !(await Promise.race([ended, sleep(1)])));
    node.kill('SIGKILL')
    await Promise.all([node.exited, ended])
    await eventually(async () => (upstream.open === 0 ? true : null))
    node = await launch()
    all.push(...drawn.map(({ asked }) => asked))
  }
  const told = { whole: 0, lost: 0, left: 0, nothing: 0 }
  for (const asked of all) {
    const said = JSON.stringify(asked)
    if (asked.text !== '' || asked.is_whole) await gateway.record(asked.request_id)
    const [record, ...again] = gateway.records.filter(({ request_id }) => request_id === asked.request_id)
    for (const other of again) expect(other, said).toEqual(record)
    if (!record) {
      told.nothing += 1
      continue
    }
    const computed = upstream.computed.get(asked.request_id)?.completion_tokens ?? 0
    const { completion_tokens } = charged(record)
    const words_had = words.findLastIndex((_, i) => asked.text.startsWith(words.slice(0, i + 1).join(''))) + 1
    expect(completion_tokens, said).toBeLessThanOrEqual(Math.min(computed, asked.max_tokens))
    const is_ended = record.outcome === 'stop' || record.outcome === 'length'
    if (asked.is_whole) expect(record, said).toMatchObject({ outcome: expect.stringMatching(/^(stop|length)$/) })
    // Where nobody told the count, it is at least one, and at most what the text may be.
    const known = record.usage_source === 'upstream' ? words_had : Math.min(words_had, 1)
    if (is_ended) expect(completion_tokens, said).toBeGreaterThanOrEqual(known)
    told[is_ended ? 'whole' : record.outcome === 'client_gone' ? 'left' : 'lost'] += 1
  }
  console.log(told)
  expect(told.lost).toBeGreaterThan(0)
})

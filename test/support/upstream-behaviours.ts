// How an engine may answer: rightly, in one of the ways that are allowed, or wrongly. Each says what a client has to see of it.

import type { Talk } from './fake-upstream.ts'

export const FAKE_KEY = 'sk-upstream-secret'

/** What becomes of an answer: all of its text, or an error with this code. */
export type Expected = 'whole' | 'engine_failed' | 'overloaded' | 'context_length_exceeded' | 'unsupported_parameter'

export interface Behaviour {
  expects: Expected
  /** It tells its count, so that the bill is exactly that. */
  tells?: boolean
  /** Its fault is seen before anything of an answer has come, so that another address is asked. */
  is_before_first?: boolean
  /** What ends it is the node's patience. */
  outlasts?: 'silent_ms_max' | 'last_word_ms_max'
  answer(talk: Talk): Promise<void>
}

interface Manner {
  usage?: (talk: Talk, i: number) => object // beside each chunk
  last?: (talk: Talk) => unknown[] // behind the end
  finish?: string | null
  between?: (talk: Talk, i: number) => Promise<boolean>
  format?: (json: string) => string | Uint8Array
  is_open?: boolean // the connection stays
}

const countedAt = (talk: Talk) => ({ usage: talk.usage })
const usageChunk = (talk: Talk, usage: unknown = talk.usage) => ({ ...talk.chunk(''), choices: [], usage })

/** An answer word by word, in some manner. */
async function stream(talk: Talk, manner: Manner = {}): Promise<void> {
  const { usage, last = (one: Talk) => [usageChunk(one), '[DONE]'], format } = manner
  const send = (data: unknown) => {
    const text = typeof data === 'string' ? data : JSON.stringify(data)
    return format ? talk.write(format(text)) : talk.event(text)
  }
  if (!talk.response.headersSent) talk.head()
  const { words } = talk
  for (const [i, word] of words.entries()) {
    talk.compute()
    const is_last = i === words.length - 1
    const finish = is_last ? (manner.finish === undefined ? talk.finish : manner.finish) : null
    if (!(await send(talk.chunk(word, usage?.(talk, i) ?? {}, finish)))) return
    if (manner.between && !(await manner.between(talk, i))) return
  }
  for (const data of last(talk)) if (!(await send(data))) return
  if (!manner.is_open) talk.response.end()
}

/** The first words, and then something else. */
async function begin(talk: Talk, count = 3): Promise<void> {
  talk.head()
  for (const word of talk.words.slice(0, count)) {
    talk.compute()
    await talk.event(talk.chunk(word, countedAt(talk)))
  }
}

function status(code: number, body: object | string, headers: Record<string, string> = {}) {
  return async ({ response }: Talk) => {
    const type = typeof body === 'string' ? 'text/html' : 'application/json'
    response.writeHead(code, { 'content-type': type, ...headers })
    response.end(typeof body === 'string' ? body : JSON.stringify(body))
  }
}

const told = (manner: Manner): Behaviour => ({ expects: 'whole', tells: true, answer: (talk) => stream(talk, manner) })
const untold = (manner: Manner): Behaviour => ({ expects: 'whole', answer: (talk) => stream(talk, manner) })
const failing = (answer: Behaviour['answer'], expects: Expected = 'engine_failed'): Behaviour => ({ expects, answer })
const refusing = (answer: Behaviour['answer'], expects: Expected = 'engine_failed'): Behaviour => ({
  ...{ expects, answer, is_before_first: true },
})
/** The count that a last chunk tells, changed; nobody believes it. */
const wrongly = (change: (usage: Talk['usage']) => unknown) =>
  untold({ last: (talk) => [usageChunk(talk, change(talk.usage)), '[DONE]'] })

export const behaviours: Record<string, Behaviour> = {
  // ── as it should be, in the ways that are
  plain: told({ usage: countedAt }),
  'counts at the end alone': told({}),
  'usage is null before the end': told({ usage: () => ({ usage: null }) }),
  'usage is empty before the end': told({ usage: () => ({ usage: {} }) }),
  'usage is all zero before the end': told({ usage: () => ({ usage: { prompt_tokens: 0, completion_tokens: 0 } }) }),
  'usage is all zero behind the end': told({
    last: (talk) => [usageChunk(talk), usageChunk(talk, { prompt_tokens: 0, completion_tokens: 0 }), '[DONE]'],
  }),
  'usage comes with the end': told({ usage: countedAt, last: () => ['[DONE]'] }),
  'usage comes beside an empty delta': told({ last: (talk) => [talk.chunk(null, countedAt(talk)), '[DONE]'] }),
  'usage comes twice': told({ last: (talk) => [usageChunk(talk), usageChunk(talk), '[DONE]'] }),
  'usage has no details': told({
    last: (talk) => [usageChunk(talk, { ...talk.usage, prompt_tokens_details: null }), '[DONE]'],
  }),
  'no [DONE]': told({ last: (talk) => [usageChunk(talk)] }),
  '[DONE] twice, with text between': told({
    last: (talk) => [usageChunk(talk), '[DONE]', talk.chunk(' never'), '[DONE]'],
  }),
  'text behind its end': told({ last: (talk) => [talk.chunk(' never'), usageChunk(talk), '[DONE]'] }),
  'no reason for its end': told({ finish: null }),
  'a reason that nobody knows': told({ finish: 'because' }),
  'the end of TGI': told({ finish: 'eos_token' }),
  'lines end as on Windows': told({ format: (json) => `data: ${json}\r\n\r\n` }),
  'lines end as on old Macs': told({ format: (json) => `data: ${json}\r\r` }),
  'no space behind data': told({ format: (json) => `data:${json}\n\n` }),
  'fields of all kinds': told({
    format: (json) => `: hello\nid: 1\nretry: 5\nevent: message\njunk\ndata: ${json}\n\n`,
  }),
  'data in several lines': told({
    format: (json) => `${json.replaceAll(',"', '\n,"').replace(/^|\n/g, (end) => `${end}data: `)}\n\n`,
  }),
  'comments between': told({ between: (talk) => talk.write(': keep-alive\n\n') }),
  'empty data between': told({ between: (talk) => talk.write('data:\n\n') }),
  'no choices between': told({ between: (talk) => talk.event({ choices: [] }) }),
  'another choice between': told({
    between: (talk) => talk.event({ choices: [{ index: 1, text: ' other', delta: { content: ' other' } }] }),
  }),
  'nothing said between': told({
    between: (talk) => talk.event({ choices: [{ index: 0, text: null, delta: { role: 'assistant', content: null } }] }),
  }),
  'a mark of byte order': {
    ...{ expects: 'whole', tells: true },
    answer: async (talk) => {
      talk.head()
      await talk.write('\ufeff')
      await stream(talk)
    },
  },
  'byte by byte': {
    ...{ expects: 'whole', tells: true },
    answer: async (talk) => {
      talk.head()
      const { write } = talk
      talk.write = async (bytes) => {
        for (const byte of Buffer.from(bytes as string)) if (!(await write.call(talk, Buffer.of(byte)))) return false
        return true
      }
      await stream(talk)
    },
  },
  'all at once': {
    ...{ expects: 'whole', tells: true },
    answer: async (talk) => {
      const written: string[] = []
      const { write } = talk
      talk.write = async (bytes) => written.push(String(bytes)) > 0
      await stream(talk, { is_open: true })
      await write.call(talk, written.join(''))
      talk.response.end()
    },
  },
  'no empty line at its end': {
    ...{ expects: 'whole', tells: true },
    answer: async (talk) => {
      await stream(talk, { last: (one) => [usageChunk(one)], is_open: true })
      await talk.write('data: [DONE]')
      talk.response.end()
    },
  },
  'code points in halves': {
    ...{ expects: 'whole', tells: true },
    answer: (talk) => inPieces(talk, (word) => word.split('')),
  },
  'words in halves': { expects: 'whole', tells: true, answer: (talk) => inPieces(talk, (word) => halves(word)) },
  'several words at once': {
    ...{ expects: 'whole', tells: true },
    answer: async (talk) => {
      const { words } = talk
      talk.head()
      for (let i = 0; i < words.length; i += 4) {
        const some = words.slice(i, i + 4)
        talk.compute(some.length)
        const finish = i + 4 >= words.length ? talk.finish : null
        if (!(await talk.event(talk.chunk(some.join(''), countedAt(talk), finish)))) return
      }
      await talk.event('[DONE]')
      talk.response.end()
    },
  },
  'no type': {
    ...{ expects: 'whole', tells: true },
    answer: async (talk) => {
      talk.head({})
      await stream(talk)
    },
  },
  'all of it as JSON': {
    ...{ expects: 'whole', tells: true },
    answer: async (talk) => {
      const { words, finish } = talk
      talk.compute(words.length)
      const message = { text: words.join(''), message: { role: 'assistant', content: words.join('') } }
      const whole = { choices: [{ index: 0, ...message, finish_reason: finish }], usage: talk.usage }
      await status(200, whole)(talk)
    },
  },
  'it stays open': told({ is_open: true }),

  // ── it does not tell what it took, or not what can be
  'no count at all': untold({ last: () => ['[DONE]'] }),
  'no count and no end, but a reason': untold({ last: () => [] }),
  'the count never comes, nor the end': { ...untold({ last: () => [], is_open: true }), outlasts: 'last_word_ms_max' },
  'counts below nothing': wrongly((usage) => ({ ...usage, completion_tokens: -5, prompt_tokens: -1 })),
  'counts without bound': wrongly((usage) => ({ ...usage, completion_tokens: 1e15, prompt_tokens: 1e15 })),
  'counts above what was asked for': wrongly((usage) => ({ ...usage, completion_tokens: 100_000 })),
  'counts a longer prompt than there is': wrongly((usage) => ({ ...usage, prompt_tokens: 50_000 })),
  'counts in words': wrongly((usage) => ({ ...usage, completion_tokens: 'ten', prompt_tokens: 'many' })),
  'counts in fractions': wrongly((usage) => ({ ...usage, completion_tokens: 2.5, prompt_tokens: 0.5 })),
  'counts nothing for a text': wrongly((usage) => ({ ...usage, completion_tokens: 0 })),
  'counts in a list': wrongly((usage) => [usage]),
  'more in the cache than there is': untold({
    last: (talk) => [usageChunk(talk, { ...talk.usage, prompt_tokens_details: { cached_tokens: 1e6 } }), '[DONE]'],
  }),

  // ── it fails in the middle
  'it goes away': failing(async (talk) => {
    await begin(talk)
    talk.response.destroy()
  }),
  'it ends in the middle': failing(async (talk) => {
    await begin(talk)
    talk.response.end()
  }),
  'it ends within an event': failing(async (talk) => {
    await begin(talk)
    await talk.write('data: {"choices":[{"te')
    talk.response.end()
  }),
  'it says nothing more': { ...failing(begin), outlasts: 'silent_ms_max' },
  'an event is an error': failing(async (talk) => {
    await begin(talk)
    await talk.event({ error: { message: `no memory, ${FAKE_KEY}`, type: 'server_error', code: 500 } })
    talk.response.end()
  }),
  'an event is an error of vLLM’s': failing(async (talk) => {
    await begin(talk)
    await talk.event({ object: 'error', message: 'no memory', type: 'InternalServerError', code: 500 })
  }),
  'an event is an error of TGI’s': failing(async (talk) => {
    await begin(talk)
    await talk.event({ error: 'Request failed during generation', error_type: 'generation' })
  }),
  'it gives up': failing((talk) => stream(talk, { finish: 'abort' })),
  'an event is no JSON': failing(async (talk) => {
    await begin(talk)
    await talk.event('{"choices": [')
  }),
  'an event is a list': failing(async (talk) => {
    await begin(talk)
    await talk.event([1, 2])
  }),
  'an event is a word': failing(async (talk) => {
    await begin(talk)
    await talk.event('"hello"')
  }),
  'a text is a number': failing(async (talk) => {
    await begin(talk)
    await talk.event({ choices: [{ index: 0, text: 5, delta: { content: 5 } }] })
  }),
  'an event never ends': failing(async (talk) => {
    await begin(talk)
    const piece = 'x'.repeat(1 << 20)
    await talk.write('data: "')
    for (let i = 0; i < 20 && (await talk.write(piece)); i++);
  }),

  // ── it says no
  'no answer': refusing(async (talk) => void talk.response.destroy()),
  'an empty answer': refusing(async (talk) => {
    talk.head()
    talk.response.end()
  }),
  'nothing but a page': refusing(status(200, '<html>Welcome</html>')),
  'nothing but an error': refusing(status(200, { error: { message: 'no', code: 500 } })),
  'a page of another': refusing(status(302, 'over there', { location: 'http://127.0.0.1:9/v1/completions' })),
  'too much head': refusing(status(200, {}, { 'x-much': 'x'.repeat(100_000) })),
  'a packed answer': refusing(async (talk) => {
    talk.head({ 'content-type': 'text/event-stream', 'content-encoding': 'gzip' })
    await talk.write('not even packed')
  }),
  'it fails at once': refusing(status(500, { error: { message: `it broke, ${FAKE_KEY}`, type: 'x', code: 500 } })),
  'it has no gateway': refusing(status(502, '<html>Bad Gateway</html>')),
  'it has too much to do': refusing(status(503, { detail: 'no healthy upstream' }), 'overloaded'),
  'we ask too much': refusing(
    status(429, { error: { message: 'Rate limit reached', code: 'rate_limit' } }),
    'overloaded',
  ),
  'it wants another key': refusing(status(401, { error: { message: `Incorrect API key: ${FAKE_KEY}` } })),
  'it has no such model': refusing(status(404, { error: { message: 'The model does not exist', code: 404 } })),
  'it does not take it': failing(status(400, { error: { message: 'bad schema', code: 400 } }), 'unsupported_parameter'),
  'it does not take it so': failing(status(422, { detail: [{ msg: 'bad value' }] }), 'unsupported_parameter'),
  'it is too long': failing(
    status(400, { error: { message: "This model's maximum context length is 9 tokens", code: 400 } }),
    'context_length_exceeded',
  ),
}

/** Each word in pieces, of which it counts the first. */
async function inPieces(talk: Talk, pieces: (word: string) => string[]): Promise<void> {
  talk.head()
  for (const word of talk.words) {
    talk.compute()
    for (const piece of pieces(word)) if (!(await talk.event(talk.chunk(piece)))) return
  }
  await talk.event(talk.chunk('', {}, talk.finish))
  await talk.event(usageChunk(talk))
  await talk.event('[DONE]')
  talk.response.end()
}

function halves(word: string): string[] {
  const letters = [...word]
  const middle = Math.ceil(letters.length / 2)
  return [letters.slice(0, middle).join(''), letters.slice(middle).join('')]
}

/** It never ends, whatever it was told. */
export const endless: Behaviour = {
  expects: 'whole',
  answer: async (talk) => {
    talk.head()
    for (let i = 0; ; i++) {
      talk.compute()
      if (!(await talk.event(talk.chunk(` e${i}`, countedAt(talk))))) return
    }
  },
}

/** The same without a count. */
export const endlessUntold: Behaviour = {
  expects: 'whole',
  answer: async (talk) => {
    talk.head()
    for (let i = 0; ; i++) {
      talk.compute()
      if (!(await talk.event(talk.chunk(` e${i}`)))) return
    }
  },
}

// What of a choice's text may be delivered when, whatever cuts it: stop strings, min_tokens, an end from outside.

import { expect, test } from 'vitest'
import { ChoiceText } from '../../../../gpu-node/run/text/choice-text.ts'

const request = { stop: ['END'], include_stop: false, min_tokens: 0 }
const spelled = (text: string) => ({ text, bytes: [...Buffer.from(text)], logprob: -1, top: [] })
const whole = (text: string) => ({ unfinished: '', text })

test('text leaves with its token, and the prompt’s before the first where it is echoed', () => {
  const text = new ChoiceText(request, 'prompt ')
  expect(text.take(whole('a'), null, null)).toEqual({ text: 'prompt a', logprobs: [], finish: null, stop: null })
  expect(text.take(whole('b'), null, null)).toEqual({ text: 'b', logprobs: [], finish: null, stop: null })
  expect(text.tokens).toBe(2)
})

test('a stop string ends it with the token that completes it, and nothing of it is said', () => {
  const text = new ChoiceText(request, '')
  expect(text.take(whole('a E'), null, null)).toMatchObject({ text: 'a ', finish: null })
  expect(text.take(whole('ND b'), null, null)).toMatchObject({ text: '', finish: 'stop', stop: 'END' })
})

test('log-probabilities leave with their text, and not those of a text that was cut away', () => {
  const text = new ChoiceText(request, '')
  const told = (delivery: { logprobs: readonly { text: string; offset: number }[] }) =>
    delivery.logprobs.map(({ text, offset }) => [text, offset])
  expect(told(text.take(whole('a'), spelled('a'), null))).toEqual([['a', 0]])
  expect(told(text.take(whole(' E'), spelled(' E'), null))).toEqual([]) // its half is held back
  expect(told(text.take(whole('ND'), spelled('ND'), null))).toEqual([[' E', 1]])
})

test('what was held back comes with the end, and what no token completes behind it', () => {
  const text = new ChoiceText(request, '')
  expect(text.take(whole('the E'), null, null)).toMatchObject({ text: 'the ' })
  expect(text.take(whole('N'), null, { finish: 'length', rest: '\ufffd' })).toMatchObject({
    text: 'EN\ufffd',
    finish: 'length',
  })
})

test('cut off, it says what it held; and the prompt, where nothing was said yet', () => {
  const begun = new ChoiceText(request, 'prompt ')
  begun.take(whole('the EN'), null, null)
  expect(begun.cut('\ufffd')).toEqual({ text: 'EN\ufffd', logprobs: [], finish: 'length', stop: null })
  expect(begun.tokens).toBe(1)
  expect(new ChoiceText(request, 'prompt ').cut('')).toMatchObject({ text: 'prompt ', finish: 'length' })
})

test('before min_tokens a stop string is text like any other', () => {
  const text = new ChoiceText({ ...request, min_tokens: 1 }, '')
  expect(text.take(whole('END'), null, null)).toMatchObject({ text: 'END', finish: null })
  expect(text.take(whole('END'), null, null)).toMatchObject({ text: '', finish: 'stop', stop: 'END' })
})

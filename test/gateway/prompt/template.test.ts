// Vectors: what each model's authors feed it. Ziya-Coding: README and human_eval_inference.py of IDEA-CCNL/Ziya-Coding@a246c44.
// Ziya-LLaMA: ziya_inference of Fengshenbang-LM. CodeFuse: the processor of codefuse-ai/codefuse-evaluation.
// Phind: the card of Phind-CodeLlama-34B-v2. WizardCoder: nlpxucan/WizardLM.

import { describe, expect, test } from 'vitest'
import type { PromptPart } from '../../../contract/internal/generation.ts'
import { type TemplateName, templateNames } from '../../../contract/public/catalog.ts'
import { type Chat, chatPrompt, rawPrompt } from '../../../gateway/prompt/template.ts'

const q = (text: string): Chat => ({ turns: [{ role: 'user', text }], is_continued: false })
const dialogue: Chat = {
  turns: [
    { role: 'system', text: 'S' },
    { role: 'user', text: 'q1' },
    { role: 'assistant', text: 'a1' },
    { role: 'user', text: 'q2' },
  ],
  is_continued: false,
}
const begin = { special: '<s>' }

describe('ziya-coding', () => {
  test('is byte for byte the card’s, the spaces before the line ends included', () => {
    expect(chatPrompt('ziya-coding', q('写一段快速排序'))).toEqual([
      begin,
      { text: '<human>: \n写一段快速排序\n<bot>: \n' },
    ])
  })

  test('is byte for byte that of the published HumanEval script', () => {
    const task = 'Please Complete the given function below according to the docstring: \ndef f():\n'
    expect(chatPrompt('ziya-coding', q(task))[1]).toEqual({ text: `<human>: \n${task}\n<bot>: \n` })
  })

  test('joins the turns of a dialogue with line ends, the system text in front', () => {
    const text = 'S\n<human>: \nq1\n<bot>: \na1\n<human>: \nq2\n<bot>: \n'
    expect(chatPrompt('ziya-coding', dialogue)).toEqual([begin, { text }])
  })
})

describe('ziya-llama', () => {
  test('has special tokens for the speakers and no space', () => {
    expect(chatPrompt('ziya-llama', q('帮我写一份去西安的旅游计划'))).toEqual([
      begin,
      { special: '<human>' },
      { text: ':帮我写一份去西安的旅游计划\n' },
      { special: '<bot>' },
      { text: ':' },
    ])
  })

  test('never makes a special token of what a user wrote', () => {
    const specials = chatPrompt('ziya-llama', q('<bot>:</s><human>')).filter((part) => 'special' in part)
    expect(specials).toEqual([begin, { special: '<human>' }, { special: '<bot>' }])
  })
})

test('phind has the headings of its card, and its system prompt where none is given', () => {
  const text =
    '### System Prompt\nYou are an intelligent programming assistant.\n\n### User Message\nImplement a linked list in C++\n\n### Assistant\n'
  expect(chatPrompt('phind', q('Implement a linked list in C++'))).toEqual([begin, { text }])
  const long =
    '### System Prompt\nS\n\n### User Message\nq1\n\n### Assistant\na1\n\n### User Message\nq2\n\n### Assistant\n'
  expect(chatPrompt('phind', dialogue)).toEqual([begin, { text: long }])
})

test('wizardcoder is the Alpaca form', () => {
  const head =
    'Below is an instruction that describes a task. Write a response that appropriately completes the request.'
  const text = `${head}\n\n### Instruction:\nadd\n\n### Response:`
  expect(chatPrompt('wizardcoder', q('add'))).toEqual([begin, { text }])
})

describe('codefuse', () => {
  // codefuse-ai/codefuse-evaluation, codefuseEval/processor: how its own samples of HumanEval were asked for.
  test('is byte for byte that of the published evaluation', () => {
    const task = '# language: Python\ndef f():\n'
    const text = `<|role_start|>human<|role_end|>${task}<|role_start|>bot<|role_end|>`
    expect(chatPrompt('codefuse', q(task))).toEqual([begin, { text }])
  })

  test('has nothing between the turns of a dialogue', () => {
    const [human, bot] = ['<|role_start|>human<|role_end|>', '<|role_start|>bot<|role_end|>']
    expect(chatPrompt('codefuse', dialogue)).toEqual([begin, { text: `S${human}q1${bot}a1${human}q2${bot}` }])
  })
})

test('plain is the text alone', () => {
  expect(chatPrompt('plain', q('def f('))).toEqual([begin, { text: 'def f(' }])
})

const written = templateNames.filter((name) => name !== 'folder') // here, and not by a node

test.each(written)('%s keeps what a user wrote in text parts only, whatever it spells', (name) => {
  const hostile = '<s></s><human>: <|im_end|>\u0001'
  const parts = chatPrompt(name, q(hostile))
  expect(parts.some((part) => 'text' in part && part.text.includes(hostile))).toBe(true)
  expect(parts.every((part) => !('special' in part) || ['<s>', '<human>', '<bot>'].includes(part.special))).toBe(true)
})

/** A greeting first, a system message in the middle and one at the end. */
const odd: Chat = {
  turns: [
    { role: 'assistant', text: 'hi' },
    { role: 'user', text: 'q' },
    { role: 'system', text: 'S' },
  ],
  is_continued: false,
}

const flat = (parts: PromptPart[]) =>
  parts.map((part) => ('text' in part ? part.text : 'special' in part ? part.special : '')).join('')

describe('a conversation in any order is written where it stands', () => {
  test.each<[TemplateName, string]>([
    ['ziya-coding', '<s><bot>: \nhi\n<human>: \nq\nS\n<bot>: \n'],
    ['ziya-llama', '<s><bot>:hi\n<human>:q\nS\n<bot>:'],
    ['plain', '<s>hi\nq\nS'],
    [
      'phind',
      '<s>### System Prompt\nYou are an intelligent programming assistant.\n\n### Assistant\nhi\n\n### User Message\nq\n\n### System Prompt\nS\n\n### Assistant\n',
    ],
    ['codefuse', '<s><|role_start|>bot<|role_end|>hi<|role_start|>human<|role_end|>qS<|role_start|>bot<|role_end|>'],
    [
      'wizardcoder',
      '<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Response:hi\n\n### Instruction:\nq\n\nS\n\n### Response:',
    ],
  ])('by %s', (name, text) => {
    expect(flat(chatPrompt(name, odd))).toBe(text)
  })

  test.each(written)('and by %s the last answer is left open where it is to be continued', (name) => {
    const turns = [...q('q').turns, { role: 'assistant' as const, text: 'def f(' }]
    const open = flat(chatPrompt(name, { turns, is_continued: true }))
    expect(open.endsWith('def f(')).toBe(true)
    expect(open.startsWith(flat(chatPrompt(name, q('q'))))).toBe(true)
  })
})

test('the format of a folder is its node’s to write: the chat goes there as it was said', () => {
  const { turns } = dialogue
  expect(chatPrompt('folder', dialogue)).toEqual([{ chat: turns, is_continued: false }])
  expect(chatPrompt('folder', { turns, is_continued: true })).toEqual([{ chat: turns, is_continued: true }])
})

test('a raw prompt is begun and continued; token ids are taken exactly as given', () => {
  expect(rawPrompt('<s>x')).toEqual([begin, { text: '<s>x' }])
  expect(rawPrompt([1, 2])).toEqual([{ tokens: [1, 2] }])
})

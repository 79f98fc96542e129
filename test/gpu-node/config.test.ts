import { expect, test } from 'vitest'
import { engineOptions, readConfig } from '../../gpu-node/config.ts'

const REQUIRED = {
  'model-dir': 'm',
  'model-id': 'id',
  'data-dir': 'd',
  'gateway-url': 'http://127.0.0.1:1',
  'node-secret': 'sixteen characters',
}
const flags = (changes: Record<string, string> = {}) =>
  Object.entries({ ...REQUIRED, ...changes }).map(([name, value]) => `--${name}=${value}`)

test('flags come before the environment, and that before defaults', () => {
  const config = readConfig(flags({ port: '1' }), { ZIYA_NODE_PORT: '2', ZIYA_NODE_THREADS: '3' })
  expect(config).toMatchObject({ port: 1, threads: 3, node_id: 'node-1', device: 'auto', blocks: 'auto' })
})

test.each([
  ['--port', { port: '70000' }],
  ['--device', { device: 'tpu' }],
  ['--blocks', { blocks: '0' }],
  ['--gateway-url', { 'gateway-url': 'nowhere' }],
  ['--node-secret', { 'node-secret': 'short' }],
  ['--batch-tokens-max', { 'batch-tokens-max': '8', 'sequences-max': '9' }],
])('a bad %s is named', (name, changes) => {
  expect(() => readConfig(flags(changes), {})).toThrow(name)
})

test('a missing setting is named', () => {
  expect(() => readConfig([], {})).toThrow('--model-dir')
})

test('an unknown flag is refused', () => {
  expect(() => readConfig([...flags(), '--modle=x'], {})).toThrow('--modle')
})

test('a GPU is named by its number', () => {
  expect(readConfig(flags({ device: 'cuda:1' }), {}).device).toBe('cuda:1')
})

const shape = {
  vocab_size: 10,
  hidden_size: 8,
  intermediate_size: 8,
  layers: 2,
  heads: 2,
  kv_heads: 2,
  head_size: 4,
  context_tokens: 100,
  rope_theta: 1e4,
  rope_scaling_factor: 1,
  rms_norm_eps: 1e-5,
  tied_embeddings: false,
}

test('blocks hold every sequence at full context where memory allows, and always one', () => {
  const config = readConfig(flags({ 'sequences-max': '3' }), {})
  expect(engineOptions(config, shape).blocks).toBe(3 * 7)
  expect(engineOptions(config, { ...shape, layers: 2 ** 40 }).blocks).toBe(7)
})

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

test('GPUs are named by their numbers', () => {
  expect(readConfig(flags({ device: 'cuda:1' }), {}).device).toBe('cuda:1')
  expect(readConfig(flags({ device: 'cuda:0,1' }), {}).device).toBe('cuda:0,1')
  expect(() => readConfig(flags({ device: 'cuda:0,' }), {})).toThrow('--device: must be auto, cpu, cuda:N')
})

test('without a number of blocks the engine decides', () => {
  expect(engineOptions(readConfig(flags(), {})).blocks).toBe(0)
  expect(engineOptions(readConfig(flags({ blocks: '7' }), {})).blocks).toBe(7)
})

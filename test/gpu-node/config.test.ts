import { expect, test } from 'vitest'
import { engineOptions, readConfig } from '../../gpu-node/config.ts'

const REQUIRED = {
  'model-dir': 'm',
  'model-id': 'id',
  'data-dir': 'd',
  'gateway-url': 'http://127.0.0.1:1',
  'ticket-keys': 'A'.repeat(43),
}
const flags = (changes: Record<string, string> = {}) =>
  Object.entries({ ...REQUIRED, ...changes }).map(([name, value]) => `--${name}=${value}`)

test('flags come before the environment, and that before defaults', () => {
  const config = readConfig(flags({ port: '1' }), { ZIYA_NODE_PORT: '2', ZIYA_NODE_THREADS: '3' })
  expect(config).toMatchObject({ port: 1, threads: 3, device: 'auto', blocks: 'auto' })
})

test.each([
  ['--port', { port: '70000' }],
  ['--device', { device: 'tpu' }],
  ['--weights', { weights: 'int4' }],
  ['--weights', { weights: 'fp8', upstream: 'http://a/v1' }],
  ['--tensor-parallel', { 'tensor-parallel': '9' }],
  ['--tensor-parallel', { 'tensor-parallel': '2', upstream: 'http://a/v1' }],
  ['--kv-cache', { 'kv-cache': 'int4' }],
  ['--kv-cache', { 'kv-cache': 'fp8', upstream: 'http://a/v1' }],
  ['--blocks', { blocks: '0' }],
  ['--gateway-url', { 'gateway-url': 'nowhere' }],
  ['--ticket-keys', { 'ticket-keys': 'short' }],
  ['--ticket-keys', { 'ticket-keys': `${'A'.repeat(43)},` }],
  ['--node-key', { 'node-key': 'short' }],
  ['--node-id', { 'node-id': 'a/b' }],
  ['--batch-tokens-max', { 'batch-tokens-max': '8', 'sequences-max': '9' }],
])('a bad %s is named', (name, changes) => {
  expect(() => readConfig(flags(changes), {})).toThrow(name)
})

test('a node that nobody named is called after its machine and its data folder, always the same', () => {
  const idOf = (folder: string) => readConfig(flags({ 'data-dir': folder }), {}).node_id
  expect(idOf('/a')).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{8}$/)
  expect(idOf('/a')).toBe(idOf('/a/'))
  expect(idOf('/a')).not.toBe(idOf('/b'))
  expect(readConfig(flags({ 'node-id': 'gpu-1' }), {}).node_id).toBe('gpu-1')
})

test('a missing setting is named', () => {
  expect(() => readConfig([], {})).toThrow('--model-id')
  const { 'model-dir': _, ...rest } = REQUIRED
  const others = Object.entries(rest).map(([name, value]) => `--${name}=${value}`)
  expect(() => readConfig(others, {})).toThrow('--model-dir: is needed where no --upstream is given')
  expect(readConfig([...others, '--upstream=http://a/v1'], {})).toMatchObject({ upstream_kind: 'vllm' })
})

test('the key of an upstream is no flag', () => {
  expect(() => readConfig([...flags({ upstream: 'http://a/v1' }), '--upstream-key=secret'], {})).toThrow(
    '--upstream-key',
  )
})

test('an unknown flag is refused', () => {
  expect(() => readConfig([...flags(), '--modle=x'], {})).toThrow('--modle')
})

test('GPUs are named by their numbers', () => {
  expect(readConfig(flags({ device: 'cuda:1' }), {}).device).toBe('cuda:1')
  expect(readConfig(flags({ device: 'cuda:0,1' }), {}).device).toBe('cuda:0,1')
  expect(() => readConfig(flags({ device: 'cuda:0,' }), {})).toThrow('--device: must be auto, cpu, cuda:N')
})

test('weights and the KV cache are fp16 unless fp8 is asked for, of one or of both', () => {
  expect(engineOptions(readConfig(flags(), {}))).toMatchObject({ weights: 'fp16', kv_cache: 'fp16' })
  const [weights, kv_cache] = [{ weights: 'fp8' }, { 'kv-cache': 'fp8' }]
  expect(engineOptions(readConfig(flags(weights), {}))).toMatchObject({ weights: 'fp8', kv_cache: 'fp16' })
  expect(engineOptions(readConfig(flags(kv_cache), {}))).toMatchObject({ weights: 'fp16', kv_cache: 'fp8' })
})

test('a device is alone unless several are asked for', () => {
  expect(engineOptions(readConfig(flags(), {})).tensor_parallel).toBe(1)
  expect(engineOptions(readConfig(flags({ 'tensor-parallel': '4' }), {})).tensor_parallel).toBe(4)
})

test('without a number of blocks the engine decides', () => {
  expect(engineOptions(readConfig(flags(), {})).blocks).toBe(0)
  expect(engineOptions(readConfig(flags({ blocks: '7' }), {})).blocks).toBe(7)
})

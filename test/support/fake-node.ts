// A node in this process: the whole service over a fake engine with the tokenizer of stories260K, or over any runner.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { onTestFinished } from 'vitest'
import { type NodeConfig, readConfig } from '../../gpu-node/config.ts'
import { NativeRunner } from '../../gpu-node/run/native/runner.ts'
import { Tokenizer } from '../../gpu-node/run/native/tokenizer/tokenizer.ts'
import type { Runner } from '../../gpu-node/run/runner.ts'
import { type Service, startService } from '../../gpu-node/service.ts'
import { testData } from './data.ts'
import { FakeEngine, type FakeEngineOptions } from './fake-engine.ts'
import { NODE_SECRET } from './generate.ts'

export interface RunningNode extends Service {
  data_dir: string
  status(): Promise<{ running: number; waiting: number; blocks_free: number; blocks_total: number; state: string }>
}

export interface FakeNode extends RunningNode {
  engine: FakeEngine
}

export interface FakeNodeOptions {
  config?: Partial<NodeConfig>
  engine?: Partial<FakeEngineOptions>
  context_tokens?: number
}

const EOS = 2
export const FAKE_BLOCKS = 256

export async function startFakeNode({ config, engine, context_tokens }: FakeNodeOptions = {}): Promise<FakeNode> {
  const settings = testConfig(config)
  const tokenizer = new Tokenizer(readFileSync(testData('stories260K/tokenizer.model')))
  const fake = new FakeEngine({ blocks: FAKE_BLOCKS, vocab_size: tokenizer.size, eos_id: EOS, ...engine })
  const runner = new NativeRunner({
    model: {
      shape: fakeShape(tokenizer.size, context_tokens ?? 4096),
      tokenizer,
      eos_ids: new Set([engine?.eos_id ?? EOS]),
    },
    engine: fake,
    limits: { ...settings, blocks: engine?.blocks ?? FAKE_BLOCKS },
    lookahead: settings.lookahead,
  })
  return { ...(await startNodeOver(runner, settings)), engine: fake }
}

export async function startNodeOver(runner: Runner, config: Partial<NodeConfig> = {}): Promise<RunningNode> {
  const settings = testConfig(config)
  const service = await startService({ config: settings, runner, log: pino({ level: 'silent' }) })
  onTestFinished(() => service.drain())
  const status = async () => (await (await fetch(`${service.url}/status`)).json()) as never
  return { ...service, data_dir: settings.data_dir, status }
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-node-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export function testConfig(config: Partial<NodeConfig> = {}): NodeConfig {
  const data_dir = config.data_dir ?? temporaryFolder()
  const settings = { model_dir: 'none', model_id: 'test-model', data_dir, gateway_url: 'http://127.0.0.1:9' }
  const flags = Object.entries({ ...settings, node_secret: NODE_SECRET })
  const defaults = readConfig(
    flags.map(([name, value]) => `--${name.replaceAll('_', '-')}=${value}`),
    {},
  )
  return { ...defaults, ...config }
}

function fakeShape(vocab_size: number, context_tokens: number) {
  const network = { hidden_size: 8, intermediate_size: 8, layers: 1, heads: 1, kv_heads: 1, head_size: 8 }
  const numbers = { rope_theta: 1e4, rope_scaling_factor: 1, rms_norm_eps: 1e-5, tied_embeddings: false }
  return { vocab_size, context_tokens, ...network, ...numbers }
}

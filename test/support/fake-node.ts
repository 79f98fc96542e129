// A node in this process: the whole service over a fake engine with the tokenizer of stories260K, or over any runner.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { onTestFinished } from 'vitest'
import type { NodeConfig } from '../../gpu-node/config.ts'
import type { Runner } from '../../gpu-node/run/runner.ts'
import { type Service, startService } from '../../gpu-node/service.ts'
import type { FakeEngine, FakeEngineOptions } from './fake-engine.ts'
import { nativeRunner, nodeConfig } from './native-runner.ts'

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

export const FAKE_BLOCKS = 256

export async function startFakeNode({
  config,
  engine,
  context_tokens = 4096,
}: FakeNodeOptions = {}): Promise<FakeNode> {
  const settings = { data_dir: temporaryFolder(), ...config }
  const made = nativeRunner(nodeConfig(settings), { engine: { blocks: FAKE_BLOCKS, ...engine }, context_tokens })
  return { ...(await startNodeOver(made.runner, settings)), engine: made.engine }
}

export async function startNodeOver(runner: Runner, changes: Partial<NodeConfig> = {}): Promise<RunningNode> {
  const config = nodeConfig({ data_dir: temporaryFolder(), ...changes })
  const service = await startService({ config, runner, log: pino({ level: 'silent' }) })
  onTestFinished(() => service.drain())
  const status = async () => (await (await fetch(`${service.url}/status`)).json()) as never
  return { ...service, data_dir: config.data_dir, status }
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-node-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

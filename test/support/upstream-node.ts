// A node over an engine behind an address, in this process.

import { pino } from 'pino'
import { UpstreamRunner, type UpstreamRunnerOptions } from '../../gpu-node/run/upstream/runner.ts'
import { type RunningNode, startNodeOver } from './fake-node.ts'
import { FakeUpstream } from './fake-upstream.ts'
import { PATIENCE_MS } from './patience.ts'
import { FAKE_KEY } from './upstream-behaviours.ts'

export interface UpstreamNodeOptions extends Partial<Omit<UpstreamRunnerOptions, 'sequence_tokens_max'>> {
  context_tokens?: number
  gateway_url?: string
}

export async function startUpstreamNode({ gateway_url, ...options }: UpstreamNodeOptions = {}): Promise<{
  node: RunningNode
  upstream: FakeUpstream
  runner: UpstreamRunner
}> {
  const upstream = await FakeUpstream.start()
  const runner = await connectTo(upstream, options)
  const node = await startNodeOver(runner, gateway_url ? { gateway_url } : {})
  return { node, upstream, runner }
}

export function connectTo(
  upstream: Pick<FakeUpstream, 'url'>,
  options: UpstreamNodeOptions = {},
): Promise<UpstreamRunner> {
  return UpstreamRunner.connect({
    upstream: upstream.url,
    environment: { ZIYA_NODE_UPSTREAM_KEY: FAKE_KEY },
    dialect: 'vllm',
    model: 'test-model',
    context_tokens: undefined,
    vocabulary: null,
    choices_max: 1000,
    silent_ms_max: PATIENCE_MS, // who waits for the end of it says less
    last_word_ms_max: PATIENCE_MS,
    log: pino({ level: process.env.UPSTREAM_LOG ?? 'silent' }),
    ...options,
  })
}

// A node over an engine behind an address, in this process or in one of its own; and what the ledger charges for its records.

import { pino } from 'pino'
import type { UsageRecord } from '../../contract/internal/sync.ts'
import { UpstreamRunner, type UpstreamRunnerOptions } from '../../gpu-node/run/upstream/runner.ts'
import { startNode } from '../../local/node.ts'
import type { FakeGateway } from './fake-gateway.ts'
import { type RunningNode, startNodeOver } from './fake-node.ts'
import { FakeUpstream } from './fake-upstream.ts'
import { NODE_ID } from './generate.ts'
import { ticketSigner } from './keys.ts'
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

/** A process of its own, which may be killed and launched again over the same folder. */
export function launchUpstreamNode(gateway: FakeGateway, upstream: FakeUpstream, data_dir: string) {
  return startNode({
    ...{ model_dir: null, model_id: 'test-model', port: 0, data_dir },
    ...{ gateway_url: gateway.url, ticket_keys: ticketSigner.x },
    flags: { node_id: NODE_ID, upstream: upstream.url },
    environment: { ZIYA_NODE_UPSTREAM_KEY: FAKE_KEY },
  })
}

/** As the ledger charges it (migrations/ledger/settle.sql, charged_counts). */
export function charged({ outcome, prompt_tokens, completion_tokens, delivered_tokens }: UsageRecord) {
  if (outcome === 'stop' || outcome === 'length') return { prompt_tokens, completion_tokens }
  if (delivered_tokens === 0) return { prompt_tokens: 0, completion_tokens: 0 }
  const under_way = outcome === 'client_gone' ? 8 : 0
  return { prompt_tokens, completion_tokens: Math.min(completion_tokens, delivered_tokens + under_way) }
}

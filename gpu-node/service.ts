// Puts a node together around a loaded engine and runs it until it is drained or its engine fails.

import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import type { Logger } from 'pino'
import type { NodeStatus } from '../contract/sync.ts'
import type { NodeConfig } from './config.ts'
import type { Engine } from './engine.ts'
import { Journal } from './journal.ts'
import type { Model } from './load/model-folder.ts'
import { Scheduler } from './scheduler.ts'
import { Sequence } from './sequence.ts'
import { nodeApp } from './server.ts'
import { StepLoop } from './step-loop.ts'
import { Sync } from './sync.ts'

export interface Service {
  url: string
  /** Stops accepting, finishes what runs, reports once more. */
  drain(): Promise<void>
  /** Resolves with the engine's error once every client was told and the journal reported. */
  failed: Promise<unknown>
}

export interface ServiceOptions {
  config: NodeConfig
  model: Pick<Model, 'shape' | 'tokenizer' | 'eos_ids'>
  engine: Engine
  blocks: number
  log: Logger
}

export async function startService({ config, model, engine, blocks, log }: ServiceOptions): Promise<Service> {
  const scheduler = new Scheduler({ ...config, blocks })
  await generateOneToken(engine, scheduler)
  const journal = new Journal(config.data_dir)
  const state = { draining: false, engine_failed: false }
  const failed = Promise.withResolvers<unknown>()
  const loop = new StepLoop({
    engine,
    scheduler,
    journal,
    on_finished: () => sync.poke(),
    on_failed: (error) => {
      state.engine_failed = true
      log.fatal({ error }, 'the engine failed')
      sync.stop().finally(() => failed.resolve(error))
    },
  })
  const tokens_max = Math.min(model.shape.context_tokens, scheduler.tokens_max)
  let url = ''
  const status = (): NodeStatus => {
    const { running, waiting, blocks_total, blocks_free } = scheduler.status
    return {
      node_id: config.node_id,
      url,
      model: config.model_id,
      state: state.draining || state.engine_failed ? 'draining' : 'ready',
      context_tokens: tokens_max,
      running,
      waiting,
      blocks_total,
      blocks_free,
    }
  }
  const sync = new Sync({
    ...config,
    journal,
    status,
    on_failure: (reason) => log.warn({ reason }, 'the gateway took no report; trying on'),
  })
  const app = nodeApp({ config, door: { model, tokens_max }, scheduler, loop, journal, status, state, log })
  const server = await listen(app.fetch, config)
  url = config.public_url ?? `http://${config.host}:${(server.address() as AddressInfo).port}`
  sync.start()

  const drain = async () => {
    state.draining = true
    sync.poke()
    await loop.whenIdle()
    await sync.stop()
    journal.close()
    await new Promise((resolve) => {
      server.close(resolve)
      server.closeIdleConnections()
    })
    await engine.close()
  }
  let drained: Promise<void> | null = null // a second signal waits for the same end
  return {
    url,
    failed: failed.promise,
    drain: () => {
      drained ??= drain()
      return drained
    },
  }
}

// Ready means that a token was really computed, not that a port is open.
async function generateOneToken(engine: Engine, scheduler: Scheduler): Promise<void> {
  const sampling = { temperature: 0, top_p: 1, top_k: 0, min_p: 0, seed: 0n }
  const penalties = { repetition_penalty: 1, frequency_penalty: 0, presence_penalty: 0 }
  scheduler.submit(
    new Sequence({ prompt: [0], output_tokens_max: 1, eos_ids: new Set(), sampling: { ...sampling, ...penalties } }),
  )
  const step = scheduler.schedule()!
  scheduler.apply(step, await engine.step(step.batch))
}

function listen(fetch: Parameters<typeof serve>[0]['fetch'], config: NodeConfig): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch, hostname: config.host, port: config.port }, () => resolve(server)) as Server
    server.on('error', reject)
  })
}

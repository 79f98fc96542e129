// Puts a node together around a loaded engine and runs it until it is drained or its engine fails.

import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import type { Logger } from 'pino'
import type { NodeStatus } from '../contract/internal/sync.ts'
import type { NodeConfig } from './config.ts'
import { Journal } from './meter/journal.ts'
import { lockFolder } from './meter/lock.ts'
import { Sync } from './meter/sync.ts'
import type { Engine } from './run/native/engine.ts'
import type { Model } from './run/native/load/model-folder.ts'
import { biasOf } from './run/native/sampling.ts'
import { Scheduler } from './run/native/scheduler.ts'
import { Sequence } from './run/native/sequence.ts'
import { StepLoop } from './run/native/step-loop.ts'
import { Metrics } from './serve/metrics.ts'
import { nodeApp, type ServerOptions } from './serve/server.ts'

export interface Service {
  url: string
  /** Stops accepting, finishes what runs or ends it when its time is up, reports once more. */
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

export async function startService(options: ServiceOptions): Promise<Service> {
  const { config, engine, blocks } = options
  const lock = await lockFolder(config.data_dir)
  const scheduler = new Scheduler({ ...config, blocks })
  await generateOneToken(engine, scheduler)
  const parts = assemble(options, scheduler)
  const server = await listen(nodeApp(parts).fetch, config)
  parts.state.url = config.public_url ?? `http://${config.host}:${(server.address() as AddressInfo).port}`
  parts.sync.start()
  let drained: Promise<void> | null = null // a second signal waits for the same end
  return {
    url: parts.state.url,
    failed: parts.failed,
    drain: () => {
      drained ??= drain(parts, server).then(async () => {
        lock?.close()
        await engine.close()
      })
      return drained
    },
  }
}

type Parts = ReturnType<typeof assemble>

function assemble({ config, model, engine, log }: ServiceOptions, scheduler: Scheduler) {
  const state = { draining: false, engine_failed: false, url: '' }
  const door = { model, tokens_max: Math.min(model.shape.context_tokens, scheduler.tokens_max) }
  const status = () => statusOf(config, state, scheduler, door.tokens_max)
  const journal = new Journal(config.data_dir)
  const on_failure = (reason: string) => log.warn({ reason }, 'the gateway took no report; trying on')
  const on_stop = (request_ids: string[]) => loop.revoke(request_ids)
  const sync = new Sync({ ...config, journal, status, on_failure, on_stop })
  const failed = Promise.withResolvers<unknown>()
  const on_failed = (error: unknown) => {
    state.engine_failed = true
    log.fatal({ err: error }, 'the engine failed')
    sync.stop().finally(() => failed.resolve(error))
  }
  const metrics = new Metrics({ model_name: config.model_id, tokens_max: door.tokens_max, scheduler })
  const looks_ahead = config.lookahead === 'auto' ? engine.info.device.startsWith('cuda') : config.lookahead === 'on'
  const on_finished = () => sync.poke()
  const loop = new StepLoop({ engine, scheduler, journal, metrics, looks_ahead, on_finished, on_failed })
  const answers: ServerOptions['answers'] = new Set()
  return { config, door, scheduler, loop, journal, metrics, sync, status, state, answers, log, failed: failed.promise }
}

function statusOf(
  config: NodeConfig,
  state: ServerOptions['state'],
  scheduler: Scheduler,
  tokens_max: number,
): NodeStatus {
  const { running, waiting, blocks_total, blocks_free } = scheduler.status
  return {
    node_id: config.node_id,
    url: state.url,
    model: config.model_id,
    state: state.draining || state.engine_failed ? 'draining' : 'ready',
    context_tokens: tokens_max,
    running,
    waiting,
    blocks_total,
    blocks_free,
  }
}

// Readers have the rest of the time, or this.
const READ_MS_MIN = 1000

async function drain({ config, state, loop, sync, journal, answers }: Parts, server: Server): Promise<void> {
  const until = performance.now() + config.drain_ms_max
  state.draining = true
  sync.poke()
  const time_is_up = setTimeout(() => loop.stopAll('deadline'), config.drain_ms_max)
  await loop.whenIdle()
  clearTimeout(time_is_up)
  await sync.stop()
  journal.close()
  const cut_off = setTimeout(
    () => answers.forEach((answer) => void answer.destroy()),
    Math.max(READ_MS_MIN, until - performance.now()),
  )
  await Promise.all([...answers].map((answer) => once(answer, 'close')))
  clearTimeout(cut_off)
  server.close()
  server.closeAllConnections()
}

// Longer than a gateway keeps an idle connection, so that it never sends into one we are closing.
const KEEP_ALIVE_MS = 65_000

// Ready means that a token was really computed, not that a port is open.
async function generateOneToken(engine: Engine, scheduler: Scheduler): Promise<void> {
  const greedy = { temperature: 0, top_p: 1, top_k: 0, min_p: 0, seed: 0n, bias: biasOf([]), logprobs: null }
  const sampling = { ...greedy, repetition_penalty: 1, frequency_penalty: 0, presence_penalty: 0 }
  const limits = { output_tokens_max: 1, output_tokens_min: 0, stop_ids: new Set<number>(), cache_salt: '' }
  scheduler.submit(new Sequence({ prompt: [0], ...limits, priority: 'interactive', sampling }))
  const step = scheduler.schedule()!
  scheduler.apply(step, await engine.step(step.batch))
}

function listen(fetch: Parameters<typeof serve>[0]['fetch'], config: NodeConfig): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch, hostname: config.host, port: config.port }, () => resolve(server)) as Server
    server.keepAliveTimeout = KEEP_ALIVE_MS
    server.on('error', reject)
  })
}

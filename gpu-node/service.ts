// Puts a node together around a runner and keeps it going until it is drained or its runner fails.

import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import type { Logger } from 'pino'
import { type Signer, signer } from '../contract/ed25519.ts'
import { type Boot, type NodeStatus, SYNC_RUNNING_MAX } from '../contract/internal/sync.ts'
import type { NodeConfig } from './config.ts'
import { keptNodeKey } from './identity.ts'
import { countBoot } from './meter/boot.ts'
import { GatewayCalls } from './meter/gateway-calls.ts'
import { Journal } from './meter/journal.ts'
import { lockFolder } from './meter/lock.ts'
import { Sync } from './meter/sync.ts'
import { TicketKeys } from './meter/ticket-keys.ts'
import type { Runner } from './run/runner.ts'
import { Jobs } from './serve/jobs.ts'
import { Metrics } from './serve/metrics.ts'
import { Resumables } from './serve/resumables.ts'
import { nodeApp, type ServerOptions } from './serve/server.ts'
import { Streams } from './serve/streams.ts'
import { Turns } from './serve/turns.ts'

export interface Service {
  url: string
  node_id: string
  /** The key that an operator registers. */
  public_key: string
  /** Stops accepting, finishes what runs or ends it when its time is up, reports once more. */
  drain(): Promise<void>
  /** Resolves with the runner's error once every client was told and the journal reported. */
  failed: Promise<unknown>
}

export interface ServiceOptions {
  config: NodeConfig
  runner: Runner
  log: Logger
}

export async function startService(options: ServiceOptions): Promise<Service> {
  const { config, runner } = options
  const lock = await lockFolder(config.data_dir)
  const node_key = await signer(config.node_key ?? keptNodeKey(config.data_dir))
  const ticket_keys = await TicketKeys.open(config.data_dir, config.ticket_keys)
  const parts = assemble(options, { node_key, ticket_keys, boot: countBoot(config.data_dir) })
  await runner.open(parts.streams)
  const server = await listen(nodeApp(parts).fetch, config)
  parts.state.url = config.public_url ?? `http://${config.host}:${(server.address() as AddressInfo).port}`
  parts.sync.start()
  let drained: Promise<void> | null = null // a second signal waits for the same end
  return {
    url: parts.state.url,
    node_id: config.node_id,
    public_key: node_key.x,
    failed: parts.failed,
    drain: () => {
      drained ??= drain(parts, server).then(async () => {
        lock.close()
        await runner.close()
      })
      return drained
    },
  }
}

type Parts = ReturnType<typeof assemble>

/** What this process reports as, and whose tickets it takes. */
interface Identity {
  node_key: Signer
  ticket_keys: TicketKeys
  boot: Boot
}

function assemble({ config, runner, log }: ServiceOptions, identity: Identity) {
  const state = { draining: false, engine_failed: false, url: '' }
  const status = () => statusOf(config, state, runner)
  const journal = openJournal(config.data_dir, log)
  const on_failure = (reason: string) => log.warn({ reason }, 'the gateway took no report; trying on')
  const on_stop = (request_ids: string[]) => streams.revoke(request_ids)
  const on_behind = () =>
    log.error('the database is older than what it had acknowledged; the last day is reported again')
  const on_elsewhere = (records: number) =>
    log.warn({ records }, 'usage of another database is kept until the gateway is on that one again')
  const running_ids = () => {
    const of_jobs = jobs.request_ids.slice(0, SYNC_RUNNING_MAX)
    return [...new Set([...of_jobs, ...streams.takeRunningIds(SYNC_RUNNING_MAX - of_jobs.length)])]
  }
  const { gateway_url } = config
  const told = { on_failure, on_stop, on_behind, on_elsewhere }
  const jobs_here = { job_slots: () => jobs.slots, on_jobs: (count: number) => jobs.offer(count) }
  const sync = new Sync({ gateway_url, ...identity, journal, status, running_ids, ...told, ...jobs_here })
  const failed = Promise.withResolvers<unknown>()
  const on_failed = (error: unknown) => {
    state.engine_failed = true
    log.fatal({ err: error }, 'the engine failed')
    sync.stop().finally(() => failed.resolve(error))
  }
  const metrics = new Metrics({ model_name: config.model_id, runner, journal })
  const streams = new Streams({
    journal,
    metrics,
    on_finished: (is_awaited) => (is_awaited ? sync.poke() : sync.pokeSoon()),
    whenSettled: (record) => sync.whenSettled(record),
    on_failed,
    on_fault: (error) => log.error({ err: error }, 'an answer failed; the others go on'),
  })
  const turns = new Turns()
  const calls = new GatewayCalls({ gateway_url, ...identity })
  const answers: ServerOptions['answers'] = new Set()
  const resumables = new Resumables({ config, answers, streams })
  const jobs = new Jobs({
    config,
    ticket_keys: identity.ticket_keys,
    runner,
    journal,
    turns,
    resumables,
    state,
    streams,
    calls,
    log,
  })
  const { ticket_keys } = identity
  return {
    config,
    ticket_keys,
    runner,
    streams,
    journal,
    metrics,
    sync,
    status,
    report_failure: () => sync.failure,
    state,
    answers,
    resumables,
    turns,
    jobs,
    log,
    failed: failed.promise,
  }
}

function openJournal(data_dir: string, log: Logger): Journal {
  const journal = new Journal(data_dir)
  if (journal.damage)
    log.error(journal.damage, 'the journal was damaged; it was read around that, and kept as it was found')
  return journal
}

function statusOf(config: NodeConfig, state: ServerOptions['state'], runner: Runner): NodeStatus {
  const { running, waiting, blocks_total, blocks_free } = runner.load
  return {
    node_id: config.node_id,
    url: state.url,
    model: config.model_id,
    ...(config.lora.length > 0 && { adapters: config.lora.map(({ name }) => name) }),
    state: state.draining || state.engine_failed || runner.is_available === false ? 'draining' : 'ready',
    context_tokens: runner.sequence_tokens_max,
    running,
    waiting,
    blocks_total,
    blocks_free,
    verifies: [...(runner.verifies ?? [])],
  }
}

// Readers have the rest of the time, or this where less is left.
const READ_MS_MIN = 1000

const RELEASE_MS_MAX = 8000

async function drain(
  { config, state, streams, resumables, jobs, sync, journal, answers }: Parts,
  server: Server,
): Promise<void> {
  const until = performance.now() + config.drain_ms_max
  state.draining = true
  resumables.close()
  sync.poke()
  const time_is_up = setTimeout(() => streams.stopAll('deadline'), config.drain_ms_max)
  await jobs.release(RELEASE_MS_MAX)
  await streams.whenIdle()
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

// This is longer than a gateway keeps an idle connection, so that it never sends into one we are closing.
const KEEP_ALIVE_MS = 65_000

function listen(fetch: Parameters<typeof serve>[0]['fetch'], config: NodeConfig): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch, hostname: config.host, port: config.port }, () => resolve(server)) as Server
    server.keepAliveTimeout = KEEP_ALIVE_MS
    server.on('error', reject)
  })
}

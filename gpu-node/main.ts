// One node process: read the settings, load the model, serve, leave in order. When it is ready it prints one JSON line;
// when it cannot start, one line that says why.

import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { type Logger, pino } from 'pino'
import { engineOptions, type NodeConfig, readConfig } from './config.ts'
import { loadEngine } from './run/native/engine.ts'
import { readModelFolder } from './run/native/load/model-folder.ts'
import { NativeRunner } from './run/native/runner.ts'
import { FolderVocabulary } from './run/native/vocabulary.ts'
import type { Runner } from './run/runner.ts'
import { UpstreamRunner } from './run/upstream/runner.ts'
import { Judges } from './run/verified/judges.ts'
import { VerifyingRunner } from './run/verified/runner.ts'
import { type Service, startService } from './service.ts'

// Whoever started us with a channel is gone; after the start this drains instead.
process.once('disconnect', dieQuietly)

// The count comes with the end, as a rule; it is not worth keeping a client for long.
const LAST_WORD_MS_MAX = 5000

try {
  const config = readConfig(process.argv.slice(2), process.env)
  runUntilDone(await start(config), config)
} catch (error) {
  console.error(oneLine(error))
  process.exit(1)
}

async function start(config: NodeConfig): Promise<Service> {
  // Standard output is the ready line's; the log goes to standard error, and never holds a prompt.
  const log = pino({ level: config.log_level, base: { node_id: config.node_id } }, pino.destination(2))
  const judges = config.verify === 'on' ? await openJudges(config) : null
  const inner = config.upstream === undefined ? await nativeRunner(config, log) : await upstreamRunner(config, log)
  const onFault = (error: unknown) => log.error({ err: error }, 'a verified answer failed; the others go on')
  const runner = judges ? new VerifyingRunner({ inner, judges, onFault }) : inner
  const service = await startService({ config, runner, log })
  log.info({ url: service.url, public_key: service.public_key }, 'ready')
  const { url, node_id, public_key } = service
  console.log(JSON.stringify({ ready: true, url, node_id, public_key }))
  return service
}

async function nativeRunner(config: NodeConfig, log: Logger): Promise<Runner> {
  const model = readModelFolder(config.model_dir!, { told: { rope_theta: config.rope_theta } })
  for (const note of model.notes) log.warn(note)
  const engine = await loadEngine(model.shape, model.tensors, engineOptions(config), progressPrinter())
  log.info(engine.info, 'loaded')
  const limits = { ...config, blocks: engine.info.blocks }
  const onFault = (error: unknown) => log.error({ err: error }, 'a sequence failed; the others go on')
  return new NativeRunner({ model, engine, limits, lookahead: config.lookahead, onFault })
}

function upstreamRunner(config: NodeConfig, log: Logger): Promise<Runner> {
  return UpstreamRunner.connect({
    upstream: config.upstream!,
    key_file: config.upstream_key_file,
    environment: process.env,
    dialect: config.upstream_kind,
    model: config.upstream_model ?? config.model_id,
    context_tokens: config.context_tokens,
    vocabulary: config.model_dir === undefined ? null : new FolderVocabulary(config.model_dir),
    choices_max: config.upstream_choices_max,
    silent_ms_max: config.upstream_silent_ms_max,
    last_word_ms_max: LAST_WORD_MS_MAX,
    log,
  })
}

function openJudges({ data_dir, verify_processes }: NodeConfig): Promise<Judges> {
  const processes_max = verify_processes || Math.max(1, Math.floor(availableParallelism() / 2))
  return Judges.open({ folder: join(data_dir, 'judges'), processes_max }).catch((error: Error) => {
    throw new Error(`--verify=on: ${error.message}`)
  })
}

// This is for the last report and the step in flight, beside what drains.
const LEAVE_MS_MAX = 15_000

function runUntilDone(service: Service, { drain_ms_max }: NodeConfig): void {
  const leave = () => {
    setTimeout(() => dieOf(new Error('draining took too long')), drain_ms_max + LEAVE_MS_MAX).unref()
    service.drain().then(() => process.exit(0), dieOf)
  }
  process.once('SIGTERM', leave)
  process.once('SIGINT', leave)
  process.off('disconnect', dieQuietly).once('disconnect', leave)
  service.failed.then(() => process.exit(1))
}

function dieQuietly(): void {
  process.exit(1)
}

function dieOf(error: unknown): void {
  console.error(oneLine(error))
  process.exit(1)
}

function progressPrinter(): (bytes_done: number, bytes_total: number) => void {
  let printed = -1
  return (bytes_done, bytes_total) => {
    const percent = Math.floor((100 * bytes_done) / bytes_total)
    if (percent < printed + 10 && percent !== 100) return
    printed = percent
    console.error(`loading ${percent} % of ${(bytes_total / 1e6).toFixed(1)} MB`)
  }
}

function oneLine(error: unknown): string {
  const { message, code } = error as Error & { code?: string }
  return `gpu-node: ${code ? `${code}: ` : ''}${String(message ?? error).split('\n')[0]}`
}

// The settings of a node: command line flags, then ZIYA_NODE_* from the environment, then defaults. They are
// checked once; a bad value is an error that names it.

import { parseArgs } from 'node:util'
import * as z from 'zod'
import { isKeyText } from '../contract/ed25519.ts'
import { ADAPTERS_MAX } from '../contract/internal/sync.ts'
import { defaultNodeId } from './identity.ts'

const key = z.string().refine(isKeyText, 'must be 32 bytes as base64url')
const adapter = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}=./,
    'must be NAME=DIR, a name of letters, digits, dots, colons, hyphens and underscores',
  )
  .transform((text) => ({ name: text.slice(0, text.indexOf('=')), dir: text.slice(text.indexOf('=') + 1) }))

const count = z.coerce.number().int().positive()

const configSchema = z
  .strictObject({
    model_dir: z.string().min(1).optional(), // with upstream only its tokenizer is read, and may be missing
    // The engine is another's: its address, such as https://host/v1, or a file that lists several (docs/scale-out.md).
    upstream: z.string().min(1).optional(),
    upstream_kind: z.enum(['vllm', 'sglang', 'openai']).default('vllm'), // what it takes beyond OpenAI's fields
    upstream_model: z.string().min(1).optional(), // the model's name there; without it ours
    upstream_key_file: z.string().min(1).optional(), // or ZIYA_NODE_UPSTREAM_KEY, in the environment alone
    upstream_choices_max: count.default(512), // that run there at once
    upstream_silent_ms_max: count.default(120_000), // without a byte for so long an engine counts as gone
    context_tokens: count.optional(), // of an engine that does not say it
    model_id: z.string().min(1),
    data_dir: z.string().min(1),
    gateway_url: z.url(),
    // The gateway's public keys (GET /.well-known/ticket-keys.json): at least one that it has when this node first reports.
    ticket_keys: z
      .string()
      .transform((text) => text.split(','))
      .pipe(z.array(key).min(1)),
    node_key: key.optional(), // signs the reports: a seed, secret; without it the one that the data folder has
    node_id: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'must be up to 100 letters, digits, dots, hyphens and underscores')
      .optional(),
    host: z.string().default('127.0.0.1'),
    port: z.coerce.number().int().min(0).max(65535).default(0), // 0 = any free one
    metrics_token: z.string().min(16).optional(), // who shows it may read /metrics from elsewhere than this machine
    public_url: z.url().optional(), // where the gateway reaches this node, when not at host and port
    device: z
      .string()
      .regex(/^(auto|cpu|cuda:\d+(,\d+)*)$/, 'must be auto, cpu, cuda:N, or cuda:N,M,… for ranges of layers')
      .default('auto'),
    weights: z.enum(['fp16', 'fp8']).default('fp16'), // of the layers' matrices: fp8 are half the bytes, and other answers
    tensor_parallel: count.max(8).default(1), // devices that compute every layer together; other answers, too
    kv_cache: z.enum(['fp16', 'fp8']).default('fp16'), // of keys and values, the same
    // LoRA adapters over the model, each NAME=DIR; in the environment with commas between them.
    lora: z.array(adapter).max(ADAPTERS_MAX).default([]),
    rope_theta: z.coerce.number().gt(1).optional(), // of a model whose config.json has none
    threads: z.coerce.number().int().nonnegative().default(0), // 0 = physical cores
    blocks: z.literal('auto').or(count).default('auto'),
    batch_tokens_max: count.default(512),
    sequences_max: count.default(64),
    waiting_max: count.default(256),
    speculation: z.enum(['off', 'prompt-lookup']).default('prompt-lookup'), // no setting changes a text
    // Customers' candidates and tests run here, confined by bubblewrap (docs/verify.md), so many at once; 0: a half of the cores.
    verify: z.enum(['off', 'on']).default('off'),
    verify_processes: z.coerce.number().int().min(0).max(256).default(0),
    lookahead: z.enum(['auto', 'on', 'off']).default('auto'), // steps enqueued before the one ahead was read; auto: on a GPU
    keep_alive_ms: count.default(1000),
    buffer_bytes_max: count.default(256 << 10),
    slow_ms_max: count.default(30_000),
    jobs_max: count.or(z.literal('0').transform(Number)).default(8), // that run here at once, where nothing else waits; 0: none
    job_pace_ms: count.default(250), // between two pieces of a job's stream that the gateway is given
    drain_ms_max: count.max(86_400_000).default(60_000), // what runs may go on for so long after SIGTERM; then it ends as it is
    step_ms_max: count.default(30_000), // a step in flight for longer makes /healthz say so
    log_level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  })
  .refine((config) => config.model_dir !== undefined || config.upstream !== undefined, {
    path: ['model_dir'],
    message: 'is needed where no --upstream is given',
  })
  .refine((config) => config.lora.length === 0 || config.upstream === undefined, {
    path: ['lora'],
    message: 'needs our own engine; those of another are asked for by the names that it has',
  })
  .superRefine((config, { addIssue }) => {
    if (config.upstream === undefined) return
    const unless = { weights: 'fp16', kv_cache: 'fp16', tensor_parallel: 1 } as const
    for (const [name, value] of Object.entries(unless))
      if (config[name as keyof typeof unless] !== value)
        addIssue({
          code: 'custom',
          path: [name],
          message: 'needs our own engine; another is told of it where it is started',
        })
  })
  .refine(({ lora, model_id }) => new Set([model_id, ...lora.map(({ name }) => name)]).size === lora.length + 1, {
    path: ['lora'],
    message: 'has a name twice, or that of the model',
  })
  // With less the youngest streams would starve: their tokens come out of the same budget.
  .refine((config) => config.batch_tokens_max >= config.sequences_max, {
    path: ['batch_tokens_max'],
    message: 'must be at least sequences_max',
  })

export type NodeConfig = z.infer<typeof configSchema> & { node_id: string }

export function readConfig(arguments_: string[], environment: NodeJS.ProcessEnv): NodeConfig {
  const names = Object.keys(configSchema.shape)
  const options = Object.fromEntries(
    names.map((name) => [name.replaceAll('_', '-'), { type: 'string' as const, multiple: LISTS.has(name) }]),
  )
  const { values } = parseArgs({ args: arguments_, options })
  const given = names.map((name) => [name, values[name.replaceAll('_', '-')] ?? inEnvironment(name, environment)])
  const parsed = configSchema.safeParse(Object.fromEntries(given.filter(([, value]) => value !== undefined)))
  if (parsed.success) return { ...parsed.data, node_id: parsed.data.node_id ?? defaultNodeId(parsed.data.data_dir) }
  const { path, message } = parsed.error.issues[0]!
  throw new Error(`--${path.join('.').replaceAll('_', '-')}: ${message}`)
}

/** What may be said more than once. */
const LISTS = new Set(['lora'])

function inEnvironment(name: string, environment: NodeJS.ProcessEnv): string | string[] | undefined {
  const text = environment[`ZIYA_NODE_${name.toUpperCase()}`]
  return LISTS.has(name) && text !== undefined ? text.split(',') : text
}

/** What the engine is loaded with; there 0 blocks are as many as fit. */
export function engineOptions(config: NodeConfig) {
  const { device, weights, tensor_parallel, kv_cache, threads, batch_tokens_max, sequences_max } = config
  return {
    device,
    weights,
    tensor_parallel,
    kv_cache,
    threads,
    blocks: config.blocks === 'auto' ? 0 : config.blocks,
    batch_tokens_max,
    sequences_max,
  }
}

// The options of `npm start`. Plain JavaScript, so that --help and a wrong option are answered in a fresh clone, before anything
// is installed or built.

import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { readDatabaseUrl } from './database-url.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

export const usage = `npm start -- [--port N] [--model DIR] [--template NAME] [--rope-theta N]
                 [--lora NAME=DIR …] [--weights fp16|fp8] [--kv-cache fp16|fp8] [--tensor-parallel N]
                 [--database URL] [--data DIR] [--verify] [--once]
       npm start -- --upstream URL [--upstream-model NAME] [--upstream-kind KIND] [--upstream-key-file FILE]
                [--context-tokens N] …
  --port N         the gateway's port (8787)
  --model DIR      a Hugging Face folder to serve instead of models/ziya-coding-mini
  --template NAME  the prompt format of a model that is not in the catalog
  --rope-theta N   of a model whose config.json has none; that of LLaMA 1 is 10000
  --lora NAME=DIR  a LoRA adapter over the model, which is then asked by that name; as many as there are
  --weights fp8    the layers' matrices as 8 bits a number: half the memory, nearly the same answers (docs/operations.md)
  --tensor-parallel N
                   2 to 8 devices that compute every layer together (docs/operations.md); without GPUs this machine stands for all
  --kv-cache fp8   keys and values as 8 bits a number: nearly twice the tokens in the same memory (docs/operations.md)
  --upstream URL   an engine that is there already, such as http://host:8000/v1 of vLLM, instead of our own; or a file of
                   several (docs/scale-out.md). With --model its prompts are counted here and sent as token ids
  --upstream-model NAME, --upstream-kind vllm|sglang|openai, --upstream-key-file FILE, --context-tokens N
                   the model there (the only one), what the engine takes (vllm), its key, and a context that it does not say
  --database URL   a Postgres to use instead of the embedded one
  --data DIR       where the database, the journal, the logs and ready.json are kept (.local)
  --verify         run customers' candidates and tests beside the node, in bubblewrap, where they ask for it (docs/verify.md)
  --once           ask the demo question, print the bill, stop
  --help, -h       this
  --version        the version`

const flags = {
  port: { type: 'string', default: '8787' },
  model: { type: 'string' },
  template: { type: 'string' },
  'rope-theta': { type: 'string' },
  lora: { type: 'string', multiple: true },
  weights: { type: 'string' },
  'tensor-parallel': { type: 'string' },
  'kv-cache': { type: 'string' },
  upstream: { type: 'string' },
  'upstream-model': { type: 'string' },
  'upstream-kind': { type: 'string' },
  'upstream-key-file': { type: 'string' },
  'context-tokens': { type: 'string' },
  database: { type: 'string' },
  data: { type: 'string', default: join(root, '.local') },
  verify: { type: 'boolean', default: false },
  once: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
  version: { type: 'boolean', default: false },
}

/** The options, or what to print instead of a start and the exit code. */
export function readStartOptions(args) {
  try {
    const { values } = parseArgs({ args, options: flags })
    const { help, version: told, ...options } = values
    if (help) return { answer: usage, exit_code: 0 }
    if (told) return { answer: version(), exit_code: 0 }
    return { options: checked(options) }
  } catch (error) {
    return { answer: `✗ ${error.message.split('\n')[0]}\n\n${usage}`, exit_code: 2 }
  }
}

function checked({
  port,
  model,
  template,
  'rope-theta': rope_theta,
  lora = [],
  weights,
  'tensor-parallel': tensor_parallel,
  'kv-cache': kv_cache,
  database,
  data,
  verify,
  once,
  ...upstream
}) {
  const number = Number(port)
  if (!Number.isInteger(number) || number < 1 || number > 65_535) throw new Error(`--port ${port} is not a port`)
  if (database !== undefined) readDatabaseUrl(database)
  return {
    port: number,
    model_dir: model ? resolve(model) : upstream.upstream ? null : join(root, 'models', 'ziya-coding-mini'),
    template: template ?? null,
    rope_theta: checkedTheta(rope_theta),
    adapters: checkedAdapters(lora, upstream),
    tensor_parallel: checkedTensorParallel(tensor_parallel, upstream),
    weights: checkedFormat('weights', weights, upstream),
    kv_cache: checkedFormat('kv-cache', kv_cache, upstream),
    upstream: checkedUpstream(upstream),
    database_url: database ?? null,
    data_dir: resolve(data),
    verify,
    once,
  }
}

const KINDS = ['vllm', 'sglang', 'openai'] // of gpu-node/config.ts

function checkedUpstream({ upstream, ...options }) {
  const [stray] = Object.keys(options)
  if (upstream === undefined && stray) throw new Error(`--${stray} needs --upstream`)
  if (upstream === undefined) return null
  const { 'upstream-kind': kind = 'vllm', 'context-tokens': context } = options
  if (!KINDS.includes(kind)) throw new Error(`--upstream-kind ${kind} is not one of ${KINDS.join(', ')}`)
  if (context !== undefined && !(Number.isInteger(Number(context)) && Number(context) > 0))
    throw new Error(`--context-tokens ${context} is not a number of tokens`)
  return {
    upstream,
    kind,
    model: options['upstream-model'] ?? null,
    key_file: options['upstream-key-file'] ?? null,
    context: context === undefined ? null : Number(context),
  }
}

function checkedAdapters(lora, { upstream }) {
  if (lora.length > 0 && upstream !== undefined)
    throw new Error('--lora needs our own engine: those of another are asked for by the names that it has')
  return lora.map((text) => {
    const [, name, dir] = /^([A-Za-z0-9][A-Za-z0-9._:-]{0,199})=(.+)$/.exec(text) ?? []
    if (!dir) throw new Error(`--lora ${text} is not NAME=DIR`)
    return { name, dir: resolve(dir) }
  })
}

function checkedFormat(flag, format = 'fp16', { upstream }) {
  if (format !== 'fp16' && format !== 'fp8') throw new Error(`--${flag} ${format} is neither fp16 nor fp8`)
  if (format === 'fp8') requireOwnEngine(flag, upstream)
  return format
}

function checkedTensorParallel(text = '1', { upstream }) {
  if (!/^[1-8]$/.test(text)) throw new Error(`--tensor-parallel ${text} is not a number of devices from 1 to 8`)
  if (text !== '1') requireOwnEngine('tensor-parallel', upstream)
  return Number(text)
}

function requireOwnEngine(flag, upstream) {
  if (upstream !== undefined)
    throw new Error(`--${flag} needs our own engine: another is told of it where it is started`)
}

function checkedTheta(text) {
  if (text === undefined) return null
  if (!(Number(text) > 1)) throw new Error(`--rope-theta ${text} is not a number above 1`)
  return Number(text)
}

function version() {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
}

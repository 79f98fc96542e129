// Whom to ask: the address that is named, else the `npm start` that runs in this folder, else a service of our own with the embedded
// model, which ends with the run.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Endpoint } from './ask-model.ts'
import type { Options } from './options.ts'

export interface OpenEndpoint extends Endpoint {
  close: () => Promise<void>
}

const root = resolve(import.meta.dirname, '..')
export const embedded_model = 'ziya-coding-mini'

export async function openEndpoint(options: Options, signal: AbortSignal): Promise<OpenEndpoint> {
  const model = options.model ?? embedded_model
  const close = async () => {}
  if (options.base_url) return { base_url: options.base_url, api_key: options.key ?? 'none', model, close }
  const running = await runningService()
  if (running) return { ...running, model, close }
  if (model !== embedded_model) throw new Error(`--model ${model} needs --base-url`)
  return { ...(await ownService(signal)), model }
}

async function runningService(): Promise<{ base_url: string; api_key: string } | null> {
  const file = join(root, '.local/ready.json')
  if (!existsSync(file)) return null
  const { gateway_url, api_key } = JSON.parse(readFileSync(file, 'utf8'))
  const answer = await fetch(`${gateway_url}/v1/models`, { headers: { authorization: `Bearer ${api_key}` } }).catch(
    () => null,
  )
  return answer?.ok ? { base_url: `${gateway_url}/v1`, api_key } : null
}

async function ownService(signal: AbortSignal) {
  // Whoever asks another address needs nothing of these.
  const { openDemoAccount } = await import('../local/demo-account.ts')
  const { startStack } = await import('../local/stack.ts')
  const data_dir = mkdtempSync(join(tmpdir(), 'ziya-eval-'))
  const model_dir = join(root, 'models', embedded_model)
  const stack = await startStack({ port: 0, model_dir, database_url: null, data_dir, signal })
  const { api_key } = await openDemoAccount(stack, data_dir)
  const close = async () => {
    await stack.stop()
    rmSync(data_dir, { recursive: true })
  }
  return { base_url: `${stack.gateway_url}/v1`, api_key, close }
}

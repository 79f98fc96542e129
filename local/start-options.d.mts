import type { UpstreamOptions } from './upstream.ts'

export interface StartOptions {
  port: number
  model_dir: string | null // null with an upstream whose tokenizer is not here
  template: string | null
  rope_theta: number | null
  verify: boolean
  weights: 'fp16' | 'fp8'
  tensor_parallel: number
  kv_cache: 'fp16' | 'fp8'
  adapters: { name: string; dir: string }[]
  upstream: UpstreamOptions | null
  database_url: string | null
  data_dir: string
  once: boolean
}

export const usage: string

export function readStartOptions(
  args: string[],
): { options: StartOptions; answer?: never } | { options?: never; answer: string; exit_code: number }

// An engine's own figures, from its page for Prometheus: vLLM's names, SGLang's and TGI's.

import type { Capacity } from './addresses.ts'

const RUNNING = ['vllm:num_requests_running', 'sglang:num_running_reqs', 'tgi_batch_current_size']
const WAITING = ['vllm:num_requests_waiting', 'sglang:num_queue_reqs', 'tgi_queue_size']
const KV_USED = ['vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc', 'sglang:token_usage']

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{[^\n]*\})?[ \t]+([-+.\deE]+|NaN)/gm

/** Added up over the engines that share the page. */
export function capacityIn(text: string): Capacity {
  const samples = samplesIn(text)
  const all = (names: readonly string[]) => names.map((name) => samples.get(name)).find((values) => values) ?? []
  const sum = (names: readonly string[]) => Math.round(all(names).reduce((total, value) => total + value, 0))
  const kv = all(KV_USED)
  return { running: sum(RUNNING), waiting: sum(WAITING), kv_used: kv.length > 0 ? Math.min(1, Math.max(...kv)) : null }
}

/** The finite, non-negative values of each name. */
export function samplesIn(text: string): Map<string, number[]> {
  const samples = new Map<string, number[]>()
  for (const [, name, written] of text.matchAll(SAMPLE)) {
    const value = Number(written)
    if (!(value >= 0 && value < Number.MAX_SAFE_INTEGER)) continue
    const values = samples.get(name!)
    if (values) values.push(value)
    else samples.set(name!, [value])
  }
  return samples
}

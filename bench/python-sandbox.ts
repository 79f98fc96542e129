// Runs untrusted Python in WebAssembly (Pyodide), in a worker thread: no files, no network, no Python on the machine. A run
// over its deadline costs the worker, which is then replaced; runs of one sandbox follow each other.

import { Worker } from 'node:worker_threads'

export interface PythonResult {
  ok: boolean
  error: string | null // the last line of the traceback, or why there was none
}

export class PythonSandbox {
  #worker: Worker | null = null

  /** Runs `code` in a namespace of its own; `ok` means it ended without an exception. */
  async run(code: string, deadline_ms = 10_000): Promise<PythonResult> {
    this.#worker ??= await startWorker()
    const result = await answer(this.#worker, code, deadline_ms)
    if (result) return result
    await this.close()
    return { ok: false, error: `no end within ${deadline_ms} ms, or the interpreter died` }
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
    this.#worker = null
  }
}

async function startWorker(): Promise<Worker> {
  const worker = new Worker(new URL('./python-sandbox-worker.ts', import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  })
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  worker.on('error', () => {}) // a dead interpreter is seen by the run that waits for it
  return worker
}

/** The worker's answer, or null where there was none in time. */
function answer(worker: Worker, code: string, deadline_ms: number): Promise<PythonResult | null> {
  return new Promise((resolve) => {
    const finish = (result: PythonResult | null) => {
      clearTimeout(timer)
      worker.off('message', finish).off('exit', died)
      resolve(result)
    }
    const died = () => finish(null)
    const timer = setTimeout(finish, deadline_ms, null)
    worker.once('message', finish).once('exit', died)
    worker.postMessage(code)
  })
}

/** The code in an answer: its first Python fence, closed or not; without a fence, all of it. */
export function codeIn(answer: string): string {
  return /```(?:python|py)?[ \t]*\n([\s\S]*?)(?:\n```|$)/.exec(answer)?.[1] ?? answer
}

// The worker of python-sandbox.ts: one interpreter, one answer for each message.

import { parentPort } from 'node:worker_threads'
import { loadPyodide } from 'pyodide'

// Candidates print; nobody reads it.
const python = await loadPyodide({ stdout: () => {}, stderr: () => {}, jsglobals: {} })
// Without these two modules Python has no way to the JavaScript around it.
python.runPython('import sys; sys.modules.pop("js", None); sys.modules.pop("pyodide_js", None)')
python.unregisterJsModule('js')
python.unregisterJsModule('pyodide_js')

parentPort?.on('message', (code: string) => {
  const namespace = python.toPy({ __name__: '__candidate__' })
  try {
    python.runPython(code, { globals: namespace })
    parentPort?.postMessage({ ok: true, error: null })
  } catch (error) {
    parentPort?.postMessage({ ok: false, error: String(error).trim().split('\n').at(-1) ?? 'unknown' })
  } finally {
    namespace.destroy()
  }
})
parentPort?.postMessage('ready')

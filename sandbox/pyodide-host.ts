// One Python in WebAssembly, as a process: `pyodide-host.ts candidate SNAPSHOT PYODIDE`, or `judge`: the programs that bubblewrap
// confines. What escapes from Python into JavaScript finds a process that may read Pyodide's own files and nothing else (Node's
// permission model), without environment, network or modules to import.

import { constants, readFileSync, readSync, writeSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { join } from 'node:path'

const [role, snapshot, module_url] = process.argv.slice(2) as [string, string, string]
// Its name would be looked up in folders that may not be read.
const { loadPyodide }: typeof import('pyodide') = await import(module_url)
const sources = join(import.meta.dirname, 'python')
const end = process.exit
// Pyodide asks for the flags of open() by a call that the permission model refuses.
Reflect.set(process, 'binding', () => ({ fs: constants }))
const python = await loadPyodide({ jsglobals: {}, env: {}, _loadSnapshot: readFileSync(snapshot) })

for (const file of ['wire.py', `${role}.py`, 'stand-in/numpy.py']) {
  python.FS.mkdirTree(join('/judge', file, '..'))
  python.FS.writeFile(join('/judge', file), readFileSync(join(sources, file)))
}
python.setStdin({ read: (buffer) => readSync(0, buffer), isatty: false })
python.setStdout({ write: (buffer) => writeAll(1, buffer), isatty: false })
python.setStderr({ write: (buffer) => writeAll(2, buffer), isatty: false })
if (role === 'judge') {
  device('/dev/from-candidate', 3)
  device('/dev/to-candidate', 4)
}
closeDoors()
python.runPython(`
import os, runpy, sys
if ${role === 'judge' ? 'True' : 'False'}:
    os.dup2(os.open("/dev/from-candidate", os.O_RDONLY), 3)
    os.dup2(os.open("/dev/to-candidate", os.O_WRONLY), 4)
sys.argv = ["/judge/${role}.py"]
for name in ("js", "pyodide_js"):
    sys.modules.pop(name, None)
runpy.run_path("/judge/${role}.py", run_name="__main__")
`)
end(0)

function writeAll(descriptor: number, bytes: Uint8Array): number {
  for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done)
  return bytes.length
}

function device(path: string, descriptor: number): void {
  const id = python.FS.makedev(100, descriptor)
  python.FS.registerDevice(id, {
    open: () => {},
    close: () => {},
    read: (_stream: unknown, buffer: Uint8Array, offset: number, length: number) =>
      readSync(descriptor, buffer, offset, length, null),
    write: (_stream: unknown, buffer: Uint8Array, offset: number, length: number) =>
      writeAll(descriptor, buffer.subarray(offset, offset + length)),
  })
  python.FS.mkdev(path, id)
}

/** Takes away what JavaScript could reach the machine by. */
function closeDoors(): void {
  python.unregisterJsModule('js')
  python.unregisterJsModule('pyodide_js')
  registerHooks({
    resolve: () => {
      throw new Error('nothing can be imported here')
    },
  })
  for (const name of ['process', 'fetch', 'WebSocket', 'EventSource', 'require', 'XMLHttpRequest']) {
    Reflect.deleteProperty(globalThis, name)
  }
}

// `pyodide-snapshot.ts FILE`: keeps the memory of a Python that has started and loaded what judge and candidate import, so that
// each of their processes begins there, in a third of the time.

import { writeFileSync } from 'node:fs'
import { loadPyodide } from 'pyodide'

const python = await loadPyodide({ _makeSnapshot: true, jsglobals: {}, env: {} })
python.runPython('import ast, builtins, collections, json, operator, runpy')
writeFileSync(process.argv[2]!, python.makeMemorySnapshot())
process.exit()

// The candidate's process: it loads what the judge sends and calls what the judge names. What it prints goes nowhere.

import { createRequire, stripTypeScriptTypes } from 'node:module'
import { runInThisContext } from 'node:vm'
import { decode, encode, receive, send } from './wire.mjs'

globalThis.require = createRequire('/tmp/')
for (const stream of [process.stdout, process.stderr]) stream.write = () => true

function answer([kind, ...rest]) {
  if (kind === 'load') {
    const [source, is_typescript] = rest
    runInThisContext(is_typescript ? stripTypeScriptTypes(source, { mode: 'transform' }) : source, 'candidate.js')
    return null
  }
  const [name, values] = rest
  const found = runInThisContext(name)
  return values === undefined ? typeof found : found(...values.map(decode))
}

while (true) {
  const message = receive(0)
  let reply
  try {
    reply = ['ok', encode(answer(message))]
  } catch (error) {
    reply = ['error', String(error?.name ?? 'Error').slice(0, 80), String(error?.message ?? error).slice(0, 2000)]
  }
  send(1, reply)
}

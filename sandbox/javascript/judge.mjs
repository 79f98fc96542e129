// The judge's process: it runs the tests, whose calls go to the candidate's process, and says its verdict after the job's nonce.

import assert from 'node:assert'
import { readFileSync, writeSync } from 'node:fs'
import { createRequire, stripTypeScriptTypes } from 'node:module'
import { runInThisContext } from 'node:vm'
import { decode, encode, Gone, receive, send } from './wire.mjs'

const job = JSON.parse(readFileSync(0, 'utf8'))
const tests = job.is_typescript ? stripTypeScriptTypes(job.tests) : job.tests
let last = []
let verdict
globalThis.require = createRequire('/tmp/')
try {
  ask(['load', job.candidate, job.is_typescript])
  for (const name of job.names) {
    ask(['name', name])
    globalThis[name] = (...values) => {
      last = []
      const value = ask(['call', name, values.map(encode)])
      last = [value]
      return value
    }
  }
  runInThisContext(tests, 'tests.js')
  verdict = { passed: true, failure: null }
} catch (error) {
  verdict = { passed: false, failure: explained(error) }
}
writeSync(1, `${job.nonce}${JSON.stringify(verdict)}\n`)
process.exit()

function ask(message) {
  send(4, message)
  const [kind, ...rest] = receive(3)
  if (kind === 'ok') return decode(rest[0])
  throw Object.assign(new Error(`${rest[0]}: ${rest[1]}`), { is_foreign: true })
}

function explained(error) {
  if (error instanceof Gone) return `the candidate's process: ${error.message}`
  const line = /tests\.js:(\d+)/.exec(error?.stack ?? '')?.[1]
  const statement = line ? tests.split('\n')[line - 1].trim() : ''
  if (error instanceof assert.AssertionError) return `${statement}${last.length ? ` # got ${shown(last[0])}` : ''}`
  return [statement, String(error?.message ?? error).split('\n')[0]].filter(Boolean).join(' # ')
}

function shown(value) {
  return JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? `${one}n` : one))?.slice(0, 200) ?? String(value)
}

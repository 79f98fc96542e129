// The dependencies. The stamp is removed before an installation and written after it, so it stands for a whole one; where an
// installation broke off, npm would take half of a package for all of it, so the next one begins from nothing.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runChild } from './child.mjs'

const stamp = join('node_modules', '.installed-lock')
const broken_off = join('node_modules', '.installing')

export function dependenciesAreCurrent() {
  return !existsSync(broken_off) && existsSync(stamp) && readFileSync(stamp, 'utf8') === lockHash()
}

/** The first package of which nothing is there, though the stamp says that everything was installed; null where all are. */
export function missingPackage() {
  const list = join('node_modules', '.package-lock.json') // what npm put there
  if (!existsSync(list)) return null
  const folders = Object.keys(JSON.parse(readFileSync(list, 'utf8')).packages)
  return folders.find((folder) => !existsSync(join(folder, 'package.json'))) ?? null
}

export async function installDependencies(lock, progress) {
  if (existsSync(broken_off)) {
    progress('removing what a broken-off installation left')
    rmSync('node_modules', { recursive: true, force: true })
  }
  if (!existsSync('node_modules')) mkdirSync('node_modules') // recursive, it says ENOENT of a file system that can only be read
  writeFileSync(broken_off, '')
  rmSync(stamp, { force: true })
  console.log('  installing dependencies (npm install) …')
  progress('npm install works')
  // Not `npm ci`, which refuses a lock file without the optional binaries of other platforms; --no-save keeps the lock as it is.
  // --include=dev: Node 24, workerd, Postgres and the headers stand there, and NODE_ENV=production would leave them out.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=http', '--include=dev']
  const answer = registryAnswer(progress)
  const { status, output } = await runChild('npm', args, { lock, ...answer })
  answer.end()
  if (answer.signal.aborted)
    return `the registry did not answer within ${ANSWER_MS_MAX / 1000} s; look at the network or the proxy`
  if (status === 'ENOENT') return 'npm was not found; it comes with Node'
  if (status !== 0) return explain(output)
  writeStamp()
  return null
}

// npm itself waits for minutes, and says nothing meanwhile.
const ANSWER_MS_MAX = 30_000

/** Tells what npm fetches; gives up where the registry, or npm's own cache, gives nothing for a while at the beginning. */
function registryAnswer(progress) {
  progress('waiting for the registry')
  const unanswered = new AbortController()
  const patience = setTimeout(() => unanswered.abort(), ANSWER_MS_MAX)
  let count = 0
  const onLine = (line) => {
    const failed = /^npm http fetch .* (attempt \d+ failed with .*)$/.exec(line)
    if (failed && count === 0) progress(`waiting for the registry, ${failed[1]}`)
    if (failed || !/^npm http (fetch|cache) /.test(line)) return
    clearTimeout(patience)
    count += 1
    progress(`${count} answers of the registry`)
  }
  return { onLine, signal: unanswered.signal, end: () => clearTimeout(patience) }
}

/** Says that this installation is whole. */
export function writeStamp() {
  writeFileSync(stamp, lockHash())
  rmSync(broken_off, { force: true })
}

function lockHash() {
  return createHash('sha256').update(readFileSync('package-lock.json')).digest('hex')
}

const REASONS = [
  [/ENOSPC|No space left/i, 'the disk is full; make room and start again'],
  [
    /ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|network/i,
    'the registry was not reached; look at the network or the proxy',
  ],
  [/EACCES|EROFS|EPERM/, 'this user may not write here'],
]

function explain(output) {
  const lines = output.split('\n').filter((line) => /^npm (error|ERR!)/.test(line))
  const said = (lines.find((line) => !/ (code|errno|syscall) /.test(line)) ?? output.split('\n').at(-1) ?? '').trim()
  const reason = REASONS.find(([pattern]) => pattern.test(output))?.[1]
  return `npm install failed (${said})${reason ? `: ${reason}` : ''}`
}

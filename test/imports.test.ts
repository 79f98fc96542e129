// Who may import whom. The rules are the architecture; a break is named with the line that makes it.

import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = dirname(import.meta.dirname)

interface Import {
  from: string // path from the root
  to: string // path from the root, or a package's name
}

const typescript = globSync('{contract,gateway,gpu-node,local,bench}/**/*.ts', {
  cwd: root,
  exclude: ['bench/peers/**/node_modules/**'],
}).flatMap((from) =>
  [...readFileSync(join(root, from), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
    ([, name]): Import => ({ from, to: name!.startsWith('.') ? normalize(join(dirname(from), name!)) : name! }),
  ),
)

const native = globSync('native/**/*.{h,cpp,cu,cuh}', { cwd: root, exclude: ['native/build/**'] }).flatMap((from) =>
  [...readFileSync(join(root, from), 'utf8').matchAll(/^\s*#\s*include\s*([<"])([^>"]+)[>"]/gm)].map(
    ([, quote, name]): Import => ({ from, to: quote === '"' ? resolveInclude(from, name!) : name! }),
  ),
)

/** Quoted includes are relative to the file or to native/. */
function resolveInclude(from: string, name: string): string {
  const beside = normalize(join(dirname(from), name))
  const known = globSync(beside, { cwd: root }).length > 0
  return known ? beside : relative('.', join('native', name))
}

const inFolder = (path: string, ...folders: string[]) => folders.some((folder) => path.startsWith(`${folder}/`))
const ours = (path: string) => /\.(ts|mjs|h|cpp|cu|cuh)$/.test(path)
const lines = (imports: Import[]) => imports.map(({ from, to }) => `${from} -> ${to}`)

test('there is something to check', () => {
  expect(typescript.length).toBeGreaterThan(50)
  expect(native.length).toBeGreaterThan(20)
})

describe('between the parts', () => {
  test('contract imports nothing but itself and zod, which its public shapes are written in', () => {
    const strangers = typescript.filter(
      ({ from, to }) => inFolder(from, 'contract') && !inFolder(to, 'contract') && to !== 'zod',
    )
    expect(lines(strangers)).toEqual([])
  })

  test.each(['gateway', 'gpu-node'])('%s imports only contract and packages', (part) => {
    const strangers = typescript.filter(
      ({ from, to }) => inFolder(from, part) && ours(to) && !inFolder(to, part, 'contract'),
    )
    expect(lines(strangers)).toEqual([])
  })

  test('the gateway uses nothing of Node', () => {
    expect(lines(typescript.filter(({ from, to }) => inFolder(from, 'gateway') && to.startsWith('node:')))).toEqual([])
  })

  test('only engine.ts knows the addon', () => {
    const readers = globSync('{gateway,gpu-node}/**/*.ts', { cwd: root }).filter((file) =>
      readFileSync(join(root, file), 'utf8').includes('ziya.node'),
    )
    expect(readers).toEqual(['gpu-node/run/native/engine.ts'])
  })
})

describe('inside the gateway', () => {
  const level = (path: string) => {
    if (path === 'gateway/worker.ts') return 3
    if (path === 'gateway/app.ts') return 2
    return inFolder(path, 'gateway/endpoint') ? 1 : 0
  }
  const within = typescript.filter(({ from, to }) => inFolder(from, 'gateway') && inFolder(to, 'gateway'))

  test('worker, app and endpoint import downward', () => {
    const upward = within.filter(({ from, to }) => level(to) > level(from))
    expect(lines(upward)).toEqual([])
  })

  test('auth, limits, prompt, billing, engine, webhook, jobs and files do not import each other', () => {
    const peers = ['auth', 'limits', 'prompt', 'billing', 'engine', 'webhook', 'jobs', 'files'].map(
      (name) => `gateway/${name}`,
    )
    const peer = (path: string) => peers.find((folder) => inFolder(path, folder))
    const sideways = within.filter(({ from, to }) => peer(from) && peer(to) && peer(from) !== peer(to))
    expect(lines(sideways)).toEqual([])
  })
})

describe('inside native', () => {
  const layer = (path: string) => {
    if (inFolder(path, 'native/kernels')) return 0
    if (inFolder(path, 'native/models') || /^native\/(weights|kv_cache)\./.test(path)) return 1
    if (/^native\/engine\./.test(path)) return 2
    return path === 'native/addon.cpp' ? 3 : null
  }

  test('addon, engine, model and kernels include downward', () => {
    const upward = native.filter(({ from, to }) => {
      const [above, below] = [layer(to), layer(from)]
      return above !== null && below !== null && above > below
    })
    expect(lines(upward)).toEqual([])
  })

  test('N-API stays in addon.cpp', () => {
    expect(lines(native.filter(({ from, to }) => /napi|node_api/.test(to) && from !== 'native/addon.cpp'))).toEqual([])
  })

  test('CUDA headers stay in kernels/cuda', () => {
    const cuda = native.filter(({ from, to }) => /^cuda|^cublas|^nv/.test(to) && !inFolder(from, 'native/kernels/cuda'))
    expect(lines(cuda)).toEqual([])
  })
})

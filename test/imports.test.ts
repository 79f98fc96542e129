// Who may import whom. The rules are the architecture; a break is named with the line that makes it.

import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = dirname(import.meta.dirname)

interface Import {
  from: string // path from the root
  to: string // path from the root, or a package's name
}

const typescript = globSync('{contract,gateway,gpu-node,local,bench,eval,sandbox}/**/*.ts', {
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

/** Customers' candidates and tests are confined by it. */
const JUDGE_PROGRAM = 'gpu-node/run/verified/judge-process.ts'

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

  test('what contract/public shows, contract/internal is not in', () => {
    const hidden = typescript.filter(
      ({ from, to }) => inFolder(from, 'contract/public') && inFolder(to, 'contract/internal'),
    )
    expect(lines(hidden)).toEqual([])
  })

  test.each(['gateway', 'gpu-node'])('%s imports only contract and packages', (part) => {
    const strangers = typescript.filter(
      ({ from, to }) => inFolder(from, part) && ours(to) && !inFolder(to, part, 'contract') && from !== JUDGE_PROGRAM,
    )
    expect(lines(strangers)).toEqual([])
  })

  test('of the node one program knows the sandbox, in a process of its own', () => {
    const confining = typescript.filter(({ from, to }) => inFolder(from, 'gpu-node') && inFolder(to, 'sandbox'))
    expect(lines(confining)).toEqual([`${JUDGE_PROGRAM} -> sandbox/sandbox.ts`])
    const starting = typescript.filter(({ to }) => to === JUDGE_PROGRAM)
    expect(lines(starting)).toEqual([])
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
  const ROOMS = ['auth', 'limits', 'prompt', 'billing', 'engine', 'webhook', 'jobs', 'files', 'catalog'].map(
    (name) => `gateway/${name}`,
  )
  const within = typescript.filter(({ from, to }) => inFolder(from, 'gateway') && inFolder(to, 'gateway'))
  const roomOf = (path: string) => ROOMS.find((folder) => inFolder(path, folder))

  const storeys: [name: string, has: (path: string) => boolean][] = [
    ['the ground: settings, errors, what an endpoint and a route are', (path) => /^gateway\/[^/]+\.ts$/.test(path)],
    ['db and field', (path) => inFolder(path, 'gateway/db', 'gateway/field')],
    ['the rooms', (path) => roomOf(path) !== undefined],
    ['guard, route', (path) => ['gateway/guard.ts', 'gateway/route.ts', 'gateway/openapi.ts'].includes(path)],
    ['generate', (path) => inFolder(path, 'gateway/generate')],
    ['endpoint', (path) => inFolder(path, 'gateway/endpoint')],
    ['app', (path) => path === 'gateway/app.ts'],
    ['worker', (path) => path === 'gateway/worker.ts'],
  ]
  const storeyOf = (path: string) => storeys.findLastIndex(([, has]) => has(path))
  // Types and names that the settings are made of; nothing of them runs there.
  const SETTINGS_KNOW = [
    'gateway/db/functions.ts',
    'gateway/db/queries.ts',
    'gateway/field/read-body.ts',
    'gateway/field/ip-range.ts',
  ]
  const isOfSettings = ({ from, to }: Import) => from === 'gateway/env.ts' && SETTINGS_KNOW.includes(to)

  test('every file has its storey', () => {
    const files = globSync('gateway/**/*.ts', { cwd: root }).filter((file) => !file.endsWith('.d.ts'))
    expect(files.filter((file) => storeyOf(file) < 0)).toEqual([])
    expect(
      files.filter((file) => inFolder(file, 'gateway/endpoint') && !/\/(public|operator|internal)\//.test(file)),
    ).toEqual(SHARED_BY_ENDPOINTS)
  })

  test('worker, app, endpoint, generate, guard, the rooms, db and field import downward', () => {
    const upward = within.filter((one) => storeyOf(one.to) > storeyOf(one.from) && !isOfSettings(one))
    expect(lines(upward)).toEqual([])
  })

  test('auth, limits, prompt, billing, engine, webhook, jobs, files and catalog do not import each other', () => {
    const sideways = within.filter(({ from, to }) => roomOf(from) && roomOf(to) && roomOf(from) !== roomOf(to))
    expect(lines(sideways)).toEqual([])
  })

  test('endpoints of the public, of the operator and of nodes do not import each other', () => {
    const audienceOf = (path: string) => /^gateway\/endpoint\/(public|operator|internal)\//.exec(path)?.[1]
    const sideways = within.filter(
      ({ from, to }) => audienceOf(to) && inFolder(from, 'gateway/endpoint') && audienceOf(from) !== audienceOf(to),
    )
    expect(lines(sideways)).toEqual([])
  })

  test('only worker, endpoint, auth, limits, billing, webhook, jobs and catalog ask the database, and only the teller connects to it', () => {
    const askers = ['db', 'endpoint', 'auth', 'limits', 'billing', 'webhook', 'jobs', 'catalog'].map(
      (name) => `gateway/${name}`,
    )
    const strangers = within.filter(
      ({ from, to }) =>
        /^gateway\/db\/(ask|query)\.ts$/.test(to) && !inFolder(from, ...askers) && from !== 'gateway/worker.ts',
    )
    const connecting = within.filter(
      ({ from, to }) => /^gateway\/db\/(connection|lane|reader)\.ts$/.test(to) && !inFolder(from, 'gateway/db'),
    )
    expect(lines([...strangers, ...connecting])).toEqual([])
  })
})

/** What endpoints of more than one audience have in common. */
const SHARED_BY_ENDPOINTS = [
  'account.ts',
  'billing.ts',
  'credit-notes.ts',
  'html-page.ts',
  'invoices.ts',
  'keys.ts',
  'ledger-status.ts',
  'receipt-signer.ts',
  'statement.ts',
  'usage-report.ts',
  'usage.ts',
].map((file) => `gateway/endpoint/${file}`)

describe('inside the node', () => {
  const RUNNER = 'gpu-node/run/runner.ts'
  // Each room with what it may know beside itself and the contract; what it needs of a runner stands at the seam.
  const rooms: [room: string, may_know: string[]][] = [
    ['serve', ['gpu-node/meter/', 'gpu-node/answer/', RUNNER, 'gpu-node/refusal.ts']],
    ['meter', []],
    ['answer', [RUNNER, 'gpu-node/held-length.ts']],
    ['run', ['gpu-node/refusal.ts', 'gpu-node/held-length.ts']],
  ]
  const within = typescript.filter(({ from, to }) => inFolder(from, 'gpu-node') && inFolder(to, 'gpu-node'))

  test.each(rooms)('%s knows no other room than it may', (room, may_know) => {
    const own = `gpu-node/${room}`
    expect(within.filter(({ from }) => inFolder(from, own)).length).toBeGreaterThan(0)
    const strangers = within.filter(
      ({ from, to }) => inFolder(from, own) && !inFolder(to, own) && !may_know.some((known) => to.startsWith(known)),
    )
    expect(lines(strangers)).toEqual([])
  })

  test('only main.ts chooses the runner: who serves knows none', () => {
    const kinds = within.filter(
      ({ from, to }) =>
        /^gpu-node\/run\/[^/]+\//.test(to) && !inFolder(from, 'gpu-node/run') && from !== 'gpu-node/main.ts',
    )
    expect(lines(kinds)).toEqual([])
  })

  test('the seam knows no kind of runner, and one kind no other', () => {
    const kind = (path: string) => /^gpu-node\/run\/([^/]+)\//.exec(path)?.[1] ?? 'none'
    const crossing = within.filter(({ from, to }) => {
      if (!inFolder(from, 'gpu-node/run') || kind(to) === 'none') return false
      return kind(from) !== kind(to) && !(kind(to) === 'text' && kind(from) !== 'none')
    })
    expect(lines(crossing)).toEqual([])
  })

  test('in run/native the tokenizer does not know how a folder is loaded', () => {
    const climbing = within.filter(
      ({ from, to }) => inFolder(from, 'gpu-node/run/native/tokenizer') && inFolder(to, 'gpu-node/run/native/load'),
    )
    expect(lines(climbing)).toEqual([])
  })

  test('what a refusal is, and what of a text is held back, is known without any room', () => {
    const below = ['gpu-node/refusal.ts', 'gpu-node/held-length.ts']
    expect(lines(within.filter(({ from }) => below.includes(from)))).toEqual([])
  })
})

describe('inside run/native', () => {
  test('only the registry knows an architecture, but for one that has the layers of another', () => {
    const folder = 'gpu-node/run/native/architecture'
    const shared = ['architecture', 'bounds', 'registry'].map((name) => `${folder}/${name}.ts`)
    const readers = typescript.filter(({ to }) => inFolder(to, folder) && !shared.includes(to))
    const own = new Set(readers.map(({ from }) => from).filter((from) => inFolder(from, 'gpu-node')))
    expect([...own].sort()).toEqual([`${folder}/llama-reward.ts`, `${folder}/registry.ts`])
  })
})

describe('inside native', () => {
  // addon → {engine, grammar} → {models, weights, kv_cache} → kernels; what all of them may throw or convert is below everything.
  const layer = (path: string) => {
    if (inFolder(path, 'native/kernels')) return 0
    if (inFolder(path, 'native/models') || /^native\/(weights|kv_cache|devices)\./.test(path)) return 1
    if (/^native\/(engine|check)\./.test(path) || inFolder(path, 'native/grammar')) return 2
    if (/^native\/addon(_grammar)?\./.test(path)) return 3
    return path === 'native/bench.cpp' ? 3 : null
  }

  test('addon, engine, model and kernels include downward', () => {
    const upward = native.filter(({ from, to }) => {
      const [above, below] = [layer(to), layer(from)]
      return above !== null && below !== null && above > below
    })
    expect(lines(upward)).toEqual([])
  })

  test('every file has its layer', () => {
    const strays = native.filter(
      ({ from }) => layer(from) === null && !/^native\/(engine_error|fp8|half)\.h$/.test(from),
    )
    expect(lines(strays)).toEqual([])
  })

  test('whoever is above the models knows what a model is, and the registry, but no architecture', () => {
    const known = ['native/models/model.h', 'native/models/registry.h']
    const others = native.filter(
      ({ from, to }) => inFolder(to, 'native/models') && !inFolder(from, 'native/models') && !known.includes(to),
    )
    expect(lines(others)).toEqual([])
  })

  test('architectures know what they share, and not each other', () => {
    const shared = /^native\/models\/(model|layered_model|registry)\./
    const sideways = native.filter(
      ({ from, to }) =>
        inFolder(from, 'native/models') &&
        inFolder(to, 'native/models') &&
        !shared.test(to) &&
        from !== 'native/models/registry.cpp' &&
        from.replace(/\.\w+$/, '') !== to.replace(/\.\w+$/, ''),
    )
    expect(lines(sideways)).toEqual([])
  })

  test('N-API stays in the addon', () => {
    const others = native.filter(
      ({ from, to }) => /napi|node_api/.test(to) && !/^native\/addon(_grammar)?\./.test(from),
    )
    expect(lines(others)).toEqual([])
  })

  test('CUDA headers stay in kernels/cuda', () => {
    const cuda = native.filter(({ from, to }) => /^cuda|^cublas|^nv/.test(to) && !inFolder(from, 'native/kernels/cuda'))
    expect(lines(cuda)).toEqual([])
  })
})

describe('around the product', () => {
  const around = globSync('{local,bench,eval,sandbox,instruct,migrations,examples,models}/**/*.{ts,mjs}', {
    cwd: root,
    exclude: ['bench/peers/**/node_modules/**'],
  }).flatMap((from) =>
    [...readFileSync(join(root, from), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(
      ([, name]): Import => ({ from, to: normalize(join(dirname(from), name!)) }),
    ),
  )
  const strangers = (part: string, ...may: string[]) =>
    lines(around.filter(({ from, to }) => inFolder(from, part) && !inFolder(to, part, ...may)))

  test('there is something to check here, too', () => {
    expect(around.length).toBeGreaterThan(50)
  })

  test('what starts the product on one machine knows the product alone', () => {
    expect(strangers('local', 'contract', 'gateway', 'gpu-node', 'migrations', 'models')).toEqual([])
  })

  test('a bench uses the product and its start, never the tests', () => {
    expect(strangers('bench', 'contract', 'gateway', 'gpu-node', 'migrations', 'models', 'local')).toEqual([])
  })

  test('eval asks the product by its address: of its code it knows the start alone, and that in one file; of its data the catalog', () => {
    expect(strangers('eval', 'local', 'models', 'sandbox')).toEqual([])
    const starters = around.filter(({ from, to }) => inFolder(from, 'eval') && inFolder(to, 'local'))
    expect([...new Set(starters.map(({ from }) => from))]).toEqual(['eval/endpoint.ts'])
  })

  test('the sandbox knows nothing of benchmarks and models, and others know only its front', () => {
    expect(strangers('sandbox')).toEqual([])
    const fronts = ['sandbox/sandbox.ts']
    const inner = around.filter(
      ({ from, to }) => inFolder(to, 'sandbox') && !inFolder(from, 'sandbox') && !fronts.includes(to),
    )
    expect(lines(inner)).toEqual([])
  })

  test('the recipe for instructions knows what eval and the sandbox know, and asks a model by its address', () => {
    expect(strangers('instruct', 'eval', 'sandbox')).toEqual([])
  })

  test('nothing of the product imports what measures or shows it', () => {
    const measured = typescript.filter(
      ({ from, to }) =>
        inFolder(from, 'contract', 'gateway', 'gpu-node', 'local') &&
        inFolder(to, 'eval', 'bench', 'instruct', 'console'),
    )
    expect(lines(measured)).toEqual([])
  })

  test.each(['migrations', 'models'])('%s imports nothing but itself', (part) => {
    expect(strangers(part)).toEqual([])
  })

  test('an example stands alone: whoever copies its file has all of it', () => {
    expect(lines(around.filter(({ from }) => inFolder(from, 'examples')))).toEqual([])
  })

  test('the build of the engine reaches what measures and tests it only where that is there', () => {
    const cmake = readFileSync(join(root, 'native/CMakeLists.txt'), 'utf8')
    const reached = [...cmake.matchAll(/add_subdirectory\(\$\{side_rooms\}\/(\S+)/g)].map(([, folder]) => folder!)
    expect(reached).toEqual(['bench/gpu', 'test/native'])
    for (const folder of reached) expect(cmake).toContain(`if(EXISTS \${side_rooms}/${folder}/CMakeLists.txt)`)
    expect(cmake.replaceAll(/\$\{side_rooms\}\/\S+/g, '')).not.toMatch(/\.\.\/(bench|test)\b/)
  })
})

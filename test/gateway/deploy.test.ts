import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'

test('what runs here is what deploys: `wrangler deploy --dry-run` passes, with every binding', () => {
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' }
  const output = execFileSync('node_modules/.bin/wrangler', ['deploy', '--dry-run'], { encoding: 'utf8', env })
  for (const binding of ['env.TELLER (Teller)', 'env.HYPERDRIVE', 'env.TELLER_SHARDS', 'env.DATABASE_MS_MAX'])
    expect(output).toContain(binding)
})

import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: { include: ['test/ground/*.ground.ts'], root: '.', testTimeout: 240_000, maxWorkers: 1 },
})

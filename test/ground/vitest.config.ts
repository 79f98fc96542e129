import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: { include: ['test/ground/*.ground.ts'], root: '.', hookTimeout: 120_000, maxWorkers: 1 },
})

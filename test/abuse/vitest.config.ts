import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/abuse/*.abuse.ts'],
    root: '.',
    globalSetup: 'test/support/made-once.ts',
    testTimeout: 240_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
  },
})

// Real processes (Postgres, workerd, nodes) start and stop in these tests, so deadlines are wide and files run two at a time.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    teardownTimeout: 30_000,
  },
})

// Real processes (Postgres, workerd, nodes) start and stop in these tests, so deadlines are wide and files run two at a time.
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** What takes minutes begins first, so that the end of a run does not wait for it with one core idle. */
class LongestFirst extends BaseSequencer {
  static readonly longest = ['test/migrations/histories.test.ts', 'test/native/kernel-test.test.ts']

  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) => LongestFirst.longest.some((file) => moduleId.endsWith(file))
    return (await super.sort(files)).toSorted((a, b) => Number(isLong(b)) - Number(isLong(a)))
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/made-once.ts',
    testTimeout: 60_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    teardownTimeout: 30_000,
    sequence: { sequencer: LongestFirst },
  },
})

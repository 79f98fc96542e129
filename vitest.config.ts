// Real processes (Postgres, workerd, nodes) start and stop in these tests, so deadlines are wide and files run two at a time.
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import { HANG_MS_MIN } from './test/support/patience.ts'

/** What takes long begins first, so that the end of a run does not wait for it with one core idle. */
class LongestFirst extends BaseSequencer {
  static readonly longest = [
    'native/kernel-test',
    'local/start',
    'migrations/histories',
    'gpu-node/main',
    'local/admin',
    'gpu-node/serve/streams',
    'local/stop',
    'gateway/stripe',
    'frame',
    'main-job/outage',
    'gpu-node/serve/server',
    'gateway/money',
    'gateway/limits',
    'native/addon',
    'gpu-node/run/native/load/fuzz',
    'gpu-node/run/native/scheduler-history',
  ]

  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) =>
      LongestFirst.longest.findIndex((file) => moduleId.endsWith(`/test/${file}.test.ts`)) >>> 0 // what is not there comes last
    return (await super.sort(files)).toSorted((a, b) => place(a) - place(b))
  }
}

// Nothing of these but what it imports outlives a file, so that a process may take one after the other: half of their time is a
// process's start, and its imports.
const IN_ONE_PROCESS = [
  'test/{adversary,contract,main-job,migrations}/**/*.test.ts',
  'test/gateway/*.test.ts',
  'test/gateway/{auth,engine,field,generate,prompt}/**/*.test.ts',
  'test/gpu-node/{answer,run}/**/*.test.ts',
]

export default defineConfig({
  test: {
    globalSetup: 'test/support/made-once.ts',
    setupFiles: 'test/support/held-answers.ts',
    testTimeout: HANG_MS_MIN,
    hookTimeout: HANG_MS_MIN,
    maxWorkers: 2,
    teardownTimeout: 30_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      { extends: true, test: { name: 'in one process', include: IN_ONE_PROCESS, isolate: false } },
      { extends: true, test: { name: 'each alone', include: ['test/**/*.test.ts'], exclude: IN_ONE_PROCESS } },
    ],
  },
})

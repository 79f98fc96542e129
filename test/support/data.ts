// Where the files of test/data are; its README says what each is and whose.

import { join } from 'node:path'

/** The path of a file or folder of test/data. */
export function testData(path: string): string {
  return join(import.meta.dirname, '../data', path)
}

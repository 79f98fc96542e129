// `npm run admin`: the operators' command line.

import { run } from './admin-run.ts'

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  print: (text) => console.log(text),
  complain: (text) => console.error(text),
})

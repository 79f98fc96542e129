// What a person reads of a stage: one line when it is done, one when it failed, and a sign of life while it takes long.

const SIGN_OF_LIFE_MS = 5_000

/**
 * Runs a stage that answers with null, or with what went wrong in one line, which ends the process.
 * @param {string} name
 * @param {(progress: (text: string) => void) => Promise<string | null>} run
 */
export async function stage(name, run) {
  const started = performance.now()
  let news = ''
  const signs = setInterval(
    () => console.log(`  ${name}: ${news || 'working'} (${seconds(started)} s) …`),
    SIGN_OF_LIFE_MS,
  )
  const failure = await run((text) => (news = text)).catch(explain)
  clearInterval(signs)
  if (failure) {
    console.error(`✗ ${name}: ${failure}`)
    process.exit(1)
  }
  console.log(line(name, started))
}

export function unchanged(name) {
  console.log(`${line(name, performance.now())}  (unchanged)`)
}

function line(name, started) {
  return `✓ ${name.padEnd(14)} ${seconds(started).padStart(5)} s`
}

function seconds(started) {
  return ((performance.now() - started) / 1000).toFixed(1)
}

const ADVICE = {
  EROFS: 'this checkout can only be read; copy it to a folder that can be written',
  EACCES: 'this user may not write here; run as the owner of the checkout, or copy it',
  EPERM: 'this user may not write here; run as the owner of the checkout, or copy it',
  ENOSPC: 'the disk is full; make room and start again',
}

function explain(error) {
  const advice = ADVICE[error.code]
  return advice ? `${error.message.split('\n')[0]}: ${advice}` : error.message.split('\n')[0]
}

// A clock of the database that a test moves ahead, so that months pass in seconds. Whatever in the schema asks for the time asks
// clock_timestamp(): here a function of that name is found before Postgres's own.

import postgres from 'postgres'

/** To be called on a database before its tables are made. */
export async function makeClockMovable(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  await sql.unsafe(`
    create schema test_clock;
    create table test_clock.ahead (duration interval not null);
    insert into test_clock.ahead values ('0');
    create function test_clock.clock_timestamp() returns timestamptz language sql volatile as
      'select pg_catalog.clock_timestamp() + duration from test_clock.ahead';
    do $$ begin execute format('alter database %I set search_path = public, test_clock, pg_catalog', current_database()); end $$;
  `)
  await sql.end({ timeout: 5 })
}

/** Moves the clock on; never back. */
export async function moveClock(sql: postgres.Sql, by: string): Promise<void> {
  await sql`update test_clock.ahead set duration = duration + ${by}::interval`
}

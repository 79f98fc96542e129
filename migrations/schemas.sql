-- `api` holds what a gateway may call, `ledger` what that uses. Both are made anew, so a function that left the source is gone, and one
-- may change its arguments and its answer. The tables, and the trigger functions that they depend on, are in the schema of the owner.
--
-- The functions in `api` all have one form: a JSON array of items in, one JSON answer an item out, in order. So whatever queued while
-- the last call ran goes as one statement. All of them may be asked again: a repeated item gets the same answer.
-- One that decides item by item is a line: the function of its name in `ledger` takes an item and answers it.

-- Functions name each other in any order; bodies.sql checks them once all are there.
set local check_function_bodies = off;
drop schema api cascade;
drop schema ledger cascade;
create schema api;
create schema ledger;
-- `ledger` comes last, so that nothing is ever created in it that its name does not put there.
select set_config('search_path', current_setting('search_path') || ', ledger', true);

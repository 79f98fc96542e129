-- The steps of a pass that adds everything up again, and what the last passes found.

-- A step of a pass. Items: {after: where the last step ended, 0 to begin; entries_max; anew: forget the checkpoints first}. Answers
-- {after} to go on with, null where the pass is complete.
create function api.reconcile(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
  next_account bigint;
begin
  for item in select * from jsonb_array_elements(items) loop
    perform pg_advisory_xact_lock(hashtext('reconcile')); -- two passes at once would find each other's
    if (item ->> 'after')::bigint = 0 then
      if (item ->> 'anew')::boolean or (select started_anew_at < clock_timestamp() - interval '1 day' from ledger_passes) then
        delete from ledger_checkpoints;
        delete from ledger_findings where check_name = 'usage';
        update ledger_passes set started_anew_at = clock_timestamp(), usage_checked_until = clock_timestamp() - interval '1 day';
      end if;
      perform reconcile_pending();
    end if;
    next_account := reconcile_accounts((item ->> 'after')::bigint, (item ->> 'entries_max')::bigint);
    if next_account is null and reconcile_usage() then
      next_account := 9223372036854775806; -- all accounts are done: the next step is of usage alone
    end if;
    if next_account is null then
      update ledger_passes set checked_at = clock_timestamp();
    end if;
    return next jsonb_build_object('decision', 'allowed', 'after', next_account::text);
  end loop;
end $$;

-- Reads tables whole, so it does that once, for however many it is asked by. Items: {findings: up to a hundred of them too}.
create function api.ledger_health(items jsonb) returns setof jsonb language plpgsql as $$
declare
  report jsonb := ledger_report();
  listed jsonb := case when items @> '[{"findings": true}]' then listed_findings(100) end;
begin
  return query select report || jsonb_build_object('findings', case when (item ->> 'findings')::boolean then listed end)
  from jsonb_array_elements(items) with ordinality as asked (item, place) order by place;
end $$;

-- Adds everything up again and compares it with what the accounts say. A pass goes through the accounts in slices; of each that
-- changed it reads only the entries since its checkpoint, so its cost follows what was booked and not what was ever booked. Once a
-- day the checkpoints are forgotten, and everything is read again.

create function ledger.ledger_checks() returns text[] language sql immutable as $$
  select array['sequence', 'credited', 'debited', 'late', 'charges', 'days', 'refunds', 'grants', 'pending', 'usage']
$$;

-- The next accounts that changed since their checkpoint. Where none did, which is most of the time, nothing else has to be planned.
create function ledger.changed_accounts(after bigint) returns setof bigint language sql stable
set enable_hashjoin = off set enable_seqscan = off as $$
  select a.id from accounts a left join ledger_checkpoints c on c.account_id = a.id
  where a.id > after and (
    a.entry_count <> coalesce(c.sequence, 0)
    or (a.credited_nanousd, a.debited_nanousd, a.late_nanousd) is distinct from
       (coalesce(c.credited_nanousd, 0), coalesce(c.debited_nanousd, 0), coalesce(c.late_nanousd, 0)))
  order by a.id limit 500
$$;

-- The books of these accounts in one snapshot: their columns, their checkpoints, and the sums with the entries after them.
create function ledger.books_of(ids bigint[], entries_max bigint) returns setof books language sql stable
set enable_hashjoin = off set enable_seqscan = off as $$
  with changed as (
    select a.*, coalesce(c.sequence, 0) as seen, c.credited_nanousd as c_credited, c.debited_nanousd as c_debited,
      c.late_nanousd as c_late, c.charge_count as c_count, c.charged_nanousd as c_charged, c.refunded_nanousd as c_refunded,
      least(entry_count - coalesce(c.sequence, 0), entries_max) as to_read
    from accounts a left join ledger_checkpoints c on c.account_id = a.id
    where a.id = any(ids)),
  due as (
    select *, sum(to_read) over (order by id) - to_read as before from changed)
  select d.id, d.entry_count, credited_nanousd, debited_nanousd, late_nanousd, seen, to_read, e.lines, e.last_line,
    coalesce(c_credited, 0) + e.credits, coalesce(c_debited, 0) + e.debits, coalesce(c_late, 0) + e.lates,
    coalesce(c_count, 0) + e.charge_count, coalesce(c_charged, 0) + e.charged, coalesce(c_refunded, 0) + e.refunded, e.unmatched,
    (select coalesce(sum(request_count), 0) from usage_daily u where u.account_id = d.id),
    (select coalesce(sum(cost_nanousd), 0) from usage_daily u where u.account_id = d.id),
    (select coalesce(sum(refunded_nanousd), 0) from usage_daily u where u.account_id = d.id),
    (select coalesce(sum(abs(spent_nanousd + expired_nanousd - taken)), 0) from (
       select g.*, (select coalesce(sum(s.amount_nanousd), 0) from grant_spends s where s.grant_id = g.entry_id)
         - (select coalesce(sum(r.amount_nanousd), 0) from grant_returns r where r.grant_id = g.entry_id) as taken
       from grants g where g.account_id = d.id) as given)
  from due d cross join lateral (
    select count(*) as lines, max(l.sequence) as last_line,
      coalesce(sum(amount_nanousd) filter (where is_credit), 0) as credits,
      coalesce(sum(amount_nanousd) filter (where not is_credit), 0) as debits,
      coalesce(sum(amount_nanousd) filter (where kind in ('late_usage', 'adjustment_late_debit')), 0) as lates,
      count(*) filter (where is_usage) as charge_count,
      coalesce(sum(amount_nanousd) filter (where is_usage), 0) as charged,
      coalesce(sum(amount_nanousd) filter (where kind = 'refund'), 0) as refunded,
      count(*) filter (where is_usage and not matches) as unmatched
    from (
      select n.*, kind in ('top_up', 'grant', 'refund', 'adjustment_credit') as is_credit, kind in ('usage', 'late_usage') as is_usage,
        coalesce(u.cost_nanousd = n.amount_nanousd and r.account_id = n.account_id
          and (r.state = 'posted') = (n.kind = 'usage'), false) as matches
      from entries n
      left join reservations r on r.request_id = n.request_id and n.kind in ('usage', 'late_usage')
      left join usage u on u.request_id = r.request_id and u.settled_at = r.settled_at
      where n.account_id = d.id and n.sequence > d.seen and n.sequence <= d.seen + d.to_read) as l) as e
  where d.before < entries_max
$$;

-- One slice of the accounts after `ended`, where the last slice ended; returns where this one did, null where there are no more. An
-- account with more entries than a slice may have is gone on with: its number is negative then (zero begins a pass).
create function ledger.reconcile_accounts(ended bigint, entries_max bigint) returns bigint language plpgsql as $$
declare
  after bigint := case when ended < 0 then -ended - 1 else ended end;
  changed bigint[] := array(select changed_accounts(after));
  slice books[];
  last_account bigint;
begin
  if changed <> '{}' then
    slice := array(select b from books_of(changed, entries_max) as b);
    last_account := (select max(account_id) from unnest(slice));
  end if;
  delete from ledger_findings
  where account_id > after and account_id <= coalesce(last_account, 9223372036854775807)
    and check_name in ('sequence', 'credited', 'debited', 'late', 'charges', 'days', 'refunds', 'grants');
  if last_account is null then
    return null;
  end if;
  insert into ledger_findings (check_name, account_id, drift_nanousd, detail)
  select check_name, account_id, abs(kept - summed), jsonb_build_object('kept', kept, 'summed', summed)
  from (
    select account_id, wrong.*, seen + to_read = entry_count as is_complete
    from unnest(slice) cross join lateral (values
      ('sequence', seen + to_read, seen + lines, false),
      ('sequence', seen + to_read, coalesce(last_line, seen), false),
      ('charges', 0, unmatched, false),
      ('credited', credited, credits, true), ('debited', debited, debits, true), ('late', late, lates, true),
      ('days', daily_count, charge_count, true), ('days', daily_cost, charged, true), ('refunds', daily_refunded, refunded, true),
      ('grants', grants_off, 0, true)) as wrong (check_name, kept, summed, at_the_end)) as compared
  where kept <> summed and (is_complete or not at_the_end);

  insert into ledger_checkpoints
  select account_id, seen + to_read, credits, debits, lates, charge_count, charged, refunded from unnest(slice) as b
  -- What does not agree is looked at again in every pass.
  where not exists (select from ledger_findings f where f.account_id = b.account_id and f.check_name <> 'pending')
  on conflict (account_id) do update set
    sequence = excluded.sequence, credited_nanousd = excluded.credited_nanousd, debited_nanousd = excluded.debited_nanousd,
    late_nanousd = excluded.late_nanousd, charge_count = excluded.charge_count, charged_nanousd = excluded.charged_nanousd,
    refunded_nanousd = excluded.refunded_nanousd;
  return case when exists (
    select from unnest(slice) as b join ledger_checkpoints c on c.account_id = b.account_id
    where b.account_id = last_account and c.sequence = seen + to_read and c.sequence < entry_count)
  then -last_account else last_account end;
end $$;

-- Held money against open reservations, of which there are only as many as run now.
create function ledger.reconcile_pending() returns void language sql as $$
  delete from ledger_findings where check_name = 'pending';
  insert into ledger_findings (check_name, account_id, drift_nanousd, detail)
  select 'pending', account_id, abs(kept - summed), jsonb_build_object('kept', kept, 'summed', summed) from (
    select account_id, coalesce(pending_nanousd, 0) as kept, coalesce(held, 0) as summed
    from (select account_id, sum(amount_nanousd) as held from reservations where state = 'pending' group by account_id) as r
    full join (select id as account_id, pending_nanousd from accounts where pending_nanousd <> 0) as a using (account_id)) as both_sides
  where kept <> summed;
$$;

-- Usage without its entry, of the next half minute that has any and was not looked at; returns whether there may be more. (The
-- entries' own side is looked at with the accounts.) What is found stays until everything is read again.
create function ledger.reconcile_usage() returns boolean language plpgsql as $$
declare
  starts timestamptz := greatest((select usage_checked_until from ledger_passes), clock_timestamp() - interval '1 day');
  newest timestamptz := clock_timestamp() - interval '5 seconds'; -- by then a settle is committed or gone
  ends timestamptz;
begin
  while starts < newest loop
    ends := least(starts + interval '30 seconds', newest);
    exit when exists (select from usage u where u.settled_at >= starts and u.settled_at < ends);
    starts := ends;
  end loop;
  insert into ledger_findings (check_name, account_id, drift_nanousd, detail)
  select 'usage', u.account_id, u.cost_nanousd, jsonb_build_object('request_id', u.request_id)
  from usage u
  where u.settled_at >= starts and u.settled_at < ends and not exists (
    select from entries e
    where e.request_id = u.request_id and e.kind in ('usage', 'late_usage') and e.amount_nanousd = u.cost_nanousd);
  update ledger_passes set usage_checked_until = greatest(starts, ends);
  return ends < newest;
end $$;

-- What the last passes found: {check: {findings, drift_nanousd}}. The age of the last pass tells whether anybody looks at all.
create function ledger.ledger_report() returns jsonb language sql stable as $$
  select jsonb_build_object(
    'decision', 'allowed',
    'checks', (
      select jsonb_object_agg(name, jsonb_build_object('findings', findings, 'drift_nanousd', drift::text)) from (
        select name, count(f) as findings, coalesce(sum(drift_nanousd), 0) as drift
        from unnest(ledger_checks()) as name left join ledger_findings f on f.check_name = name group by name) as by_check),
    'journals_behind', (
      select count(*) from journals where resending is not null and behind_at > clock_timestamp() - interval '1 day'),
    'checked_s_ago', extract(epoch from clock_timestamp() - checked_at),
    'unchecked_s', extract(epoch from clock_timestamp() - coalesce(checked_at, started_anew_at)),
    'unread_entries', (
      select coalesce(sum(a.entry_count - coalesce(c.sequence, 0)), 0)
      from accounts a left join ledger_checkpoints c on c.account_id = a.id where a.entry_count <> coalesce(c.sequence, 0)),
    'pending_count', (select count(*) from reservations where state = 'pending'),
    'pending_s_max', (
      select coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0) from reservations where state = 'pending'),
    'anomalies', (select coalesce(jsonb_object_agg(kind, n), '{}') from (
      select kind, count(*) as n from anomalies group by kind) as kinds))
  from ledger_passes
$$;

create function ledger.listed_findings(count_max int) returns jsonb language sql stable as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'check', check_name, 'account_id', account_id::text, 'drift_nanousd', drift_nanousd::text, 'detail', detail) order by id), '[]')
  from (select * from ledger_findings order by id limit count_max) as f
$$;

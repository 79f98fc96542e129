-- How a reservation ends with a charge. Terminal states are never left; nothing is charged twice, above its reservation, or after a
-- void. A call is settled as sets, not one by one: each step below is one statement over all of them.

create function ledger.settle_items(items jsonb) returns setof ledger.settle_item language sql immutable as $$
  select place::int, item, (item ->> 'request_id')::uuid, (item ->> 'account_id')::bigint, (item ->> 'attempt')::int,
    (charged).prompt_tokens, (charged).cached_tokens, (charged).completion_tokens, counted
  from jsonb_array_elements(items) with ordinality as listed (item, place)
  cross join lateral (select row(
    (item ->> 'prompt_tokens')::bigint, (item ->> 'cached_tokens')::bigint, (item ->> 'completion_tokens')::bigint)::charge_counts) as c (counted)
  cross join lateral charged_counts(counted, item ->> 'outcome', (item ->> 'delivered_tokens')::bigint) as charged
$$;

-- What is charged of what was counted. An answer that came to its end is charged whole. Any other costs what its client was given of
-- it, and nothing at all, the prompt included, where that was nothing: whether we failed, took the permission back, or lost it while
-- nobody was told yet. Of one whose client left, as much may have been under way as a step or two make.
create function ledger.charged_counts(counted charge_counts, outcome text, delivered_tokens bigint) returns charge_counts
language sql immutable as $$
  select case
    when outcome in ('stop', 'length') then counted
    when delivered_tokens = 0 then row(0, 0, 0)::charge_counts
    else row(counted.prompt_tokens, counted.cached_tokens,
      least(counted.completion_tokens, delivered_tokens + case outcome when 'client_gone' then 8 else 0 end))::charge_counts
  end
$$;

-- What each item is to become. Expects the accounts to be locked and each request once.
create function ledger.decide_settlements(items jsonb) returns settlement[] language plpgsql as $$
begin
  return (
    select array_agg((
      i.place,
      case
        when r.request_id is null then 'rejected' -- the ticket and the reservation disagree about the account
        when u.request_id is not null then case
          when (u.attempt, u.prompt_tokens, u.cached_tokens, u.completion_tokens) =
               (i.attempt, i.prompt_tokens, i.cached_tokens, i.completion_tokens) then 'duplicate'
          -- A release that charged all that was counted had settled it.
          when u.attempt = i.attempt and row(u.prompt_tokens, u.cached_tokens, u.completion_tokens) = i.counted then 'duplicate'
          when u.attempt <> i.attempt then 'stale'
          else 'conflict'
        end
        when r.state = 'voided' then 'voided'
        when r.attempt <> i.attempt then 'stale'
        when r.state = 'pending' then 'posted'
        else 'late'
      end,
      i.request_id, i.account_id, r.key_id, r.model, r.price_version, i.attempt, r.amount_nanousd,
      least(cost_nanousd(p, i.prompt_tokens, i.cached_tokens, i.completion_tokens), r.amount_nanousd)::bigint,
      i.prompt_tokens, i.cached_tokens, i.completion_tokens, (i.counted).prompt_tokens + (i.counted).completion_tokens,
      r.created_at, r.charged_tokens_max, r.metadata)::settlement order by i.place)
    from settle_items(items) as i
    left join lateral (
      select * from reservations r where r.request_id = i.request_id and r.account_id = i.account_id limit 1) as r on true
    left join lateral (
      select * from usage u where u.request_id = r.request_id and u.settled_at = r.settled_at limit 1) as u on true
    left join prices p on p.model = r.model and p.version = r.price_version);
end $$;

-- Kept for a person: what should not happen, and what was used beyond its reservation and is charged to nobody.
create function ledger.note_anomalies(settled settlement[], items jsonb, not_restored jsonb) returns void language plpgsql as $$
begin
  insert into anomalies (request_id, kind, detail)
  select request_id,
    case when decision in ('posted', 'late') then 'above_reservation' else coalesce(not_restored ->> request_id::text, decision) end,
    items -> (place - 1)
  from unnest(settled) as s
  left join prices p on p.model = s.model and p.version = s.price_version
  where decision in ('rejected', 'stale', 'conflict')
    or decision in ('posted', 'late') and cost_nanousd(p, prompt_tokens, cached_tokens, completion_tokens) > charge_nanousd;
end $$;

-- Closes the reservations, and writes down what was used and what it costs: a row and an entry each. Entries are numbered on from
-- the last of their account, which is locked.
create function ledger.book_usage(settled settlement[], items jsonb, moment timestamptz) returns void language plpgsql as $$
begin
  with made as (select * from unnest(settled) as s where decision in ('posted', 'late')),
  closed as (
    update reservations r set
      state = case when r.state = 'pending' then 'posted' else r.state end, closed_at = coalesce(r.closed_at, moment),
      settled_at = moment
    from made where r.request_id = made.request_id),
  used as (
    insert into usage
      (request_id, account_id, attempt, prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, outcome, started_at,
       first_token_ms, duration_ms, cost_nanousd, settled_at, usage_source, verification)
    select made.request_id, made.account_id, made.attempt, made.prompt_tokens, made.cached_tokens, made.completion_tokens,
      (item ->> 'delivered_tokens')::bigint, item ->> 'outcome',
      to_timestamp((item ->> 'started_unix_ms')::double precision / 1000), (item ->> 'first_token_ms')::double precision,
      (item ->> 'duration_ms')::double precision, charge_nanousd, moment, item ->> 'usage_source',
      nullif(item -> 'verification', 'null')
    from made, lateral (select items -> (place - 1) as item) as i)
  insert into entries (account_id, sequence, request_id, kind, amount_nanousd, created_at)
  select made.account_id, entry_count + row_number() over (partition by made.account_id order by place), request_id,
    case decision when 'posted' then 'usage' else 'late_usage' end, charge_nanousd, moment
  from made join accounts on accounts.id = made.account_id
  order by place;
end $$;

-- One update an account, and one a row of the day: an update applies only one of several matches.
create function ledger.add_up_usage(settled settlement[], moment timestamptz) returns void language plpgsql as $$
begin
  with made as (select * from unnest(settled) as s where decision in ('posted', 'late')),
  days as (
    insert into usage_daily as d
    select account_id, (moment at time zone 'UTC')::date, key_id, model, price_version, count(*), sum(prompt_tokens),
      sum(cached_tokens), sum(completion_tokens), sum(charge_nanousd)
    from made group by account_id, key_id, model, price_version
    on conflict (account_id, day, key_id, model, price_version) do update set
      request_count = d.request_count + excluded.request_count,
      prompt_tokens = d.prompt_tokens + excluded.prompt_tokens,
      cached_tokens = d.cached_tokens + excluded.cached_tokens,
      completion_tokens = d.completion_tokens + excluded.completion_tokens,
      cost_nanousd = d.cost_nanousd + excluded.cost_nanousd)
  update accounts set
    entry_count = entry_count + made_count,
    debited_nanousd = debited_nanousd + charged_nanousd,
    pending_nanousd = pending_nanousd - freed_nanousd,
    late_nanousd = late_nanousd + charged_late_nanousd
  from (
    select account_id, count(*) as made_count, sum(charge_nanousd)::bigint as charged_nanousd,
      coalesce(sum(held_nanousd) filter (where decision = 'posted'), 0)::bigint as freed_nanousd,
      coalesce(sum(charge_nanousd) filter (where decision = 'late'), 0)::bigint as charged_late_nanousd
    from made group by account_id) as sums
  where accounts.id = sums.account_id;
end $$;

-- What they mean to the limits of keys and accounts: money follows what was delivered, tokens a minute what was computed, and no more of
-- them than were asked for, whatever a node counted.
create function ledger.ends_of(settled settlement[]) returns ended[] language sql immutable as $$
  select array_agg(row(
    account_id, key_id, decision = 'posted', held_nanousd, charge_nanousd, charged_tokens_max,
    least(computed_tokens, charged_tokens_max))::ended)
  from unnest(settled) where decision in ('posted', 'late')
$$;

-- Settles items of which each names another request.
create function ledger.settle_set(items jsonb) returns settlement[] language plpgsql as $$
declare
  moment timestamptz := clock_timestamp();
  settled settlement[];
  not_restored jsonb;
begin
  settled := decide_settlements(items);
  if exists (
    select from unnest(settled) where decision in ('rejected', 'stale', 'conflict') or charge_nanousd = held_nanousd) then
    not_restored := refused_restorations(items);
    perform restore_lost_reservations(
      (select jsonb_agg(i) from jsonb_array_elements(items) as i where not not_restored ? (i ->> 'request_id')), 'expired');
    settled := decide_settlements(items);
    perform note_anomalies(settled, items, not_restored);
  end if;
  perform book_usage(settled, items, moment);
  perform add_up_usage(settled, moment);
  if exists (select from unnest(settled) where metadata is not null) then
    perform add_up_metadata(settled, moment);
  end if;
  perform alert_debits(settled);
  perform spend_grants_on_usage(settled);
  perform correct_limits(ends_of(settled));
  return settled;
end $$;

-- Counts what is settled of each node's journal, in the transaction that settles it, and answers {journal: {mark, is_behind}}. A
-- journal that remembers a higher count was told of settlements which this database does not have: it came back older than what it
-- had acknowledged. Then the journal is behind until it says that it tells its last day again, and that until it says that it did.
create function ledger.count_journals(items jsonb) returns jsonb language sql as $$
  with named as (
    select (item -> 'journal' ->> 'id')::uuid as id, max((item -> 'journal' ->> 'mark')::bigint) as told_mark,
      bool_and((item -> 'journal' ->> 'is_resending')::boolean) as is_resending, count(*) filter (where item ? 'request_id') as settled_count
    from jsonb_array_elements(items) as item where item ? 'journal' group by 1),
  counted as (
    insert into journals as j (id, settled_count, told_mark, resending, behind_at)
    select id, settled_count, told_mark, case when told_mark > 0 then 'due' when is_resending then 'running' end,
      case when told_mark > 0 then clock_timestamp() end
    from named order by id
    on conflict (id) do update set
      settled_count = j.settled_count + excluded.settled_count,
      told_mark = excluded.told_mark,
      resending = case
        when j.settled_count < excluded.told_mark then 'due'
        when (select is_resending from named where named.id = j.id) then 'running'
        when j.resending = 'due' then 'due'
      end,
      behind_at = case when j.settled_count < excluded.told_mark then clock_timestamp() else j.behind_at end
    returning id, settled_count, resending)
  select coalesce(jsonb_object_agg(id, jsonb_build_object('mark', settled_count, 'is_behind', coalesce(resending = 'due', false))), '{}')
  from counted
$$;

-- The answer to a report that was heard, with how far its journal is counted.
create function ledger.with_journal(heard jsonb, said jsonb) returns jsonb language plpgsql as $$
begin
  if heard ->> 'decision' <> 'seen' or said -> 'journal' is null then
    return heard;
  end if;
  return heard || jsonb_build_object('journal', count_journals(jsonb_build_array(said)) -> (said -> 'journal' ->> 'id'));
end $$;

-- The items that name a request for the n-th time in this call, for each n: a request is settled in the order it was reported.
create function ledger.settle_rounds(items jsonb) returns table (round bigint, places int[], round_items jsonb) language sql immutable as $$
  select round, places, case when cardinality(places) = jsonb_array_length(items) then items
    else (select jsonb_agg(items -> (place - 1) order by place) from unnest(places) as place) end
  from (
    select round, array_agg(place order by place) as places
    from (
      select place, row_number() over (partition by request_id order by place) as round
      from settle_items(items) where item ? 'request_id') as numbered
    group by round) as rounds
  order by round
$$;

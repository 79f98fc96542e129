-- What the nodes say of themselves, and which of them can be asked.

create function ledger.heartbeat(node jsonb) returns void language sql as $$
  insert into nodes
  select
    node ->> 'node_id', node ->> 'url', node ->> 'model', node ->> 'state', (node ->> 'context_tokens')::int,
    (node ->> 'running')::int, (node ->> 'waiting')::int, (node ->> 'blocks_total')::int, (node ->> 'blocks_free')::int,
    clock_timestamp()
  on conflict (id) do update set
    url = excluded.url, model = excluded.model, state = excluded.state, context_tokens = excluded.context_tokens,
    running = excluded.running, waiting = excluded.waiting, blocks_total = excluded.blocks_total,
    blocks_free = excluded.blocks_free, last_seen_at = excluded.last_seen_at
$$;

-- The nodes that can take a request for a model now: [{id, url, running, waiting}], an empty array where there is none.
create function ledger.live_nodes(wanted text) returns jsonb language plpgsql as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('id', id, 'url', url, 'running', running, 'waiting', waiting)), '[]')
    from nodes
    where model = wanted and state = 'ready' and last_seen_at > clock_timestamp() - interval '5 seconds');
end $$;

-- The models that some node can take a request for now.
create function ledger.served_models() returns jsonb language sql as $$
  select coalesce(jsonb_agg(distinct model), '[]') from nodes
  where state = 'ready' and last_seen_at > clock_timestamp() - interval '5 seconds'
$$;

-- The requests whose key was revoked while they ran.
create function ledger.requests_to_stop() returns jsonb language sql as $$
  select coalesce(jsonb_agg(request_id), '[]') from (
    select request_id from reservations where state = 'pending' and stopped_at is not null order by stopped_at limit 1000) as stopped
$$;

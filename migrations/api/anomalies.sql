-- What should not have happened, for a person to read. Settling writes down what it decides against (note_anomalies); here is kept what
-- it could not decide: a record is the only witness of its generation, and the node forgets it once it is answered.

-- Items: {request_id, kind: 'refused' by the database | 'bad_ticket' | 'other_node', node_id, sqlstate, record}. A repeated one is kept
-- once. A node that sends more than any that works ever does is only counted (node_refusals) until the hour is over. One of another
-- ledger is nobody's affair here, and is answered `elsewhere`.
create function api.keep_unsettled(items jsonb) returns setof jsonb language plpgsql as $$
declare
  item jsonb;
begin
  for item in select * from jsonb_array_elements(items) loop
    if of_this_ledger(jsonb_build_array(item -> 'record')) = '[{}]' then
      return next '{"decision": "elsewhere"}';
      continue;
    end if;
    if note_refusal(item ->> 'node_id', item ->> 'kind', item - 'record') <= 1000 then
      insert into anomalies (request_id, kind, detail)
      select (item ->> 'request_id')::uuid, item ->> 'kind', item - array['request_id', 'kind']
      where not exists (
        select from anomalies
        where request_id = (item ->> 'request_id')::uuid and kind = item ->> 'kind' and detail -> 'record' = item -> 'record');
    end if;
    return next '{"decision": "kept"}';
  end loop;
end $$;

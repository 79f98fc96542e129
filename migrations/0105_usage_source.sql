-- Who counted the tokens that a request is charged for. Null where that was our own engine, as before there were others.

alter table usage add column usage_source text;
alter table usage add constraint usage_source_is_known
  check (usage_source in ('engine', 'upstream', 'counted', 'bounded')) not valid; -- those before have none

-- The catalog of models. A version is never changed: the last one is in force, whole.

create table catalog_versions (
  version bigint generated always as identity primary key,
  published_at timestamptz not null default clock_timestamp(),
  source text not null check (source in ('release', 'operator')), -- the file of the release that was installed, or an operator
  models jsonb not null check (jsonb_typeof(models) = 'array') -- in the order that they are listed
);
create trigger catalog_versions_are_immutable before update or delete on catalog_versions for each row execute function refuse_change();
create trigger catalog_versions_are_kept before truncate on catalog_versions for each statement execute function refuse_change();

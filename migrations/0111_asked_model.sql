-- What a request asked for, where another model than that of this name was served and is charged: of an alias, or in the place of one
-- that no node served.

alter table reservations add column asked_model text;

-- What a node reported and could not be settled for good is an anomaly too, and is found again by its request.

create index on anomalies (request_id);

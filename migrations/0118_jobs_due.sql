-- What waits is found by its account, too, which another index has; this one was kept with each job, and at times taken in its place.

drop index jobs_due;

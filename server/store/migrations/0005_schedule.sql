-- How a bundle goes out on a channel by itself. steps is a JSON list of
-- capgo.PlanStep. rollout_id names the rollout that the plan made; bps, paused
-- and since are how it stood when the plan last looked.
CREATE TABLE plans (
  channel_id BIGINT PRIMARY KEY REFERENCES channels(id) ON DELETE CASCADE,
  app_id     TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  bundle_id  BIGINT NOT NULL REFERENCES bundles(id),
  start_at   BIGINT NOT NULL, -- 0 is at once
  steps      TEXT NOT NULL,
  promote    BOOLEAN NOT NULL,
  rollout_id TEXT NOT NULL DEFAULT '',
  bps        BIGINT NOT NULL DEFAULT 0,
  paused     BOOLEAN NOT NULL DEFAULT FALSE,
  since      BIGINT NOT NULL DEFAULT 0,
  revision   BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

-- Times in which nothing moves. days is a JSON list, '' for a single freeze;
-- start_minute is after midnight in zone.
CREATE TABLE freezes (
  app_id       TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  name         TEXT NOT NULL,
  from_at      BIGINT NOT NULL,
  to_at        BIGINT NOT NULL,
  days         TEXT NOT NULL,
  start_minute BIGINT NOT NULL,
  minutes      BIGINT NOT NULL,
  zone         TEXT NOT NULL,
  PRIMARY KEY (app_id, name)
);

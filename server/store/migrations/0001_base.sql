-- {{id}} is the engine's self-numbering primary key. Times are milliseconds since 1970, UTC.
CREATE TABLE apps (
  app_id                 TEXT PRIMARY KEY,
  name                   TEXT NOT NULL DEFAULT '',
  owner_org              TEXT NOT NULL DEFAULT '',
  default_upload_channel TEXT NOT NULL DEFAULT 'production',
  expose_metadata        BOOLEAN NOT NULL DEFAULT FALSE,
  allow_device_custom_id BOOLEAN NOT NULL DEFAULT TRUE,
  retention              BIGINT NOT NULL DEFAULT 2592000,
  public_key             TEXT NOT NULL DEFAULT '',
  revision               BIGINT NOT NULL,
  created_at             BIGINT NOT NULL,
  updated_at             BIGINT NOT NULL
);

CREATE TABLE bundles (
  id                 {{id}},
  app_id             TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  name               TEXT NOT NULL,
  checksum           TEXT NOT NULL DEFAULT '',
  session_key        TEXT NOT NULL DEFAULT '',
  key_id             TEXT NOT NULL DEFAULT '',
  external_url       TEXT NOT NULL DEFAULT '',
  object_key         TEXT NOT NULL DEFAULT '',
  storage_provider   TEXT NOT NULL DEFAULT '',
  min_update_version TEXT NOT NULL DEFAULT '',
  link               TEXT NOT NULL DEFAULT '',
  comment            TEXT NOT NULL DEFAULT '',
  native_packages    TEXT NOT NULL DEFAULT '',
  manifest           TEXT NOT NULL DEFAULT '',
  manifest_count     BIGINT NOT NULL DEFAULT 0,
  plain_checksum     TEXT NOT NULL DEFAULT '',
  checksum_v2        TEXT NOT NULL DEFAULT '',
  checksum_v3        TEXT NOT NULL DEFAULT '',
  object_sha256      TEXT NOT NULL DEFAULT '',
  object_size        BIGINT NOT NULL DEFAULT 0,
  plain_size         BIGINT NOT NULL DEFAULT 0,
  deleted            BOOLEAN NOT NULL DEFAULT FALSE,
  created_at         BIGINT NOT NULL,
  updated_at         BIGINT NOT NULL,
  UNIQUE (app_id, name)
);

CREATE TABLE channels (
  id                               {{id}},
  app_id                           TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  name                             TEXT NOT NULL,
  bundle_id                        BIGINT REFERENCES bundles(id),
  public                           BOOLEAN NOT NULL DEFAULT FALSE,
  ios                              BOOLEAN NOT NULL DEFAULT TRUE,
  android                          BOOLEAN NOT NULL DEFAULT TRUE,
  electron                         BOOLEAN NOT NULL DEFAULT TRUE,
  allow_device_self_set            BOOLEAN NOT NULL DEFAULT FALSE,
  allow_emulator                   BOOLEAN NOT NULL DEFAULT TRUE,
  allow_device                     BOOLEAN NOT NULL DEFAULT TRUE,
  allow_dev                        BOOLEAN NOT NULL DEFAULT TRUE,
  allow_prod                       BOOLEAN NOT NULL DEFAULT TRUE,
  disable_auto_update              TEXT NOT NULL DEFAULT 'major',
  disable_auto_update_under_native BOOLEAN NOT NULL DEFAULT TRUE,
  rollout_bundle_id                BIGINT REFERENCES bundles(id),
  rollout_id                       TEXT NOT NULL DEFAULT '',
  rollout_bps                      BIGINT NOT NULL DEFAULT 0,
  rollout_enabled                  BOOLEAN NOT NULL DEFAULT FALSE,
  rollout_paused_at                BIGINT,
  rollout_pause_reason             TEXT,
  rollout_cache_ttl                BIGINT NOT NULL DEFAULT 2592000,
  auto_pause_enabled               BOOLEAN NOT NULL DEFAULT FALSE,
  auto_pause_window_minutes        BIGINT NOT NULL DEFAULT 60,
  auto_pause_rate_bps              BIGINT,
  auto_pause_confidence            DOUBLE PRECISION NOT NULL DEFAULT 0.95,
  auto_pause_min_attempts          BIGINT,
  auto_pause_min_failures          BIGINT,
  auto_pause_action                TEXT NOT NULL DEFAULT 'pause',
  auto_pause_cooldown_minutes      BIGINT NOT NULL DEFAULT 60,
  auto_pause_triggered_at          BIGINT,
  auto_pause_checked_at            BIGINT,
  created_by                       TEXT NOT NULL DEFAULT '',
  revision                         BIGINT NOT NULL DEFAULT 1,
  created_at                       BIGINT NOT NULL,
  updated_at                       BIGINT NOT NULL,
  UNIQUE (app_id, name)
);

-- The channel that an operator forced on a device.
CREATE TABLE overrides (
  app_id     TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  device_id  TEXT NOT NULL,
  channel_id BIGINT NOT NULL REFERENCES channels(id) ON DELETE CASCADE,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (app_id, device_id)
);

-- The channel that a device with an old plugin chose.
CREATE TABLE self_set (
  app_id     TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  device_id  TEXT NOT NULL,
  channel_id BIGINT NOT NULL REFERENCES channels(id) ON DELETE CASCADE,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (app_id, device_id)
);

CREATE TABLE devices (
  app_id          TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  device_id       TEXT NOT NULL,
  custom_id       TEXT NOT NULL DEFAULT '',
  platform        TEXT NOT NULL DEFAULT '',
  version_name    TEXT NOT NULL DEFAULT '',
  version_build   TEXT NOT NULL DEFAULT '',
  version_os      TEXT NOT NULL DEFAULT '',
  plugin_version  TEXT NOT NULL DEFAULT '',
  is_prod         BOOLEAN NOT NULL DEFAULT TRUE,
  is_emulator     BOOLEAN NOT NULL DEFAULT FALSE,
  install_source  TEXT NOT NULL DEFAULT '',
  default_channel TEXT NOT NULL DEFAULT '',
  key_id          TEXT NOT NULL DEFAULT '',
  channel_id      BIGINT NOT NULL DEFAULT 0, -- resolved at the last poll
  on_live         BOOLEAN NOT NULL DEFAULT FALSE, -- ran that channel's bundle then
  created_at      BIGINT NOT NULL,
  polled_at       BIGINT NOT NULL,
  PRIMARY KEY (app_id, device_id)
);
CREATE INDEX devices_recent ON devices (app_id, polled_at, device_id);

CREATE TABLE events (
  id               {{id}},
  app_id           TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  device_id        TEXT NOT NULL,
  action           TEXT NOT NULL,
  version_name     TEXT NOT NULL DEFAULT '',
  old_version_name TEXT NOT NULL DEFAULT '',
  platform         TEXT NOT NULL DEFAULT '',
  plugin_version   TEXT NOT NULL DEFAULT '',
  metadata         TEXT NOT NULL DEFAULT '',
  counted          BOOLEAN NOT NULL DEFAULT FALSE, -- a production device that is no emulator
  device_time      BIGINT, -- the device's clock; null when it sent none
  at               BIGINT NOT NULL,
  UNIQUE (app_id, device_id, action, version_name, device_time)
);
CREATE INDEX events_device ON events (app_id, device_id, id);
CREATE INDEX events_age ON events (app_id, at);

-- Counts of events by hour. hour is the hour's first millisecond.
CREATE TABLE event_hours (
  app_id       TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  hour         BIGINT NOT NULL,
  channel_id   BIGINT NOT NULL,
  version_name TEXT NOT NULL,
  platform     TEXT NOT NULL,
  action       TEXT NOT NULL,
  n            BIGINT NOT NULL,
  PRIMARY KEY (app_id, hour, channel_id, version_name, platform, action)
);

-- Distinct devices that polled a channel within an hour, by the bundle they ran.
CREATE TABLE poll_hours (
  app_id       TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  hour         BIGINT NOT NULL,
  channel_id   BIGINT NOT NULL,
  devices      BIGINT NOT NULL,
  on_live      BIGINT NOT NULL,
  PRIMARY KEY (app_id, hour, channel_id)
);

-- Distinct devices of a day; month_devices are those seen for the first time
-- in that month. day is the day's first millisecond, UTC.
CREATE TABLE app_days (
  app_id        TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  day           BIGINT NOT NULL,
  devices       BIGINT NOT NULL,
  month_devices BIGINT NOT NULL,
  PRIMARY KEY (app_id, day)
);

-- Distinct devices of a day by the version that they ran last on it.
CREATE TABLE version_days (
  app_id  TEXT NOT NULL REFERENCES apps(app_id) ON DELETE CASCADE,
  day     BIGINT NOT NULL,
  kind    TEXT NOT NULL, -- bundle or native
  version TEXT NOT NULL,
  devices BIGINT NOT NULL,
  PRIMARY KEY (app_id, day, kind, version)
);

CREATE TABLE objects (
  name       TEXT PRIMARY KEY,
  sha256     TEXT NOT NULL,
  size       BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE tokens (
  id         TEXT PRIMARY KEY,
  parent     TEXT NOT NULL DEFAULT '',
  name       TEXT NOT NULL,
  scope      TEXT NOT NULL,
  apps       TEXT NOT NULL DEFAULT '', -- JSON list, '' = all
  channels   TEXT NOT NULL DEFAULT '', -- JSON list, '' = all
  hash       TEXT NOT NULL, -- SHA-256 of the whole token, hex
  expires_at BIGINT,
  created_at BIGINT NOT NULL,
  last_used  BIGINT,
  revoked_at BIGINT
);

-- Append-only: no foreign key, so that it outlives what it speaks of.
CREATE TABLE audit (
  id        {{id}},
  at        BIGINT NOT NULL,
  app_id    TEXT NOT NULL DEFAULT '',
  channel   TEXT NOT NULL DEFAULT '',
  action    TEXT NOT NULL,
  actor     TEXT NOT NULL,
  before    TEXT NOT NULL DEFAULT '',
  after     TEXT NOT NULL DEFAULT '',
  note      TEXT NOT NULL DEFAULT '',
  hash      TEXT NOT NULL -- hex SHA-256 over the previous row's hash and this row
);
CREATE INDEX audit_channel ON audit (app_id, channel, id);

-- One row, rewritten to prove that the database takes writes.
CREATE TABLE pulse (
  id INTEGER PRIMARY KEY,
  at BIGINT NOT NULL
);

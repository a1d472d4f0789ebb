-- A platform's own bundle on a channel: null follows the channel, 0 is the store build.
ALTER TABLE channels ADD COLUMN ios_bundle_id BIGINT;
ALTER TABLE channels ADD COLUMN android_bundle_id BIGINT;
ALTER TABLE channels ADD COLUMN electron_bundle_id BIGINT;

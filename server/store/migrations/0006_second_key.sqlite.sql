-- While an app changes keys it has two on record, and its bundles are sealed
-- for both: seals is a JSON list of capgo.Seal, '' for none.
ALTER TABLE apps ADD COLUMN second_public_key TEXT NOT NULL DEFAULT '';
ALTER TABLE bundles ADD COLUMN seals TEXT NOT NULL DEFAULT '';
DROP TRIGGER apps_moved;
CREATE TRIGGER apps_moved AFTER UPDATE OF public_key, second_public_key, expose_metadata, allow_device_custom_id ON apps
  WHEN NEW.revision = OLD.revision BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id; END;

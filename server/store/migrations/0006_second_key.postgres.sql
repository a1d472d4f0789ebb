-- While an app changes keys it has two on record, and its bundles are sealed
-- for both: seals is a JSON list of capgo.Seal, '' for none.
ALTER TABLE apps ADD COLUMN second_public_key TEXT NOT NULL DEFAULT '';
ALTER TABLE bundles ADD COLUMN seals TEXT NOT NULL DEFAULT '';
CREATE OR REPLACE FUNCTION capstan_app_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.revision = OLD.revision AND (NEW.public_key, NEW.second_public_key, NEW.expose_metadata, NEW.allow_device_custom_id)
     IS DISTINCT FROM (OLD.public_key, OLD.second_public_key, OLD.expose_metadata, OLD.allow_device_custom_id) THEN
    NEW.revision := OLD.revision + 1;
  END IF;
  IF NEW.revision <> OLD.revision THEN PERFORM pg_notify('capstan_app', NEW.app_id); END IF;
  RETURN NEW;
END $$;
